// One stage of all separable ops of a source: ReLU, depthwise convolution, pointwise
// convolution; its derivatives of first and second order.
//
// The stage is z = (D * m x) P, m being 0 where x <= 0 and else 1, so that, m fixed,
//   Q(x, D, P, t) = <t, (D * m x) P>
// is linear in each of its four arguments, and everything is a first or second
// derivative of Q. Two functions give them all (jdarts/ops/stage.py says which):
//   Output: the derivative in t, along dx, dD, dP
//   Input:  the derivatives in x, D and P, along dt and, of second order, dx, dD, dP
// The maps between depthwise and pointwise convolution are computed again wherever they
// are needed, image by image in the cache, and never written to memory.
//
// Shapes, N independent problems at once, A = ops * E rows of the pointwise weights:
// x [N, G, B, H, W, C] with G = 1 or A; P [N, A, C, C] (in, out); D, one per op,
// [N, E, k, k, C]; z and t [N, A, B, OH, OW, C].

#include <algorithm>
#include <cstdint>
#include <vector>

#include "by_type.h"
#include "ffi.h"
#include "micro.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

// Bits of the attribute `given`: which operands follow x, P and D.
enum Given { kT = 1, kDt = 2, kDx = 4, kDp = 8, kDd = 16 };

struct Geometry {
  int64_t problems, sources, batch, height, width, channels, rows, columns;
  int64_t edges, stride;
  ffi::Span<const int64_t> kernels, dilations;

  int64_t ops() const { return kernels.size(); }
  int64_t all() const { return ops() * edges; }
  int64_t fan() const { return all() / sources; }  // rows of P that read one source
  int64_t padding(int64_t op) const { return dilations[op] * (kernels[op] / 2); }
  int64_t margin() const {  // of the scratch planes, enough for every op
    int64_t most = 0;
    for (int64_t op = 0; op < ops(); ++op) most = std::max(most, padding(op));
    return most;
  }
  int64_t image() const { return height * width * channels; }
  int64_t out_image() const { return rows * columns * channels; }
  int64_t matrix() const { return channels * channels; }
  int64_t kernel(int64_t op) const { return kernels[op] * kernels[op] * channels; }
};

template <typename T>
struct Operands {
  const T *x, *p, *t = nullptr, *dt = nullptr, *dx = nullptr, *dp = nullptr;
  std::vector<const T*> d, dd;
};

// A zero-padded image, channels last. Whoever uses it writes the whole image and never
// the padding, which therefore stays zero until the shape changes.
template <typename T>
struct Plane {
  Aligned<T> data;
  int64_t height = 0, row = 0, channels = 0, margin = 0;

  void Reset(int64_t height, int64_t width, int64_t channels, int64_t margin) {
    const int64_t row = (width + 2 * margin) * channels;
    if (height == this->height && row == this->row && channels == this->channels &&
        margin == this->margin)
      return;
    data.assign((height + 2 * margin) * row, T(0));
    this->height = height;
    this->row = row;
    this->channels = channels;
    this->margin = margin;
  }
  T* Line(int64_t h) { return data.data() + (h + margin) * row + margin * channels; }
};

// Copies from where gate is not <= 0 (also a NaN), the rest becomes zero.
template <typename T>
void Fill(Plane<T>& plane, const T* from, const T* gate, const Geometry& g) {
  const int64_t line = g.width * g.channels;
  for (int64_t h = 0; h < g.height; ++h) {
    T* to = plane.Line(h);
    for (int64_t i = 0; i < line; ++i)
      to[i] = gate[h * line + i] <= T(0) ? T(0) : from[h * line + i];
  }
}

// What one thread works with.
template <typename T>
struct Scratch {
  Plane<T> x, dx, y, dy;  // y and dy: cotangents of the depthwise convolution's result
  Aligned<T> u, du;   // that result and its tangent
  Aligned<T> transposed, d_transposed;
  std::vector<Tap<T>> taps;
  Aligned<T> repeated;  // of the taps' weights
  Aligned<T> sums;      // of the taps' gradients
};

template <typename T>
Scratch<T>& ThreadScratch() {
  static thread_local Scratch<T> scratch;
  return scratch;
}

// Taps of a forward convolution with the kernel w of an op; positions are relative to
// the output's (scaled by the stride) in the plane.
template <typename T>
void ForwardTaps(std::vector<Tap<T>>& taps, const T* w, int64_t op, int64_t row,
                 const Geometry& g, int64_t shift = 0) {
  const int64_t k = g.kernels[op], d = g.dilations[op], p = g.padding(op);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j)
      taps.push_back({w + (i * k + j) * g.channels,
                      shift + (i * d - p) * row + (j * d - p) * g.channels});
}

// u (+)= the convolution with the kernel w of an op, on all output pixels.
template <typename T>
void Convolve(Scratch<T>& s, Plane<T>& plane, const T* w, int64_t op, T* u,
              const Geometry& g, bool add) {
  s.taps.clear();
  ForwardTaps(s.taps, w, op, plane.row, g);
  const int64_t together = PixelsTogether<T>(g.channels, g.stride, g.columns);
  Repeat(s.taps, g.channels, together, s.repeated);
  const int64_t channels = together * g.channels;
  for (int64_t h = 0; h < g.rows; ++h)
    TapRow<T>(s.taps, plane.Line(h * g.stride), g.stride * channels,
              g.columns / together, channels, u + h * g.columns * g.channels, channels,
              add);
}

// Each of several n x n matrices.
template <typename T>
void Transpose(const T* from, Aligned<T>& to, int64_t count, int64_t n) {
  to.resize(count * n * n);
  for (int64_t m = 0; m < count * n * n; m += n * n)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) to[m + j * n + i] = from[m + i * n + j];
}

// z (+)= along dx, dD and dP.
template <typename T>
void Output(ffi::ThreadPool& pool, const Geometry& g, const Operands<T>& in, T* z) {
  ParallelFor(pool, g.problems * g.sources * g.batch, [&](int64_t task) {
    const int64_t source = task / g.batch, b = task % g.batch;
    Scratch<T>& s = ThreadScratch<T>();
    const T* x = in.x + task * g.image();
    const bool along_weights = in.dp || !in.dd.empty();
    if (along_weights) {
      s.x.Reset(g.height, g.width, g.channels, g.margin());
      Fill(s.x, x, x, g);
    }
    if (in.dx) {
      s.dx.Reset(g.height, g.width, g.channels, g.margin());
      Fill(s.dx, in.dx + task * g.image(), x, g);
    }
    s.u.resize(g.out_image());
    for (int64_t m = 0; m < g.fan(); ++m) {
      const int64_t a = source * g.fan() + m, problem = a / g.all();
      const int64_t op = a % g.all() / g.edges, e = problem * g.edges + a % g.edges;
      T* out = z + (a * g.batch + b) * g.out_image();
      bool add = false;
      if (in.dx) {
        Convolve(s, s.dx, in.d[op] + e * g.kernel(op), op, s.u.data(), g, false);
        add = true;
      }
      if (!in.dd.empty()) {
        Convolve(s, s.x, in.dd[op] + e * g.kernel(op), op, s.u.data(), g, add);
        add = true;
      }
      const int64_t pixels = g.rows * g.columns, C = g.channels;
      if (add)
        Product<T>(s.u.data(), in.p + a * g.matrix(), pixels, C, C, out, false);
      if (in.dp) {
        Convolve(s, s.x, in.d[op] + e * g.kernel(op), op, s.u.data(), g, false);
        Product<T>(s.u.data(), in.dp + a * g.matrix(), pixels, C, C, out, add);
      }
    }
  });
}

// plane = a P^T + b R^T, the given ones of the two, on all output pixels.
template <typename T>
void PullBack(Plane<T>& plane, const T* a, const T* p, const T* b, const T* r,
              const Geometry& g) {
  const int64_t C = g.channels, line = g.columns * C;
  for (int64_t h = 0; h < g.rows; ++h) {
    T* to = plane.Line(h);
    if (a) Product<T>(a + h * line, p, g.columns, C, C, to, false);
    if (b) Product<T>(b + h * line, r, g.columns, C, C, to, a != nullptr);
  }
}

// gx (+)= the transposed convolution of a cotangent with the kernel w. Pixels of equal
// remainder by the stride meet the same taps.
template <typename T>
void ConvolveTransposed(Scratch<T>& s, Plane<T>& y, const T* w, int64_t op, T* gx,
                        const Geometry& g, bool add) {
  const int64_t k = g.kernels[op], d = g.dilations[op], p = g.padding(op);
  const int64_t C = g.channels, S = g.stride;
  for (int64_t top = 0; top < S; ++top)
    for (int64_t left = 0; left < S; ++left) {
      s.taps.clear();
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j) {
          const int64_t up = top + p - i * d, side = left + p - j * d;
          if (up % S == 0 && side % S == 0)
            s.taps.push_back({w + (i * k + j) * C, up / S * y.row + side / S * C});
        }
      if (add && s.taps.empty()) continue;
      const int64_t columns = (g.width - left + S - 1) / S;
      const int64_t together = PixelsTogether<T>(C, S, columns);
      Repeat(s.taps, C, together, s.repeated);
      for (int64_t h = top; h < g.height; h += S)
        TapRow<T>(s.taps, y.Line(h / S), together * C, columns / together, together * C,
                  gx + (h * g.width + left) * C, S * together * C, add);
    }
}

// gd += the correlation of a plane with a cotangent.
template <typename T>
void Correlate(Scratch<T>& s, Plane<T>& x, Plane<T>& y, int64_t op, T* gd,
               const Geometry& g) {
  s.taps.clear();
  ForwardTaps<T>(s.taps, nullptr, op, x.row, g);
  const int64_t together = PixelsTogether<T>(g.channels, g.stride, g.columns);
  const int64_t channels = together * g.channels;
  s.sums.assign(s.taps.size() * channels, T(0));
  for (int64_t h = 0; h < g.rows; ++h)
    TapRowSums<T>(s.taps, x.Line(h * g.stride), g.stride * channels, y.Line(h),
                  g.columns / together, channels, s.sums.data());
  const T* sum = s.sums.data();
  for (size_t tap = 0; tap < s.taps.size(); ++tap, gd += g.channels)
    for (int64_t n = 0; n < together; ++n)
      for (int64_t c = 0; c < g.channels; ++c) gd[c] += *sum++;
}

template <typename T>
struct Gradients {
  T *x = nullptr, *p = nullptr;  // null where not wanted
  std::vector<T*> d;
};

// The weights' gradients of one image and one row of P.
template <typename T>
void WeightGradients(Scratch<T>& s, const Geometry& g, const Operands<T>& in, int64_t a,
                     int64_t op, int64_t e, const T* t, const T* dt, T* gp, T* gd) {
  const int64_t pixels = g.rows * g.columns, C = g.channels;
  s.u.resize(g.out_image());
  if (in.dt) {
    Convolve(s, s.x, in.d[op] + e * g.kernel(op), op, s.u.data(), g, false);
    OuterSum<T>(s.u.data(), dt, pixels, C, C, gp);
  }
  if (in.dx || !in.dd.empty()) {
    if (in.dx)
      Convolve(s, s.dx, in.d[op] + e * g.kernel(op), op, s.u.data(), g, false);
    if (!in.dd.empty())
      Convolve(s, s.x, in.dd[op] + e * g.kernel(op), op, s.u.data(), g,
               in.dx != nullptr);
    OuterSum<T>(s.u.data(), t, pixels, C, C, gp);
  }
  if (in.dx) Correlate(s, s.dx, s.y, op, gd, g);
  if (in.dt || in.dp) Correlate(s, s.x, s.dy, op, gd, g);
}

template <typename T>
void Input(ffi::ThreadPool& pool, const Geometry& g, const Operands<T>& in,
           const Gradients<T>& out) {
  const bool weights = out.p != nullptr;
  const bool first = in.dt || in.dp;  // terms with the cotangent's tangent dy
  const bool second = !in.dd.empty() || (weights && in.dx);  // terms with y itself
  const int64_t C = g.channels, margin = g.margin();
  // Weight gradients are summed by blocks of images, and then in a fixed order, so that
  // the result does not depend on the number of threads.
  const int64_t sources = g.problems * g.sources, all = g.problems * g.all();
  const int64_t busy = weights ? (128 + sources - 1) / sources : 16;
  const int64_t blocks = std::min(g.batch, std::clamp<int64_t>(busy, 1, 16));
  const int64_t tasks = sources * blocks;
  int64_t widest = 0;
  for (int64_t op = 0; op < g.ops(); ++op) widest = std::max(widest, g.kernel(op));
  const int64_t size = g.matrix() + widest;
  Unset<T> partial(weights ? all * blocks * size : 0);
  ParallelFor(pool, tasks, [&](int64_t task) {
    const int64_t source = task / blocks, block = task % blocks;
    Scratch<T>& s = ThreadScratch<T>();
    s.y.Reset(g.rows, g.columns, C, margin);
    s.dy.Reset(g.rows, g.columns, C, margin);
    s.x.Reset(g.height, g.width, C, margin);
    s.dx.Reset(g.height, g.width, C, margin);
    const int64_t matrices = source * g.fan() * g.matrix();
    Transpose(in.p + matrices, s.transposed, g.fan(), C);
    if (in.dp) Transpose(in.dp + matrices, s.d_transposed, g.fan(), C);
    const auto sums_of = [&](int64_t a) {
      return partial.data() + (a * blocks + block) * size;
    };
    for (int64_t m = 0; weights && m < g.fan(); ++m)
      std::fill_n(sums_of(source * g.fan() + m), size, T(0));
    for (int64_t b = g.batch * block / blocks; b < g.batch * (block + 1) / blocks; ++b) {
      const int64_t at = source * g.batch + b;
      const T* x = in.x + at * g.image();
      T* gx = out.x ? out.x + at * g.image() : nullptr;
      if (weights) Fill(s.x, x, x, g);
      if (weights && in.dx) Fill(s.dx, in.dx + at * g.image(), x, g);
      for (int64_t m = 0; m < g.fan(); ++m) {
        const int64_t a = source * g.fan() + m, problem = a / g.all();
        const int64_t op = a % g.all() / g.edges, e = problem * g.edges + a % g.edges;
        const int64_t image = (a * g.batch + b) * g.out_image();
        const T* t = in.t ? in.t + image : nullptr;
        const T* dt = in.dt ? in.dt + image : nullptr;
        const T* p = s.transposed.data() + m * g.matrix();
        const T* dp = in.dp ? s.d_transposed.data() + m * g.matrix() : nullptr;
        if (first)
          PullBack(s.dy, dt, p, dp ? t : nullptr, dp, g);
        if (second) PullBack<T>(s.y, t, p, nullptr, nullptr, g);
        if (gx) {
          bool add = m > 0;
          if (first) {
            ConvolveTransposed<T>(s, s.dy, in.d[op] + e * g.kernel(op), op, gx, g,
                                     add);
            add = true;
          }
          if (!in.dd.empty())
            ConvolveTransposed<T>(s, s.y, in.dd[op] + e * g.kernel(op), op, gx, g,
                                     add);
        }
        if (weights) {
          T* sums = sums_of(a);
          WeightGradients<T>(s, g, in, a, op, e, t, dt, sums, sums + g.matrix());
        }
      }
      if (gx && (first || !in.dd.empty()))
        for (int64_t i = 0; i < g.image(); ++i) gx[i] = x[i] <= T(0) ? T(0) : gx[i];
      else if (gx)
        std::fill(gx, gx + g.image(), T(0));
    }
  });
  if (!weights) return;
  ParallelFor(pool, all, [&](int64_t a) {
    const int64_t op = a % g.all() / g.edges, problem = a / g.all();
    T* gp = out.p + a * g.matrix();
    T* gd = out.d[op] + (problem * g.edges + a % g.edges) * g.kernel(op);
    std::fill(gp, gp + g.matrix(), T(0));
    std::fill(gd, gd + g.kernel(op), T(0));
    for (int64_t block = 0; block < blocks; ++block) {
      const T* from = partial.data() + (a * blocks + block) * size;
      for (int64_t i = 0; i < g.matrix(); ++i) gp[i] += from[i];
      for (int64_t i = 0; i < g.kernel(op); ++i) gd[i] += from[g.matrix() + i];
    }
  });
}

// The operands in their order: x, P, D..., then what `given` names.
template <typename T>
Operands<T> Read(const ffi::RemainingArgs& args, int64_t given, int64_t ops) {
  size_t next = 0;
  auto take = [&] { return args[next++]->template typed_data<T>(); };
  Operands<T> in;
  in.x = take();
  in.p = take();
  for (int64_t op = 0; op < ops; ++op) in.d.push_back(take());
  if (given & kT) in.t = take();
  if (given & kDt) in.dt = take();
  if (given & kDx) in.dx = take();
  if (given & kDp) in.dp = take();
  for (int64_t op = 0; op < ops && (given & kDd); ++op) in.dd.push_back(take());
  return in;
}

Geometry Shapes(const ffi::RemainingArgs& args, int64_t rows, int64_t columns,
                int64_t stride, ffi::Span<const int64_t> kernels,
                ffi::Span<const int64_t> dilations) {
  const auto x = args[0]->dimensions();
  const auto d = args[2]->dimensions();
  return {x[0], x[1],    x[2], x[3],   x[4],    x[5],
          rows, columns, d[1], stride, kernels, dilations};
}

using Span = ffi::Span<const int64_t>;

ffi::Error CallOutput(ffi::ThreadPool pool, ffi::RemainingArgs args,
                      ffi::Result z, int64_t given, int64_t stride,
                      Span kernels, Span dilations) {
  const auto shape = z->dimensions();
  const Geometry g = Shapes(args, shape[3], shape[4], stride, kernels, dilations);
  return ByType(*z, [&](auto zero) {
    using T = decltype(zero);
    const Operands<T> in = Read<T>(args, given, g.ops());
    Output(pool, g, in, z->typed_data<T>());
  });
}

ffi::Error CallInput(ffi::ThreadPool pool, ffi::RemainingArgs args,
                     ffi::RemainingRets rets, int64_t given, int64_t stride,
                     Span kernels, Span dilations, bool to_source, bool to_weights) {
  // The first operand of the output's shape.
  const auto shape =
      args[2 + kernels.size()]->dimensions();
  const Geometry g = Shapes(args, shape[3], shape[4], stride, kernels, dilations);
  return ByType(*args[0], [&](auto zero) {
    using T = decltype(zero);
    const Operands<T> in = Read<T>(args, given, g.ops());
    size_t next = 0;
    auto take = [&] { return (*rets[next++])->template typed_data<T>(); };
    Gradients<T> out;
    if (to_source) out.x = take();
    if (to_weights) {
      out.p = take();
      for (int64_t op = 0; op < g.ops(); ++op) out.d.push_back(take());
    }
    Input(pool, g, in, out);
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_stage_output, CallOutput, "given", "stride", "kernels",
               "dilations")
JDARTS_HANDLER(jdarts_stage_input, CallInput, "given", "stride", "kernels", "dilations",
               "to_source", "to_weights")
