// Batch normalisation without scale and shift: forward, and the projection that is its
// derivative and its own transpose. See jdarts/ops/norm.py.
//
// Arrays are [E, B, P, C] with P pixels; statistics are [E, C], over B and P. Sums are
// taken image by image and combined in a fixed order, so that the result does not depend
// on the number of threads.

#include <cmath>
#include <cstdint>
#include <vector>

#include "by_type.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using jdarts::ByType;
using jdarts::ParallelFor;

struct Geometry {
  int64_t edges, batch, pixels, channels;

  explicit Geometry(const ffi::AnyBuffer& x)
      : edges(x.dimensions()[0]),
        batch(x.dimensions()[1]),
        pixels(x.dimensions()[2] * x.dimensions()[3]),
        channels(x.dimensions()[4]) {}
  int64_t image() const { return pixels * channels; }
};

// y = (x - mean) r with r = 1 / sqrt(var + eps), the variance biased.
template <typename T>
void Standardise(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* y,
                 T* r, T* mean, T* var) {
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> means(images * C), squares(images * C);
  ParallelFor(pool, images, [&](int64_t image) {
    const T* from = x + image * g.image();
    T* m = means.data() + image * C;
    T* s = squares.data() + image * C;
    for (int64_t c = 0; c < C; ++c) m[c] = s[c] = T(0);
    for (int64_t p = 0; p < g.pixels; ++p)
      for (int64_t c = 0; c < C; ++c) m[c] += from[p * C + c];
    for (int64_t c = 0; c < C; ++c) m[c] /= static_cast<T>(g.pixels);
    for (int64_t p = 0; p < g.pixels; ++p)
      for (int64_t c = 0; c < C; ++c) {
        const T centred = from[p * C + c] - m[c];
        s[c] += centred * centred;
      }
  });
  for (int64_t e = 0; e < g.edges; ++e)
    for (int64_t c = 0; c < C; ++c) {
      double total = 0, spread = 0;
      for (int64_t b = 0; b < g.batch; ++b) total += means[(e * g.batch + b) * C + c];
      const double centre = total / g.batch;
      for (int64_t b = 0; b < g.batch; ++b) {
        const double off = means[(e * g.batch + b) * C + c] - centre;
        spread += squares[(e * g.batch + b) * C + c] + off * off * g.pixels;
      }
      const double variance = spread / (static_cast<double>(g.batch) * g.pixels);
      mean[e * C + c] = static_cast<T>(centre);
      var[e * C + c] = static_cast<T>(variance);
      r[e * C + c] = static_cast<T>(1.0 / std::sqrt(variance + eps));
    }
  ParallelFor(pool, images, [&](int64_t image) {
    const T* from = x + image * g.image();
    T* to = y + image * g.image();
    const T* m = mean + (image / g.batch) * C;
    const T* scale = r + (image / g.batch) * C;
    for (int64_t p = 0; p < g.pixels; ++p)
      for (int64_t c = 0; c < C; ++c)
        to[p * C + c] = (from[p * C + c] - m[c]) * scale[c];
  });
}

// out = r (t - <t> - n <n t>), <.> the mean over batch and pixels.
template <typename T>
void Project(ffi::ThreadPool& pool, const Geometry& g, const T* t, const T* n, const T* r,
             T* out) {
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> sums(images * C), products(images * C);
  ParallelFor(pool, images, [&](int64_t image) {
    const T* a = t + image * g.image();
    const T* b = n + image * g.image();
    T* s = sums.data() + image * C;
    T* q = products.data() + image * C;
    for (int64_t c = 0; c < C; ++c) s[c] = q[c] = T(0);
    for (int64_t p = 0; p < g.pixels; ++p)
      for (int64_t c = 0; c < C; ++c) {
        s[c] += a[p * C + c];
        q[c] += a[p * C + c] * b[p * C + c];
      }
  });
  std::vector<T> along_mean(g.edges * C), along_n(g.edges * C);
  const double count = static_cast<double>(g.batch) * g.pixels;
  for (int64_t e = 0; e < g.edges; ++e)
    for (int64_t c = 0; c < C; ++c) {
      double s = 0, q = 0;
      for (int64_t b = 0; b < g.batch; ++b) {
        s += sums[(e * g.batch + b) * C + c];
        q += products[(e * g.batch + b) * C + c];
      }
      along_mean[e * C + c] = static_cast<T>(s / count);
      along_n[e * C + c] = static_cast<T>(q / count);
    }
  ParallelFor(pool, images, [&](int64_t image) {
    const T* a = t + image * g.image();
    const T* b = n + image * g.image();
    T* to = out + image * g.image();
    const int64_t at = (image / g.batch) * C;
    const T *s = along_mean.data() + at, *q = along_n.data() + at, *scale = r + at;
    for (int64_t p = 0; p < g.pixels; ++p)
      for (int64_t c = 0; c < C; ++c)
        to[p * C + c] = scale[c] * (a[p * C + c] - s[c] - b[p * C + c] * q[c]);
  });
}

using Buffer = ffi::AnyBuffer;
using Out = ffi::Result<ffi::AnyBuffer>;

ffi::Error CallStandardise(ffi::ThreadPool pool, Buffer x, Out y, Out r, Out mean,
                           Out var, double eps) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Standardise<T>(pool, Geometry(x), x.typed_data<T>(), eps, y->typed_data<T>(),
                   r->typed_data<T>(), mean->typed_data<T>(), var->typed_data<T>());
  });
}

ffi::Error CallProject(ffi::ThreadPool pool, Buffer t, Buffer n, Buffer r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    Project<T>(pool, Geometry(t), t.typed_data<T>(), n.typed_data<T>(),
               r.typed_data<T>(), out->typed_data<T>());
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_standardise, CallStandardise,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Buffer>()
                                  .Ret<Buffer>()
                                  .Ret<Buffer>()
                                  .Ret<Buffer>()
                                  .Ret<Buffer>()
                                  .Attr<double>("eps"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_project, CallProject,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Ret<Buffer>());
