// The weighted sum of normalised values, and its derivatives of first and second order.
// See jdarts/ops/mixture.py for the equations.
//
// Arrays z, dz are [N, S E, B, H, W, C], with row s E + e for op s on edge e; sums and
// cotangents c, dc are [N, E, B, H, W, C]; shares [N, S E]; statistics [N, S E, C].

#include <cstdint>
#include <vector>

#include "by_type.h"
#include "ffi.h"
#include "micro.h"
#include "norm.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;
using Arg = ffi::AnyBuffer;
using Out = ffi::Result;

// Bits of the attribute `given`: which operands follow z, share, mean and r.
enum Given { kC = 1, kDc = 2, kDz = 4, kDshare = 8 };

struct Shape {
  int64_t rows, edges;  // of one problem
  Geometry all;         // of z, the rows of all problems together

  Shape(const Arg& z, int64_t edges)
      : rows(z.dimensions()[1]), edges(edges), all(Tail(z.dimensions())) {
    all.edges *= z.dimensions()[0];
  }
  static ffi::Span<const int64_t> Tail(ffi::Span<const int64_t> shape) {
    return {shape.begin() + 1, shape.size() - 1};
  }
  int64_t problems() const { return all.edges / rows; }
  int64_t ops() const { return rows / edges; }
  int64_t row(int64_t sum, int64_t op) const {  // of z, for a row of the sums
    return sum / edges * rows + op * edges + sum % edges;
  }
  int64_t sum(int64_t row) const { return row / rows * edges + row % edges; }
};

// An operand, or zeros in its place.
template <typename T>
class Maybe {
 public:
  Maybe(const T* data, int64_t size, bool given) : data_(data), step_(given ? size : 0) {
    if (given) return;
    zeros_.assign(size, T(0));
    data_ = zeros_.data();
  }
  const T* operator[](int64_t i) const { return data_ + i * step_; }

 private:
  std::vector<T> zeros_;
  const T* data_;
  int64_t step_;
};

// to = constant + sum over ops of (on_z z + on_dz dz), the factors [rows, C].
template <typename T>
void Sum(ffi::ThreadPool& pool, const Shape& g, const T* z, const T* dz,
         const std::vector<T>& on_z, const std::vector<T>& on_dz,
         const std::vector<T>& constant, T* to) {
  const int64_t C = g.all.channels, batch = g.all.batch, image = g.all.image();
  ParallelFor(pool, g.problems() * g.edges * batch, [&](int64_t task) {
    const int64_t sum = task / batch;
    T* out = to + task * image;
    OverBlocks<T>(g.all, [&](auto v, int64_t c, int64_t first, int64_t last,
                             int64_t step) {
      constexpr int V = v.value;
      for (int64_t op = 0; op < g.ops(); ++op) {
        const int64_t row = g.row(sum, op), offset = (row * batch + task % batch) * image;
        const auto by_z = PerChannel<T, V>(on_z.data() + row * C, c, C);
        const auto by_dz = PerChannel<T, V>(on_dz.data() + row * C, c, C);
        const auto add = PerChannel<T, V>(constant.data() + row * C, c, C);
        for (int64_t at = first; at < last; at += step) {
          auto total = add + by_z * Load<T, V>(z + offset + at);
          if (dz) total += by_dz * Load<T, V>(dz + offset + at);
          if (op > 0) total += Load<T, V>(out + at);
          Store<T, V>(out + at, total);
        }
      }
    });
  });
}

template <typename T>
void Forward(ffi::ThreadPool& pool, const Shape& g, const T* z, const T* share, double eps,
             T* to, T* mean, T* r, T* var) {
  const int64_t C = g.all.channels, size = g.all.edges * C;
  Moments<T>(pool, g.all, z, eps, mean, r, var);
  std::vector<T> on_z(size), constant(size);
  for (int64_t i = 0; i < size; ++i) {
    on_z[i] = share[i / C] * r[i];
    constant[i] = -on_z[i] * mean[i];
  }
  Sum<T>(pool, g, z, nullptr, on_z, on_z, constant, to);
}

template <typename T>
struct Operands {
  const T *z, *share, *mean, *r, *c = nullptr, *dc = nullptr, *dz = nullptr,
                                 *dshare = nullptr;
};

// The operands in their order: z, share, mean, r, then what `given` names.
template <typename T>
Operands<T> Read(const ffi::RemainingArgs& args, int64_t given) {
  size_t next = 0;
  auto take = [&] { return args[next++]->template typed_data<T>(); };
  Operands<T> in;
  in.z = take();
  in.share = take();
  in.mean = take();
  in.r = take();
  if (given & kC) in.c = take();
  if (given & kDc) in.dc = take();
  if (given & kDz) in.dz = take();
  if (given & kDshare) in.dshare = take();
  return in;
}

// The derivative of the sum along dz and dshare.
template <typename T>
void Output(ffi::ThreadPool& pool, const Shape& g, const Operands<T>& in, T* to) {
  const int64_t C = g.all.channels, image = g.all.image(), size = g.all.edges * C;
  std::vector<T> means(2 * size);
  if (in.dz)
    means = Means<T, 2>(pool, g.all, [&](auto v, int64_t number, int64_t channel) {
      const auto mean =
          PerChannel<T, v.value>(in.mean + number / g.all.batch * C, channel, C);
      const T *z = in.z + number * image, *dz = in.dz + number * image;
      return [=](int64_t at, auto* sums) {
        const auto moved = Load<T, v.value>(dz + at);
        sums[0] += moved;
        sums[1] += moved * (Load<T, v.value>(z + at) - mean);
      };
    });
  std::vector<T> on_z(size), on_dz(size), constant(size);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t row = i / C, at = row * 2 * C + i % C;
    const T scale = in.share[row] * in.r[i];
    const T along_n = means[at + C] * in.r[i];
    on_dz[i] = scale;
    on_z[i] = ((in.dshare ? in.dshare[row] : T(0)) - scale * along_n) * in.r[i];
    constant[i] = -scale * means[at] - on_z[i] * in.mean[i];
  }
  Sum<T>(pool, g, in.z, in.dz, on_z, on_dz, constant, to);
}

// Means over batch and pixels, of one channel of a row of z.
template <typename T>
struct Averages {
  T dc = 0, n_dc = 0, c = 0, n_c = 0, dz = 0, n_dz = 0, dz_c = 0;
};

// Factors of one channel in the gradient in z; the gradient in its row's share.
template <typename T>
struct Factors {
  T c, dc, dz, z, constant, share;
};

template <typename T>
Factors<T> Solve(const Averages<T>& m, T share, T dshare, T mean, T r) {
  const T scale = share * r;
  const T dn_c = r * (m.dz_c - m.dz * m.c - m.n_dz * m.n_c);
  Factors<T> f;
  f.c = dshare * r - scale * r * m.n_dz;
  f.dc = scale;
  f.dz = -scale * r * m.n_c;
  f.z = -(f.c * m.n_c + scale * (m.n_dc + dn_c) + f.dz * m.n_dz) * r;
  f.constant = -f.c * m.c - scale * m.dc - f.dz * m.dz - f.z * mean;
  f.share = dn_c + m.n_dc;
  return f;
}

// The gradients in z and share along dc and, of second order at the cotangent c, along
// dz and dshare. Null where not wanted.
template <typename T, bool kSecond>
void Input(ffi::ThreadPool& pool, const Shape& g, const Operands<T>& in, T* to_z,
           T* to_share) {
  constexpr int kMeans = kSecond ? 7 : 2;
  const int64_t C = g.all.channels, batch = g.all.batch, image = g.all.image();
  const Maybe<T> c(in.c, image, in.c), dc(in.dc, image, in.dc), dz(in.dz, image, in.dz);
  auto summed = [&](int64_t number) {  // which image of the sums belongs to one of z
    return g.sum(number / batch) * batch + number % batch;
  };
  const std::vector<T> means =
      Means<T, kMeans>(pool, g.all, [&](auto v, int64_t number, int64_t channel) {
        const int64_t row = number / batch * C;
        const auto mean = PerChannel<T, v.value>(in.mean + row, channel, C);
        const auto r = PerChannel<T, v.value>(in.r + row, channel, C);
        const T *z = in.z + number * image, *moved = dz[number];
        const T *at_c = c[summed(number)], *along_c = dc[summed(number)];
        return [=](int64_t at, auto* sums) {
          const auto n = (Load<T, v.value>(z + at) - mean) * r;
          const auto b = Load<T, v.value>(along_c + at);
          sums[0] += b;
          sums[1] += n * b;
          if constexpr (kSecond) {
            const auto a = Load<T, v.value>(at_c + at), d = Load<T, v.value>(moved + at);
            sums[2] += a;
            sums[3] += n * a;
            sums[4] += d;
            sums[5] += n * d;
            sums[6] += d * a;
          }
        };
      });
  std::vector<Factors<T>> factors(g.all.edges * C);
  for (int64_t row = 0; row < g.all.edges; ++row)
    for (int64_t channel = 0; channel < C; ++channel) {
      const T* m = means.data() + row * kMeans * C + channel;
      Averages<T> averages{m[0], m[C]};
      if constexpr (kSecond)
        averages = {m[0], m[C], m[2 * C], m[3 * C], m[4 * C], m[5 * C], m[6 * C]};
      const int64_t i = row * C + channel;
      factors[i] = Solve<T>(averages, in.share[row], in.dshare ? in.dshare[row] : T(0),
                            in.mean[i], in.r[i]);
    }
  if (to_share)
    for (int64_t row = 0; row < g.all.edges; ++row) {
      double total = 0;
      for (int64_t i = row * C; i < (row + 1) * C; ++i) total += factors[i].share;
      to_share[row] = static_cast<T>(total * batch * g.all.pixels);
    }
  if (!to_z) return;
  WriteImages<T>(pool, g.all, to_z, [&](auto v, int64_t number, int64_t channel) {
    constexpr int V = v.value;
    const int64_t other = summed(number), row = number / batch * C;
    const T *z = in.z + number * image, *moved = dz[number];
    const T *at_c = c[other], *along_c = dc[other];
    typename Vector<T, V>::type on_c, on_dc, on_dz, on_z, constant;
    for (int i = 0; i < V; ++i) {
      const Factors<T>& own = factors[row + (channel + i < C ? channel + i : i % C)];
      on_c[i] = own.c;
      on_dc[i] = own.dc;
      on_dz[i] = own.dz;
      on_z[i] = own.z;
      constant[i] = own.constant;
    }
    return [=](int64_t at) {
      auto total =
          constant + on_dc * Load<T, V>(along_c + at) + on_z * Load<T, V>(z + at);
      if constexpr (kSecond)
        total += on_c * Load<T, V>(at_c + at) + on_dz * Load<T, V>(moved + at);
      return total;
    };
  });
}

ffi::Error CallForward(ffi::ThreadPool pool, Arg z, Arg share, Out to, Out mean,
                       Out r, Out var, double eps) {
  return ByType(z, [&](auto zero) {
    using T = decltype(zero);
    const Shape g(z, to->dimensions()[1]);
    Forward<T>(pool, g, z.typed_data<T>(), share.typed_data<T>(), eps,
                        to->typed_data<T>(), mean->typed_data<T>(),
                        r->typed_data<T>(), var->typed_data<T>());
  });
}

ffi::Error CallOutput(ffi::ThreadPool pool, ffi::RemainingArgs args, Out to,
                      int64_t given) {
  return ByType(*to, [&](auto zero) {
    using T = decltype(zero);
    const Shape g(*args[0], to->dimensions()[1]);
    Output<T>(pool, g, Read<T>(args, given), to->typed_data<T>());
  });
}

ffi::Error CallInput(ffi::ThreadPool pool, ffi::RemainingArgs args,
                     ffi::RemainingRets rets, int64_t edges, int64_t given, bool to_z,
                     bool to_share) {
  const Arg z = *args[0];
  return ByType(z, [&](auto zero) {
    using T = decltype(zero);
    const Shape g(z, edges);
    T* gz = to_z ? (*rets[0])->template typed_data<T>() : nullptr;
    T* gshare = to_share ? (*rets[to_z])->template typed_data<T>() : nullptr;
    const Operands<T> in = Read<T>(args, given);
    if (given == kDc)
      Input<T, false>(pool, g, in, gz, gshare);
    else
      Input<T, true>(pool, g, in, gz, gshare);
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_mixture, CallForward, "eps")
JDARTS_HANDLER(jdarts_mixture_output, CallOutput, "given")
JDARTS_HANDLER(jdarts_mixture_input, CallInput, "edges", "given", "to_z",
               "to_share")
