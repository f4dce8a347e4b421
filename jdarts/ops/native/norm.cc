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
#include "micro.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using namespace jdarts;

struct Geometry {
  int64_t edges, batch, pixels, channels;

  explicit Geometry(const ffi::AnyBuffer& x)
      : edges(x.dimensions()[0]),
        batch(x.dimensions()[1]),
        pixels(x.dimensions()[2] * x.dimensions()[3]),
        channels(x.dimensions()[4]) {}
  int64_t image() const { return pixels * channels; }
};

// Adds up body(pixel) over the pixels of an image, for V channels from c on; several
// independent sums hide the latency of an addition.
template <typename T, int V, typename Body>
inline typename Vector<T, V>::type OverPixels(const Geometry& g, int64_t c,
                                              const Body& body) {
  using Vec = typename Vector<T, V>::type;
  Vec sums[4] = {};
  int64_t p = 0;
  for (; p + 4 <= g.pixels; p += 4)
    for (int i = 0; i < 4; ++i) sums[i] += body((p + i) * g.channels + c);
  for (; p < g.pixels; ++p) sums[0] += body(p * g.channels + c);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// y = (x - mean) r with r = 1 / sqrt(var + eps), the variance biased.
template <typename T, int V>
void Standardise(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* y,
                 T* r, T* mean, T* var) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> means(images * C), squares(images * C);
  ParallelFor(pool, images, [&](int64_t image) {
    const T* from = x + image * g.image();
    for (int64_t c = 0; c < C; c += V) {
      const Vec m = OverPixels<T, V>(g, c, [&](int64_t at) {
                      return Load<T, V>(from + at);
                    }) / static_cast<T>(g.pixels);
      Store<T, V>(means.data() + image * C + c, m);
      Store<T, V>(squares.data() + image * C + c,
                  OverPixels<T, V>(g, c, [&](int64_t at) {
                    const Vec centred = Load<T, V>(from + at) - m;
                    return centred * centred;
                  }));
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
    for (int64_t c = 0; c < C; c += V) {
      const Vec m = Load<T, V>(mean + (image / g.batch) * C + c);
      const Vec scale = Load<T, V>(r + (image / g.batch) * C + c);
      for (int64_t at = c; at < g.image(); at += C)
        Store<T, V>(to + at, (Load<T, V>(from + at) - m) * scale);
    }
  });
}

// N sums over batch and pixels at once, divided by their number: body(image, offset in
// it, N vectors to add to); the result is [E, N, C].
template <typename T, int V, int N, typename Body>
std::vector<T> Means(ffi::ThreadPool& pool, const Geometry& g, const Body& body) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> sums(images * N * C), means(g.edges * N * C);
  ParallelFor(pool, images, [&](int64_t image) {
    for (int64_t c = 0; c < C; c += V) {
      Vec even[N] = {}, odd[N] = {};  // independent, for the latency of an addition
      int64_t p = 0;
      for (; p + 2 <= g.pixels; p += 2) {
        body(image, p * C + c, even);
        body(image, (p + 1) * C + c, odd);
      }
      if (p < g.pixels) body(image, p * C + c, even);
      for (int i = 0; i < N; ++i)
        Store<T, V>(sums.data() + (image * N + i) * C + c, even[i] + odd[i]);
    }
  });
  const double count = static_cast<double>(g.batch) * g.pixels;
  for (int64_t e = 0; e < g.edges; ++e)
    for (int64_t i = 0; i < N * C; ++i) {
      double total = 0;
      for (int64_t b = 0; b < g.batch; ++b) total += sums[(e * g.batch + b) * N * C + i];
      means[e * N * C + i] = static_cast<T>(total / count);
    }
  return means;
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
  const auto means = Means<T, V, 2>(pool, g, [&](int64_t image, int64_t at, Vec* sums) {
    const Vec a = Load<T, V>(t + image * g.image() + at);
    sums[0] += a;
    sums[1] += a * Load<T, V>(n + image * g.image() + at);
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
  const auto means = Means<T, V, 4>(pool, g, [&](int64_t image, int64_t at, Vec* sums) {
    const int64_t i = image * g.image() + at;
    const Vec a = Load<T, V>(t + i), b = Load<T, V>(n + i), da = Load<T, V>(dt + i);
    sums[0] += a;
    sums[1] += a * b;
    sums[2] += da;
    sums[3] += da * b + a * Load<T, V>(dn + i);
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

using Buffer = ffi::AnyBuffer;
using Out = ffi::Result<ffi::AnyBuffer>;

ffi::Error CallStandardise(ffi::ThreadPool pool, Buffer x, Out y, Out r, Out mean,
                           Out var, double eps) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(x);
    ByVector<T>(g.channels, [&](auto v) {
      Standardise<T, v.value>(pool, g, x.typed_data<T>(), eps, y->typed_data<T>(),
                              r->typed_data<T>(), mean->typed_data<T>(),
                              var->typed_data<T>());
    });
  });
}

ffi::Error CallProject(ffi::ThreadPool pool, Buffer t, Buffer n, Buffer r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t);
    ByVector<T>(g.channels, [&](auto v) {
      Project<T, v.value>(pool, g, t.typed_data<T>(), n.typed_data<T>(),
                          r.typed_data<T>(), out->typed_data<T>());
    });
  });
}

ffi::Error CallProjectTangent(ffi::ThreadPool pool, Buffer dt, Buffer dn, Buffer dr,
                              Buffer t, Buffer n, Buffer r, Out out) {
  return ByType(t, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g(t);
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
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_norm_project_tangent, CallProjectTangent,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Arg<Buffer>()
                                  .Ret<Buffer>());
