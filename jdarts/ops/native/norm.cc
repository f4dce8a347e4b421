// Batch normalisation without scale and shift: forward, and the projection that is its
// derivative and its own transpose. See jdarts/ops/norm.py.

#include <cstdint>
#include <vector>

#include "by_type.h"
#include "micro.h"
#include "norm.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using namespace jdarts;

// y = (x - mean) r.
template <typename T, int V>
void Standardise(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* y,
                 T* r, T* mean, T* var) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels;
  Moments<T, V>(pool, g, x, eps, mean, r, var);
  ParallelFor(pool, g.edges * g.batch, [&](int64_t image) {
    const T* from = x + image * g.image();
    T* to = y + image * g.image();
    for (int64_t c = 0; c < C; c += V) {
      const Vec m = Load<T, V>(mean + (image / g.batch) * C + c);
      const Vec scale = Load<T, V>(r + (image / g.batch) * C + c);
      for (int64_t at = c; at < g.image(); at += C)
        Store<T, V>(to + at, (Load<T, V>(from + at) - m) * scale);
    }
  });
}

// Writes body(image, offset in it, the N means of its channels) over all pixels.
template <typename T, int V, int N, typename Body>
void Write(ffi::ThreadPool& pool, const Geometry& g, const std::vector<T>& means, T* out,
           const Body& body) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels;
  ParallelFor(pool, g.edges * g.batch, [&](int64_t image) {
    for (int64_t c = 0; c < C; c += V) {
      Vec m[N];
      for (int i = 0; i < N; ++i)
        m[i] = Load<T, V>(means.data() + (image / g.batch * N + i) * C + c);
      const auto pixel = body(image / g.batch * C + c, m);
      for (int64_t at = image * g.image() + c; at < (image + 1) * g.image(); at += C)
        Store<T, V>(out + at, pixel(at));
    }
  });
}

// out = r (t - <t> - n <n t>), <.> the mean over batch and pixels.
template <typename T, int V>
void Project(ffi::ThreadPool& pool, const Geometry& g, const T* t, const T* n, const T* r,
             T* out) {
  using Vec = typename Vector<T, V>::type;
  const auto means = Means<T, V, 2>(pool, g, [&](int64_t image, int64_t) {
    return [=](int64_t at, Vec* sums) {
      const Vec a = Load<T, V>(t + image * g.image() + at);
      sums[0] += a;
      sums[1] += a * Load<T, V>(n + image * g.image() + at);
    };
  });
  Write<T, V, 2>(pool, g, means, out, [&](int64_t channel, const Vec* m) {
    const Vec scale = Load<T, V>(r + channel), mean = m[0], along_n = m[1];
    return [=](int64_t at) -> Vec {
      return scale * (Load<T, V>(t + at) - mean - Load<T, V>(n + at) * along_n);
    };
  });
}

// The derivative of Project along dt, dn and dr:
//   r (dt - <dt> - n (<n dt> + <dn t>) - dn <n t>) + dr (t - <t> - n <n t>).
template <typename T, int V>
void ProjectTangent(ffi::ThreadPool& pool, const Geometry& g, const T* dt, const T* dn,
                    const T* dr, const T* t, const T* n, const T* r, T* out) {
  using Vec = typename Vector<T, V>::type;
  const auto means = Means<T, V, 4>(pool, g, [&](int64_t image, int64_t) {
    return [=](int64_t at, Vec* sums) {
      const int64_t i = image * g.image() + at;
      const Vec a = Load<T, V>(t + i), b = Load<T, V>(n + i), da = Load<T, V>(dt + i);
      sums[0] += a;
      sums[1] += a * b;
      sums[2] += da;
      sums[3] += da * b + a * Load<T, V>(dn + i);
    };
  });
  Write<T, V, 4>(pool, g, means, out, [&](int64_t channel, const Vec* m) {
    const Vec scale = Load<T, V>(r + channel), turn = Load<T, V>(dr + channel);
    const Vec mean = m[0], along_n = m[1], d_mean = m[2], d_along_n = m[3];
    return [=](int64_t at) -> Vec {
      const Vec b = Load<T, V>(n + at);
      return scale * (Load<T, V>(dt + at) - d_mean - b * d_along_n -
                      Load<T, V>(dn + at) * along_n) +
             turn * (Load<T, V>(t + at) - mean - b * along_n);
    };
  });
}

using Arg = ffi::AnyBuffer;
using Out = ffi::Result<ffi::AnyBuffer>;

ffi::Error CallStandardise(ffi::ThreadPool pool, Arg x, Out y, Out r, Out mean,
                           Out var, double eps) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(x.dimensions());
    ByVector<T>(g.channels, [&](auto v) {
      Standardise<T, v.value>(pool, g, x.typed_data<T>(), eps, y->typed_data<T>(),
                              r->typed_data<T>(), mean->typed_data<T>(),
                              var->typed_data<T>());
    });
  });
}

ffi::Error CallProject(ffi::ThreadPool pool, Arg t, Arg n, Arg r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t.dimensions());
    ByVector<T>(g.channels, [&](auto v) {
      Project<T, v.value>(pool, g, t.typed_data<T>(), n.typed_data<T>(),
                          r.typed_data<T>(), out->typed_data<T>());
    });
  });
}

ffi::Error CallProjectTangent(ffi::ThreadPool pool, Arg dt, Arg dn, Arg dr,
                              Arg t, Arg n, Arg r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t.dimensions());
    ByVector<T>(g.channels, [&](auto v) {
      ProjectTangent<T, v.value>(pool, g, dt.typed_data<T>(), dn.typed_data<T>(),
                                 dr.typed_data<T>(), t.typed_data<T>(),
                                 n.typed_data<T>(), r.typed_data<T>(),
                                 out->typed_data<T>());
    });
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_standardise, CallStandardise,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Arg>()
                                  .Ret<Arg>()
                                  .Ret<Arg>()
                                  .Ret<Arg>()
                                  .Ret<Arg>()
                                  .Attr<double>("eps"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_project, CallProject,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Ret<Arg>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_project_tangent, CallProjectTangent,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Arg<Arg>()
                                  .Ret<Arg>());
