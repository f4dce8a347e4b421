// Sums over batch and pixels, as batch normalisation needs them.
//
// Arrays are [E, B, P, C] with P pixels; statistics are [E, C], over B and P. Sums are
// taken image by image and combined in a fixed order, so that the result does not depend
// on the number of threads.

#ifndef JDARTS_OPS_NATIVE_NORM_H_
#define JDARTS_OPS_NATIVE_NORM_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <vector>

#include "ffi.h"
#include "micro.h"
#include "parallel.h"

namespace jdarts {

struct Geometry {
  int64_t edges, batch, pixels, channels;

  explicit Geometry(ffi::Span<const int64_t> shape)
      : edges(shape[0]),
        batch(shape[1]),
        pixels(shape[2] * shape[3]),
        channels(shape[4]) {}
  int64_t image() const { return pixels * channels; }
};

// Calls work(V, c, first, last, step) for V channels from c on, a constant number, of
// some pixels: their values are those V at first, first + step and so on, before last.
// For all of an image, in blocks that stay in the fastest cache until all their channels
// are done. Where a vector holds several pixels, c is 0 and V more than the channels.
template <typename T, typename Work>
inline void OverBlocks(const Geometry& g, const Work& work) {
  constexpr int64_t kBytes = 4096;  // of one operand; there are up to five
  const int64_t bytes = g.channels * static_cast<int64_t>(sizeof(T));
  const int64_t block = std::max<int64_t>(8, kBytes / bytes / 4 * 4);
  constexpr int V = kVectorBytes / sizeof(T);
  const bool together = PixelsInVector<T>(g.channels, std::gcd(g.pixels, block)) > 1;
  for (int64_t first = 0; first < g.pixels; first += block) {
    const int64_t last = std::min(g.pixels, first + block) * g.channels;
    if (together)
      work(std::integral_constant<int, V>(), 0, first * g.channels, last, V);
    else
      OverChannels<T>(g.channels, [&](auto v, int64_t c) {
        work(v, c, first * g.channels + c, last, g.channels);
      });
  }
}

// sums += the sums over an image's pixels of N values: body(V, channel) returns what adds
// a pixel's to N vectors: (offset in the image, vectors). sums is [N, C].
template <typename T, int N, typename Body>
inline void AddImage(const Geometry& g, const Body& body, T* sums) {
  OverBlocks<T>(g, [&](auto v, int64_t c, int64_t first, int64_t last, int64_t step) {
    using Vec = typename Vector<T, v.value>::type;
    const auto pixel = body(v, c);
    Vec even[N] = {}, odd[N] = {};  // independent, for the latency of an addition
    int64_t at = first;
    for (; at + step < last; at += 2 * step) {
      pixel(at, even);
      pixel(at + step, odd);
    }
    if (at < last) pixel(at, even);
    for (int i = 0; i < N; ++i) {
      T* to = sums + i * g.channels + c;
      const Vec total = even[i] + odd[i];
      if (v.value <= g.channels)
        Store<T, v.value>(to, Load<T, v.value>(to) + total);
      else
        for (int l = 0; l < v.value; ++l) to[l & (g.channels - 1)] += total[l];
    }
  });
}

// Mean, 1 / sqrt(var + eps) and the biased variance of each channel of each edge.
template <typename T>
void Moments(ffi::ThreadPool& pool, const Geometry& g, const T* x, double eps, T* mean,
             T* r, T* var) {
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> means(images * C), squares(images * C);
  ParallelFor(pool, images, [&](int64_t image) {
    const T* from = x + image * g.image();
    T* centre = means.data() + image * C;
    AddImage<T, 1>(g, [=](auto v, int64_t) {
      return [=](int64_t at, auto* sums) { sums[0] += Load<T, v.value>(from + at); };
    }, centre);
    for (int64_t c = 0; c < C; ++c) centre[c] /= static_cast<T>(g.pixels);
    AddImage<T, 1>(g, [=](auto v, int64_t c) {
      const auto m = PerChannel<T, v.value>(centre, c, C);
      return [=](int64_t at, auto* sums) {
        const auto centred = Load<T, v.value>(from + at) - m;
        sums[0] += centred * centred;
      };
    }, squares.data() + image * C);
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

// N sums over batch and pixels at once, divided by their number; body(V, image, channel)
// as in AddImage. The result is [E, N, C].
template <typename T, int N, typename Body>
std::vector<T> Means(ffi::ThreadPool& pool, const Geometry& g, const Body& body) {
  const int64_t C = g.channels, images = g.edges * g.batch;
  std::vector<T> sums(images * N * C), means(g.edges * N * C);
  ParallelFor(pool, images, [&](int64_t image) {
    AddImage<T, N>(g, [&](auto v, int64_t c) { return body(v, image, c); },
                   sums.data() + image * N * C);
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

// Writes all values of all images: body(V, image, channel) returns what computes V of
// them from their place in the image.
template <typename T, typename Body>
void WriteImages(ffi::ThreadPool& pool, const Geometry& g, T* out, const Body& body) {
  ParallelFor(pool, g.edges * g.batch, [&](int64_t image) {
    T* to = out + image * g.image();
    OverBlocks<T>(g, [&](auto v, int64_t c, int64_t first, int64_t last, int64_t step) {
      const auto pixel = body(v, image, c);
      for (int64_t at = first; at < last; at += step)
        Store<T, v.value>(to + at, pixel(at));
    });
  });
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_NORM_H_
