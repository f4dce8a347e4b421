// Batch normalisation without scale and shift: forward, and the projection that is its
// derivative and its own transpose. See jdarts/ops/norm.py.

#include <algorithm>
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

// y = (x - mean) r.
template <typename T>
void Standardise(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* y,
                 T* r, T* mean, T* var) {
  Moments<T>(pool, g, x, eps, mean, r, var);
  WriteImages<T>(pool, g, y, [&](auto v, int64_t image, int64_t c) {
    const int64_t C = g.channels, edge = image / g.batch;
    const auto m = PerChannel<T, v.value>(mean + edge * C, c, C);
    const auto scale = PerChannel<T, v.value>(r + edge * C, c, C);
    const T* from = x + image * g.image();
    return [=](int64_t at) { return (Load<T, v.value>(from + at) - m) * scale; };
  });
}

// out = r (t - <t> - n <n t>), <.> the mean over batch and pixels, and along = <n t>.
template <typename T>
void Project(ffi::ThreadPool& pool, const Geometry& g, const T* t, const T* n, const T* r,
             T* out, T* along) {
  const int64_t C = g.channels;
  const auto means = Means<T, 2>(pool, g, [&](auto v, int64_t image, int64_t) {
    const T *own_t = t + image * g.image(), *own_n = n + image * g.image();
    return [=](int64_t at, auto* sums) {
      const auto a = Load<T, v.value>(own_t + at);
      sums[0] += a;
      sums[1] += a * Load<T, v.value>(own_n + at);
    };
  });
  for (int64_t e = 0; e < g.edges; ++e)
    std::copy_n(means.data() + (e * 2 + 1) * C, C, along + e * C);
  WriteImages<T>(pool, g, out, [&](auto v, int64_t image, int64_t c) {
    const int64_t edge = image / g.batch;
    const T* m = means.data() + edge * 2 * C;
    const auto mean = PerChannel<T, v.value>(m, c, C);
    const auto along_n = PerChannel<T, v.value>(m + C, c, C);
    const auto scale = PerChannel<T, v.value>(r + edge * C, c, C);
    const T *own_t = t + image * g.image(), *own_n = n + image * g.image();
    return [=](int64_t at) {
      return scale * (Load<T, v.value>(own_t + at) - mean -
                      Load<T, v.value>(own_n + at) * along_n);
    };
  });
}

// The derivative of Project along dt, dn and dr:
//   r (dt - <dt> - n (<n dt> + <dn t>) - dn <n t>) + dr (t - <t> - n <n t>).
template <typename T>
void ProjectTangent(ffi::ThreadPool& pool, const Geometry& g, const T* dt, const T* dn,
                    const T* dr, const T* t, const T* n, const T* r, T* out) {
  const int64_t C = g.channels;
  const auto means = Means<T, 4>(pool, g, [&](auto v, int64_t image, int64_t) {
    const int64_t own = image * g.image();
    return [=](int64_t at, auto* sums) {
      const int64_t i = own + at;
      const auto a = Load<T, v.value>(t + i), b = Load<T, v.value>(n + i);
      const auto da = Load<T, v.value>(dt + i);
      sums[0] += a;
      sums[1] += a * b;
      sums[2] += da;
      sums[3] += da * b + a * Load<T, v.value>(dn + i);
    };
  });
  WriteImages<T>(pool, g, out, [&](auto v, int64_t image, int64_t c) {
    const int64_t edge = image / g.batch, own = image * g.image();
    const T* m = means.data() + edge * 4 * C;
    const auto mean = PerChannel<T, v.value>(m, c, C);
    const auto along_n = PerChannel<T, v.value>(m + C, c, C);
    const auto d_mean = PerChannel<T, v.value>(m + 2 * C, c, C);
    const auto d_along_n = PerChannel<T, v.value>(m + 3 * C, c, C);
    const auto scale = PerChannel<T, v.value>(r + edge * C, c, C);
    const auto turn = PerChannel<T, v.value>(dr + edge * C, c, C);
    return [=](int64_t at) {
      const int64_t i = own + at;
      const auto b = Load<T, v.value>(n + i);
      return scale * (Load<T, v.value>(dt + i) - d_mean - b * d_along_n -
                      Load<T, v.value>(dn + i) * along_n) +
             turn * (Load<T, v.value>(t + i) - mean - b * along_n);
    };
  });
}

using Arg = ffi::AnyBuffer;
using Out = ffi::Result;

ffi::Error CallStandardise(ffi::ThreadPool pool, Arg x, Out y, Out r, Out mean,
                           Out var, double eps) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(x.dimensions());
    Standardise<T>(pool, g, x.typed_data<T>(), eps, y->typed_data<T>(),
                            r->typed_data<T>(), mean->typed_data<T>(),
                            var->typed_data<T>());
  });
}

ffi::Error CallProject(ffi::ThreadPool pool, Arg t, Arg n, Arg r, Out out,
                       Out along) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t.dimensions());
    Project<T>(pool, g, t.typed_data<T>(), n.typed_data<T>(),
                        r.typed_data<T>(), out->typed_data<T>(),
                        along->typed_data<T>());
  });
}

ffi::Error CallProjectTangent(ffi::ThreadPool pool, Arg dt, Arg dn, Arg dr,
                              Arg t, Arg n, Arg r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t.dimensions());
    ProjectTangent<T>(pool, g, dt.typed_data<T>(), dn.typed_data<T>(),
                               dr.typed_data<T>(), t.typed_data<T>(),
                               n.typed_data<T>(), r.typed_data<T>(),
                               out->typed_data<T>());
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_norm_standardise, CallStandardise, "eps")
JDARTS_HANDLER(jdarts_norm_project, CallProject)
JDARTS_HANDLER(jdarts_norm_project_tangent, CallProjectTangent)
