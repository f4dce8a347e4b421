// Batch normalisation with scale and shift, and its gradients. See
// jdarts/ops/affine_norm.py for the equations.

#include <cstdint>
#include <vector>

#include "by_type.h"
#include "ffi.h"
#include "micro.h"
#include "norm.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

// y = scale (x - mean) r + shift.
template <typename T>
void Affine(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* scale,
            const T* shift, double eps, T* y, T* r, T* mean, T* var) {
  Moments<T>(pool, g, x, eps, mean, r, var);
  WriteImages<T>(pool, g, y, [&](auto v, int64_t image, int64_t c) {
    const int64_t C = g.channels, row = image / g.batch * C;
    const auto m = PerChannel<T, v.value>(mean + row, c, C);
    const auto factor = PerChannel<T, v.value>(scale + row, c, C) *
                        PerChannel<T, v.value>(r + row, c, C);
    const auto add = PerChannel<T, v.value>(shift + row, c, C);
    const T* from = x + image * g.image();
    return [=](int64_t at) { return (Load<T, v.value>(from + at) - m) * factor + add; };
  });
}

// The gradients in x, scale and shift for a cotangent t of y.
template <typename T>
void Pull(ffi::ThreadPool& pool, const Geometry& g, const T* t, const T* x, const T* mean,
          const T* r, const T* scale, T* gx, T* gscale, T* gshift) {
  const int64_t C = g.channels;
  const auto means = Means<T, 2>(pool, g, [&](auto v, int64_t image, int64_t c) {
    const int64_t row = image / g.batch * C;
    const auto m = PerChannel<T, v.value>(mean + row, c, C);
    const auto factor = PerChannel<T, v.value>(r + row, c, C);
    const T *own_t = t + image * g.image(), *own_x = x + image * g.image();
    return [=](int64_t at, auto* sums) {
      const auto a = Load<T, v.value>(own_t + at);
      sums[0] += a;
      sums[1] += a * ((Load<T, v.value>(own_x + at) - m) * factor);
    };
  });
  const T count = static_cast<T>(g.batch * g.pixels);
  for (int64_t e = 0; e < g.edges; ++e)
    for (int64_t c = 0; c < C; ++c) {
      gshift[e * C + c] = means[e * 2 * C + c] * count;
      gscale[e * C + c] = means[(e * 2 + 1) * C + c] * count;
    }
  WriteImages<T>(pool, g, gx, [&](auto v, int64_t image, int64_t c) {
    const int64_t row = image / g.batch * C;
    const T* both = means.data() + 2 * row;
    const auto along = PerChannel<T, v.value>(both, c, C);
    const auto m = PerChannel<T, v.value>(mean + row, c, C);
    const auto turn = PerChannel<T, v.value>(r + row, c, C);
    const auto factor = turn * PerChannel<T, v.value>(scale + row, c, C);
    const auto slope = PerChannel<T, v.value>(both + C, c, C) * turn;
    const T *own_t = t + image * g.image(), *own_x = x + image * g.image();
    return [=](int64_t at) {
      return factor * (Load<T, v.value>(own_t + at) - along -
                       (Load<T, v.value>(own_x + at) - m) * slope);
    };
  });
}

using Arg = ffi::AnyBuffer;
using Out = ffi::Result;

ffi::Error CallAffine(ffi::ThreadPool pool, Arg x, Arg scale, Arg shift, Out y, Out r,
                      Out mean, Out var, double eps) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Affine<T>(pool, Geometry(x.dimensions()), x.typed_data<T>(), scale.typed_data<T>(),
              shift.typed_data<T>(), eps, y->typed_data<T>(), r->typed_data<T>(),
              mean->typed_data<T>(), var->typed_data<T>());
  });
}

ffi::Error CallPull(ffi::ThreadPool pool, Arg t, Arg x, Arg mean, Arg r, Arg scale,
                    Out gx, Out gscale, Out gshift) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Pull<T>(pool, Geometry(x.dimensions()), t.typed_data<T>(), x.typed_data<T>(),
            mean.typed_data<T>(), r.typed_data<T>(), scale.typed_data<T>(),
            gx->typed_data<T>(), gscale->typed_data<T>(), gshift->typed_data<T>());
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_norm_affine, CallAffine, "eps")
JDARTS_HANDLER(jdarts_norm_affine_pull, CallPull)
