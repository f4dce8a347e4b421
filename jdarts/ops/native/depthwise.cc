// Depthwise convolution of many edges at once: forward, and both gradients.
//
// The three functions are the partial derivatives of the trilinear form that
// jdarts/ops/depthwise.py describes, with its shapes: sources x [G, B, H, W, C],
// kernels w [E, K, K, C], outputs y [E, B, OH, OW, C]; edge e leaves source e / (E/G).
//
// Channels are innermost. A vector of V channels (64 bytes, 8, 4 or 1, whichever divides
// C) stays in registers over all taps; images are copied into a zero-padded scratch
// plane first, so that no tap needs a bounds check.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "by_type.h"
#include "ffi.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using jdarts::ParallelFor;

struct Geometry {
  int64_t sources, edges, batch, height, width, channels;
  int64_t rows, columns;  // of the output
  int64_t kernel, stride, dilation, padding;

  int64_t multiplier() const { return edges / sources; }
  int64_t reach() const { return dilation * (kernel - 1); }
};

template <typename T, int V>
struct Vector {
  typedef T type __attribute__((vector_size(V * sizeof(T)), aligned(sizeof(T))));
};

template <typename T, int V>
inline typename Vector<T, V>::type Load(const T* p) {
  return *reinterpret_cast<const typename Vector<T, V>::type*>(p);
}

template <typename T, int V>
inline void Store(T* p, typename Vector<T, V>::type v) {
  *reinterpret_cast<typename Vector<T, V>::type*>(p) = v;
}

template <typename T>
std::vector<T>& Scratch(size_t size) {
  static thread_local std::vector<T> scratch;
  if (scratch.size() < size) scratch.resize(size);
  return scratch;
}

// Copies planes of [height, width, channels] into zero-padded ones.
template <typename T>
void Pad(const T* from, T* to, int64_t height, int64_t width, int64_t channels,
         int64_t top, int64_t left, int64_t padded_height, int64_t padded_width) {
  const int64_t row = padded_width * channels;
  std::fill(to, to + top * row, T(0));
  for (int64_t h = 0; h < height; ++h) {
    T* line = to + (top + h) * row;
    std::fill(line, line + left * channels, T(0));
    std::copy(from + h * width * channels, from + (h + 1) * width * channels,
              line + left * channels);
    std::fill(line + (left + width) * channels, line + row, T(0));
  }
  std::fill(to + (top + height) * row, to + padded_height * row, T(0));
}

// U output pixels of one row, V channels: out[u] (+)= sum of taps.
template <typename T, int V, int U, int K>
inline void Row(const T* x, const T* w, T* y, const Geometry& g, int64_t row,
                int64_t stride, bool flip, bool add) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels, kernel = K ? K : g.kernel;
  Vec sums[U];
  for (int u = 0; u < U; ++u) sums[u] = add ? Load<T, V>(y + u * C) : Vec{};
  for (int64_t i = 0; i < kernel; ++i) {
    for (int64_t j = 0; j < kernel; ++j) {
      const int64_t tap = flip ? kernel * kernel - 1 - (i * kernel + j) : i * kernel + j;
      const Vec weight = Load<T, V>(w + tap * C);
      const T* source = x + i * g.dilation * row + j * g.dilation * C;
      for (int u = 0; u < U; ++u) sums[u] += weight * Load<T, V>(source + u * stride * C);
    }
  }
  for (int u = 0; u < U; ++u) Store<T, V>(y + u * C, sums[u]);
}

// Correlates a padded plane with one kernel: y (+)= x * w.
template <typename T, int V, int K>
void Plane(const T* x, const T* w, T* y, const Geometry& g, int64_t row, int64_t rows,
           int64_t columns, int64_t stride, bool flip, bool add) {
  constexpr int kBlock = 8;
  const int64_t C = g.channels;
  for (int64_t c = 0; c < C; c += V) {
    for (int64_t h = 0; h < rows; ++h) {
      const T* line = x + h * stride * row + c;
      T* out = y + h * columns * C + c;
      int64_t u = 0;
      for (; u + kBlock <= columns; u += kBlock)
        Row<T, V, kBlock, K>(line + u * stride * C, w + c, out + u * C, g, row, stride,
                             flip, add);
      for (; u < columns; ++u)
        Row<T, V, 1, K>(line + u * stride * C, w + c, out + u * C, g, row, stride, flip,
                        add);
    }
  }
}

template <typename T, int V, int K>
void Forward(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* w, T* y) {
  const int64_t ph = g.height + 2 * g.padding, pw = g.width + 2 * g.padding;
  const int64_t C = g.channels, in = g.height * g.width * C, out = g.rows * g.columns * C;
  ParallelFor(pool, g.sources * g.batch, [&](int64_t task) {
    const int64_t source = task / g.batch, b = task % g.batch;
    T* plane = Scratch<T>(ph * pw * C).data();
    Pad(x + task * in, plane, g.height, g.width, C, g.padding, g.padding, ph, pw);
    for (int64_t m = 0; m < g.multiplier(); ++m) {
      const int64_t e = source * g.multiplier() + m;
      Plane<T, V, K>(plane, w + e * g.kernel * g.kernel * C, y + (e * g.batch + b) * out,
                     g, pw * C, g.rows, g.columns, g.stride, false, false);
    }
  });
}

template <typename T, int V, int K>
void InputGrad(ffi::ThreadPool& pool, const Geometry& g, const T* gy, const T* w, T* gx) {
  const int64_t C = g.channels, in = g.height * g.width * C, out = g.rows * g.columns * C;
  const int64_t kk = g.kernel * g.kernel * C;
  using Vec = typename Vector<T, V>::type;
  ParallelFor(pool, g.sources * g.batch, [&](int64_t task) {
    const int64_t source = task / g.batch, b = task % g.batch;
    T* result = gx + task * in;
    if (g.stride == 1) {  // a correlation with the flipped kernel
      const int64_t edge = g.reach() - g.padding;
      const int64_t ph = g.rows + 2 * edge, pw = g.columns + 2 * edge;
      T* plane = Scratch<T>(ph * pw * C).data();
      for (int64_t m = 0; m < g.multiplier(); ++m) {
        const int64_t e = source * g.multiplier() + m;
        Pad(gy + (e * g.batch + b) * out, plane, g.rows, g.columns, C, edge, edge, ph,
            pw);
        Plane<T, V, K>(plane, w + e * kk, result, g, pw * C, g.height, g.width, 1, true,
                       m > 0);
      }
      return;
    }
    const int64_t ph = g.height + 2 * g.padding, pw = g.width + 2 * g.padding;
    T* plane = Scratch<T>(ph * pw * C).data();
    std::fill(plane, plane + ph * pw * C, T(0));
    for (int64_t m = 0; m < g.multiplier(); ++m) {
      const int64_t e = source * g.multiplier() + m;
      const T* from = gy + (e * g.batch + b) * out;
      for (int64_t c = 0; c < C; c += V)
        for (int64_t i = 0; i < g.kernel; ++i)
          for (int64_t j = 0; j < g.kernel; ++j) {
            const Vec weight = Load<T, V>(w + e * kk + (i * g.kernel + j) * C + c);
            for (int64_t h = 0; h < g.rows; ++h) {
              T* to = plane + ((h * g.stride + i * g.dilation) * pw + j * g.dilation) * C + c;
              const T* line = from + h * g.columns * C + c;
              for (int64_t u = 0; u < g.columns; ++u) {
                T* p = to + u * g.stride * C;
                Store<T, V>(p, Load<T, V>(p) + weight * Load<T, V>(line + u * C));
              }
            }
          }
    }
    for (int64_t h = 0; h < g.height; ++h)
      std::copy(plane + ((h + g.padding) * pw + g.padding) * C,
                plane + ((h + g.padding) * pw + g.padding + g.width) * C,
                result + h * g.width * C);
  });
}

// All taps of one plane, V channels: gw[tap] += sum over pixels of x . gy.
template <typename T, int V, int K>
void Correlate(const T* x, const T* gy, T* gw, const Geometry& g, int64_t row) {
  using Vec = typename Vector<T, V>::type;
  constexpr int kTaps = K * K;
  const int64_t C = g.channels;
  Vec sums[kTaps];
  for (int t = 0; t < kTaps; ++t) sums[t] = Load<T, V>(gw + t * C);
  for (int64_t h = 0; h < g.rows; ++h) {
    for (int64_t u = 0; u < g.columns; ++u) {
      const Vec value = Load<T, V>(gy + (h * g.columns + u) * C);
      const T* source = x + h * g.stride * row + u * g.stride * C;
      for (int i = 0; i < K; ++i)
        for (int j = 0; j < K; ++j)
          sums[i * K + j] +=
              value * Load<T, V>(source + i * g.dilation * row + j * g.dilation * C);
    }
  }
  for (int t = 0; t < kTaps; ++t) Store<T, V>(gw + t * C, sums[t]);
}

template <typename T, int V, int K>
void WeightGrad(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* gy, T* gw) {
  const int64_t ph = g.height + 2 * g.padding, pw = g.width + 2 * g.padding;
  const int64_t C = g.channels, in = g.height * g.width * C, out = g.rows * g.columns * C;
  const int64_t kk = g.kernel * g.kernel * C, tasks = g.sources * g.batch;
  // One partial sum per image, added up in a fixed order: the result does not depend
  // on the number of threads.
  std::vector<T> partial(tasks * g.multiplier() * kk, T(0));
  ParallelFor(pool, tasks, [&](int64_t task) {
    const int64_t source = task / g.batch, b = task % g.batch;
    T* plane = Scratch<T>(ph * pw * C).data();
    Pad(x + task * in, plane, g.height, g.width, C, g.padding, g.padding, ph, pw);
    for (int64_t m = 0; m < g.multiplier(); ++m) {
      const int64_t e = source * g.multiplier() + m;
      for (int64_t c = 0; c < C; c += V)
        Correlate<T, V, K>(plane + c, gy + (e * g.batch + b) * out + c,
                           partial.data() + (task * g.multiplier() + m) * kk + c, g,
                           pw * C);
    }
  });
  std::fill(gw, gw + g.edges * kk, T(0));
  for (int64_t task = 0; task < tasks; ++task) {
    const T* from = partial.data() + task * g.multiplier() * kk;
    T* to = gw + (task / g.batch) * g.multiplier() * kk;
    for (int64_t i = 0; i < g.multiplier() * kk; ++i) to[i] += from[i];
  }
}

enum class Which { kForward, kInputGrad, kWeightGrad };

template <Which kWhich, typename T, int V, int K>
void Run(ffi::ThreadPool& pool, const Geometry& g, const T* a, const T* b, T* out) {
  if constexpr (kWhich == Which::kForward) Forward<T, V, K>(pool, g, a, b, out);
  if constexpr (kWhich == Which::kInputGrad) InputGrad<T, V, K>(pool, g, a, b, out);
  if constexpr (kWhich == Which::kWeightGrad) WeightGrad<T, V, K>(pool, g, a, b, out);
}

template <Which kWhich, typename T, int V>
bool ByKernel(ffi::ThreadPool& pool, const Geometry& g, const T* a, const T* b, T* out) {
  switch (g.kernel) {
    case 3: return Run<kWhich, T, V, 3>(pool, g, a, b, out), true;
    case 5: return Run<kWhich, T, V, 5>(pool, g, a, b, out), true;
    case 7: return Run<kWhich, T, V, 7>(pool, g, a, b, out), true;
    default: return false;
  }
}

template <Which kWhich, typename T>
bool ByChannels(ffi::ThreadPool& pool, const Geometry& g, const T* a, const T* b, T* out) {
  constexpr int kFull = 64 / sizeof(T);
  const int64_t C = g.channels;
  if (C % kFull == 0) return ByKernel<kWhich, T, kFull>(pool, g, a, b, out);
  if (C % 8 == 0) return ByKernel<kWhich, T, 8>(pool, g, a, b, out);
  if (C % 4 == 0) return ByKernel<kWhich, T, 4>(pool, g, a, b, out);
  return ByKernel<kWhich, T, 1>(pool, g, a, b, out);
}

template <Which kWhich>
ffi::Error Call(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                ffi::Result out, int64_t kernel, int64_t stride,
                int64_t dilation) {
  // Which of the three buffers is the source's, and which the output's.
  const auto x = kWhich == Which::kInputGrad ? out->dimensions() : a.dimensions();
  const auto y = kWhich == Which::kForward     ? out->dimensions()
                 : kWhich == Which::kInputGrad ? a.dimensions()
                                               : b.dimensions();
  const Geometry g{x[0],   y[0],   x[1],     x[2],                     x[3], x[4], y[2],
                   y[3],   kernel, stride,   dilation, dilation * (kernel / 2)};
  bool known = false;
  ffi::Error typed = jdarts::ByType(a, [&](auto zero) {
    using T = decltype(zero);
    known = ByChannels<kWhich, T>(pool, g, a.typed_data<T>(), b.typed_data<T>(),
                                  out->typed_data<T>());
  });
  if (typed.failure() || known) return typed;
  return ffi::Error::InvalidArgument("depthwise: kernel size");
}

}  // namespace

JDARTS_HANDLER(jdarts_depthwise_conv, Call<Which::kForward>, "kernel", "stride",
               "dilation")
JDARTS_HANDLER(jdarts_depthwise_input_grad, Call<Which::kInputGrad>, "kernel", "stride",
               "dilation")
JDARTS_HANDLER(jdarts_depthwise_weight_grad, Call<Which::kWeightGrad>, "kernel", "stride",
               "dilation")
