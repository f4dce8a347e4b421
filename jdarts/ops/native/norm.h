// Sums over batch and pixels, as batch normalisation needs them.
//
// Arrays are [E, B, P, C] with P pixels; statistics are [E, C], over B and P. Sums are
// taken image by image and combined in a fixed order, so that the result does not depend
// on the number of threads.

#ifndef JDARTS_OPS_NATIVE_NORM_H_
#define JDARTS_OPS_NATIVE_NORM_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "micro.h"
#include "parallel.h"
#include "xla/ffi/api/ffi.h"

namespace jdarts {

namespace ffi = xla::ffi;

struct Geometry {
  int64_t edges, batch, pixels, channels;

  explicit Geometry(ffi::Span<const int64_t> shape)
      : edges(shape[0]),
        batch(shape[1]),
        pixels(shape[2] * shape[3]),
        channels(shape[4]) {}
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

// Mean, 1 / sqrt(var + eps) and the biased variance of each channel of each edge.
template <typename T, int V>
void Moments(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* mean,
             T* r, T* var) {
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
}

// N sums over batch and pixels at once, divided by their number. body(image, channel)
// returns what adds a pixel's values to N vectors: (offset in the image, vectors). The
// result is [E, N, C].
template <typename T, int V, int N, typename Body>
std::vector<T> Means(ffi::ThreadPool& pool, const Geometry& g, const Body& body) {
  using Vec = typename Vector<T, V>::type;
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> sums(images * N * C), means(g.edges * N * C);
  ParallelFor(pool, images, [&](int64_t image) {
    for (int64_t c = 0; c < C; c += V) {
      const auto pixel = body(image, c);
      Vec even[N] = {}, odd[N] = {};  // independent, for the latency of an addition
      int64_t p = 0;
      for (; p + 2 <= g.pixels; p += 2) {
        pixel(p * C + c, even);
        pixel((p + 1) * C + c, odd);
      }
      if (p < g.pixels) pixel(p * C + c, even);
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

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_NORM_H_
