// Inner loops over channels-last planes, in vectors of V channels.
//
// Sums stay in registers: eight to twelve independent ones hide the latency of a fused
// multiply-add, and with sixteen registers leave room for the operands.

#ifndef JDARTS_OPS_NATIVE_MICRO_H_
#define JDARTS_OPS_NATIVE_MICRO_H_

#include <array>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace jdarts {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif

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

// Memory that begins with a cache line: a vector of a pixel's channels then lies in one.
template <typename T>
struct CacheAligned {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  CacheAligned() = default;
  template <typename U>
  CacheAligned(const CacheAligned<U>&) {}
  T* allocate(std::size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), kLine));
  }
  void deallocate(T* p, std::size_t) { ::operator delete(p, kLine); }
  bool operator==(const CacheAligned&) const { return true; }
  bool operator!=(const CacheAligned&) const { return false; }
};

template <typename T>
using Aligned = std::vector<T, CacheAligned<T>>;

// The same without zeros at the start: many threads can then write the first values.
template <typename T>
class Unset {
 public:
  explicit Unset(int64_t count)
      : data_(count ? CacheAligned<T>().allocate(count) : nullptr) {}
  ~Unset() { CacheAligned<T>().deallocate(data_, 0); }
  Unset(const Unset&) = delete;
  Unset& operator=(const Unset&) = delete;
  T* data() { return data_; }

 private:
  T* data_;
};

// Calls work(V) with the largest V, as a constant, that divides `channels`.
template <typename T, typename Work>
void ByVector(int64_t channels, const Work& work) {
  constexpr int kFull = kVectorBytes / sizeof(T);
  if (channels % kFull == 0) return work(std::integral_constant<int, kFull>());
  if (channels % (kFull / 2) == 0) return work(std::integral_constant<int, kFull / 2>());
  if (channels % (kFull / 4) == 0) return work(std::integral_constant<int, kFull / 4>());
  work(std::integral_constant<int, 1>());
}

// Calls work(V, c) for all channels from c on, in vectors of V of them, V a constant: the
// widest, and narrower ones for what these leave.
template <typename T, int V = kVectorBytes / sizeof(T), typename Work>
inline void OverChannels(int64_t channels, const Work& work, int64_t c = 0) {
  for (; c + V <= channels; c += V) work(std::integral_constant<int, V>(), c);
  if constexpr (V > 1)
    if (c < channels) OverChannels<T, V / 2>(channels, work, c);
}

// How many pixels' channels, too few to fill a vector, share one: 1 where none do.
template <typename T>
int64_t PixelsInVector(int64_t channels, int64_t pixels) {
  constexpr int64_t kFull = kVectorBytes / sizeof(T);
  const int64_t count = kFull % channels == 0 ? kFull / channels : 1;
  return pixels % count == 0 ? count : 1;
}

// What belongs to V channels from c on or, where a vector holds several pixels, to the
// channels of each of them.
template <typename T, int V>
inline typename Vector<T, V>::type PerChannel(const T* of, int64_t c, int64_t channels) {
  if (V <= channels) return Load<T, V>(of + c);
  typename Vector<T, V>::type value;
  for (int i = 0; i < V; ++i) value[i] = of[i & (channels - 1)];  // a power of two
  return value;
}

// One product of a sliding window: channels of weights, and where its source begins
// relative to the window's position.
template <typename T>
struct Tap {
  const T* weight;
  int64_t source;
};

// The same for a window that slides over a row: its pixels follow each other in memory
// where both sides have a step of one pixel, and are then as good as more channels.
template <typename T>
int64_t PixelsTogether(int64_t channels, int64_t stride, int64_t pixels) {
  return stride == 1 ? PixelsInVector<T>(channels, pixels) : 1;
}

// Points the taps to copies of their weights side by side, one for each such pixel.
template <typename T>
void Repeat(std::vector<Tap<T>>& taps, int64_t channels, int64_t times,
            Aligned<T>& weights) {
  if (times == 1) return;
  weights.resize(taps.size() * times * channels);
  T* to = weights.data();
  for (Tap<T>& tap : taps) {
    const T* first = to;
    for (int64_t n = 0; n < times; ++n)
      for (int64_t c = 0; c < channels; ++c) *to++ = tap.weight[c];
    tap.weight = first;
  }
}

// to[u] (+)= sum over taps of weight . source[u], for U pixels and V channels.
template <typename T, int V, int U>
inline void TapPixels(const std::vector<Tap<T>>& taps, const T* from, int64_t step,
                      int64_t c, T* to, int64_t to_step, bool add) {
  using Vec = typename Vector<T, V>::type;
  Vec sums[U];
  for (int u = 0; u < U; ++u) sums[u] = add ? Load<T, V>(to + u * to_step + c) : Vec{};
  for (const Tap<T>& tap : taps) {
    const Vec weight = Load<T, V>(tap.weight + c);
    const T* source = from + tap.source + c;
    for (int u = 0; u < U; ++u) sums[u] += weight * Load<T, V>(source + u * step);
  }
  for (int u = 0; u < U; ++u) Store<T, V>(to + u * to_step + c, sums[u]);
}

// The same for a row of pixels and all channels.
template <typename T>
void TapRow(const std::vector<Tap<T>>& taps, const T* from, int64_t step, int64_t pixels,
            int64_t channels, T* to, int64_t to_step, bool add) {
  int64_t u = 0;
  const auto block = [&](auto count) {
    OverChannels<T>(channels, [&](auto v, int64_t c) {
      TapPixels<T, v.value, count.value>(taps, from + u * step, step, c, to + u * to_step,
                                         to_step, add);
    });
    u += count.value;
  };
  while (pixels - u >= 12 && pixels - u != 16) block(std::integral_constant<int, 12>());
  while (pixels - u >= 8) block(std::integral_constant<int, 8>());
  while (pixels - u >= 4) block(std::integral_constant<int, 4>());
  while (u < pixels) block(std::integral_constant<int, 1>());
}

// sums[n] += sum over pixels of value . source of tap first + n, for N taps and V
// channels.
template <typename T, int V, int N>
inline void TapSums(const std::vector<Tap<T>>& taps, int64_t first, const T* from,
                    int64_t step, const T* value, int64_t pixels, int64_t channels,
                    int64_t c, T* sums) {
  using Vec = typename Vector<T, V>::type;
  Vec total[N];
  const T* source[N];
  for (int n = 0; n < N; ++n) {
    total[n] = Load<T, V>(sums + (first + n) * channels + c);
    source[n] = from + taps[first + n].source + c;
  }
  for (int64_t u = 0; u < pixels; ++u) {
    const Vec v = Load<T, V>(value + u * channels + c);
    for (int n = 0; n < N; ++n) total[n] += v * Load<T, V>(source[n] + u * step);
  }
  for (int n = 0; n < N; ++n) Store<T, V>(sums + (first + n) * channels + c, total[n]);
}

// The gradient of TapRow in the weights: sums is [taps, channels].
template <typename T>
void TapRowSums(const std::vector<Tap<T>>& taps, const T* from, int64_t step,
                const T* value, int64_t pixels, int64_t channels, T* sums) {
  const int64_t all = taps.size();
  int64_t n = 0;
  const auto block = [&](auto count) {
    OverChannels<T>(channels, [&](auto v, int64_t c) {
      TapSums<T, v.value, count.value>(taps, n, from, step, value, pixels, channels, c,
                                       sums);
    });
    n += count.value;
  };
  while (all - n >= 9) block(std::integral_constant<int, 9>());
  while (all - n >= 7) block(std::integral_constant<int, 7>());
  while (all - n >= 3) block(std::integral_constant<int, 3>());
  while (n < all) block(std::integral_constant<int, 1>());
}

template <typename T, int V, int U, int N>
inline void ProductBlock(const T* a, const T* m, int64_t inner, int64_t outer, int64_t n,
                         T* to, bool add) {
  using Vec = typename Vector<T, V>::type;
  Vec sums[U][N];
  for (int u = 0; u < U; ++u)
    for (int i = 0; i < N; ++i)
      sums[u][i] = add ? Load<T, V>(to + u * outer + n + i * V) : Vec{};
  for (int64_t k = 0; k < inner; ++k) {
    Vec row[N];
    for (int i = 0; i < N; ++i) row[i] = Load<T, V>(m + k * outer + n + i * V);
    for (int u = 0; u < U; ++u)
      for (int i = 0; i < N; ++i) sums[u][i] += a[u * inner + k] * row[i];
  }
  for (int u = 0; u < U; ++u)
    for (int i = 0; i < N; ++i) Store<T, V>(to + u * outer + n + i * V, sums[u][i]);
}

// Rows of the product below and its columns from n on, N vectors of V of them.
template <typename T, int V, int U, int N>
void ProductColumns(const T* a, const T* m, int64_t pixels, int64_t inner, int64_t outer,
                    int64_t n, T* to, bool add) {
  int64_t u = 0;
  const auto rows = [&](auto count) {
    ProductBlock<T, V, count.value, N>(a + u * inner, m, inner, outer, n, to + u * outer,
                                       add);
    u += count.value;
  };
  while (pixels - u >= U) rows(std::integral_constant<int, U>());
  while (pixels - u >= 4) rows(std::integral_constant<int, 4>());
  while (u < pixels) rows(std::integral_constant<int, 1>());
}

// Channel k of each pixel in a vector of C channels a pixel, in all of its lanes.
template <typename T, int C>
class Spread {
 public:
  static constexpr int V = kVectorBytes / sizeof(T);
  using Vec = typename Vector<T, V>::type;

  explicit Spread(int k) {
    for (int l = 0; l < V; ++l) from_[l] = l / C * C + k;
  }
  Vec operator()(Vec value) const {
#ifdef __clang__
    Vec spread;
    for (int l = 0; l < V; ++l) spread[l] = value[from_[l]];
    return spread;
#else
    return __builtin_shuffle(value, from_);
#endif
  }

 private:
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typename Vector<Index, V>::type from_;
};

template <typename T, int C, int... K>
std::array<Spread<T, C>, C> AllSpreads(std::integer_sequence<int, K...>) {
  return {Spread<T, C>(K)...};
}

// Product and OuterSum below for few channels, C on both sides: a vector holds several
// pixels, and one channel of each is spread over its pixel's lanes.
template <typename T, int C>
void NarrowProduct(const T* a, const T* m, int64_t pixels, T* to, bool add) {
  constexpr int V = kVectorBytes / sizeof(T), kTogether = 4;
  using Vec = typename Vector<T, V>::type;
  const auto spread = AllSpreads<T, C>(std::make_integer_sequence<int, C>());
  Vec rows[C];
  for (int k = 0; k < C; ++k) rows[k] = PerChannel<T, V>(m + k * C, 0, C);
  const auto block = [&](auto count, int64_t at) {
    Vec sums[count.value], from[count.value];
    for (int u = 0; u < count.value; ++u) {
      from[u] = Load<T, V>(a + at + u * V);
      sums[u] = add ? Load<T, V>(to + at + u * V) : Vec{};
    }
    for (int k = 0; k < C; ++k)
      for (int u = 0; u < count.value; ++u)
        sums[u] += spread[k](from[u]) * rows[k];
    for (int u = 0; u < count.value; ++u) Store<T, V>(to + at + u * V, sums[u]);
  };
  int64_t at = 0;
  for (; at + kTogether * V <= pixels * C; at += kTogether * V)
    block(std::integral_constant<int, kTogether>(), at);
  for (; at < pixels * C; at += V) block(std::integral_constant<int, 1>(), at);
}

template <typename T, int C>
void NarrowOuterSum(const T* a, const T* b, int64_t pixels, T* to) {
  constexpr int V = kVectorBytes / sizeof(T);
  using Vec = typename Vector<T, V>::type;
  Vec even[C] = {}, odd[C] = {};
  const auto spread = AllSpreads<T, C>(std::make_integer_sequence<int, C>());
  const auto add = [&](Vec* sums, int64_t at) {
    const Vec left = Load<T, V>(a + at), right = Load<T, V>(b + at);
    for (int k = 0; k < C; ++k) sums[k] += spread[k](left) * right;
  };
  int64_t at = 0;
  for (; at + 2 * V <= pixels * C; at += 2 * V) {
    add(even, at);
    add(odd, at + V);
  }
  for (; at < pixels * C; at += V) add(even, at);
  for (int k = 0; k < C; ++k)
    for (int l = 0; l < V; ++l) to[k * C + l % C] += even[k][l] + odd[k][l];
}

// Calls work(C) with the number of channels as a constant where the two above serve: for
// those that supernets have.
template <typename T, typename Work>
bool IfNarrow(int64_t pixels, int64_t inner, int64_t outer, const Work& work) {
#ifndef __AVX2__  // without it, spreading a channel takes longer than it saves
  return false;
#endif
  if (inner != outer || PixelsInVector<T>(inner, pixels) == 1) return false;
  if (inner == 4) return work(std::integral_constant<int, 4>()), true;
  if (inner == 8) return work(std::integral_constant<int, 8>()), true;
  return false;
}

// to (+)= a m: [pixels, inner] times [inner, outer]. Columns by pairs of vectors, and
// what these leave by single ones, of twice as many rows: twelve sums either way.
template <typename T>
void Product(const T* a, const T* m, int64_t pixels, int64_t inner, int64_t outer, T* to,
             bool add) {
  if (IfNarrow<T>(pixels, inner, outer, [&](auto c) {
        NarrowProduct<T, c.value>(a, m, pixels, to, add);
      }))
    return;
  constexpr int V = kVectorBytes / sizeof(T);
  constexpr int64_t kBlock = 48;  // rows that stay in the nearest cache
  for (; pixels > 0; pixels -= kBlock, a += kBlock * inner, to += kBlock * outer) {
    const int64_t count = pixels < kBlock ? pixels : kBlock;
    int64_t n = 0;
    for (; n + 2 * V <= outer; n += 2 * V)
      ProductColumns<T, V, 6, 2>(a, m, count, inner, outer, n, to, add);
    const auto rest = [&](auto v, int64_t c) {
      ProductColumns<T, v.value, 12, 1>(a, m, count, inner, outer, c, to, add);
    };
    OverChannels<T>(outer, rest, n);
  }
}

template <typename T, int V, int K, int N>
inline void OuterBlock(const T* a, const T* b, int64_t pixels, int64_t inner,
                       int64_t outer, int64_t k, int64_t n, T* to) {
  using Vec = typename Vector<T, V>::type;
  Vec sums[K][N];
  for (int j = 0; j < K; ++j)
    for (int i = 0; i < N; ++i)
      sums[j][i] = Load<T, V>(to + (k + j) * outer + n + i * V);
  for (int64_t u = 0; u < pixels; ++u) {
    Vec row[N];
    for (int i = 0; i < N; ++i) row[i] = Load<T, V>(b + u * outer + n + i * V);
    for (int j = 0; j < K; ++j)
      for (int i = 0; i < N; ++i) sums[j][i] += a[u * inner + k + j] * row[i];
  }
  for (int j = 0; j < K; ++j)
    for (int i = 0; i < N; ++i)
      Store<T, V>(to + (k + j) * outer + n + i * V, sums[j][i]);
}

// K rows of the sum below.
template <typename T, int K>
inline void OuterRows(const T* a, const T* b, int64_t pixels, int64_t inner,
                      int64_t outer, int64_t k, T* to) {
  constexpr int V = kVectorBytes / sizeof(T);
  int64_t n = 0;
  for (; n + 2 * V <= outer; n += 2 * V)
    OuterBlock<T, V, K, 2>(a, b, pixels, inner, outer, k, n, to);
  const auto rest = [&](auto v, int64_t c) {
    OuterBlock<T, v.value, K, 1>(a, b, pixels, inner, outer, k, c, to);
  };
  OverChannels<T>(outer, rest, n);
}

// to += a^T b: [pixels, inner] and [pixels, outer], by as many pixels as stay in the
// nearest cache while all of `to` is gone over.
template <typename T>
void OuterSum(const T* a, const T* b, int64_t pixels, int64_t inner, int64_t outer,
              T* to) {
  if (IfNarrow<T>(pixels, inner, outer, [&](auto c) {
        NarrowOuterSum<T, c.value>(a, b, pixels, to);
      }))
    return;
  constexpr int64_t kBlock = 64;
  for (; pixels > 0; pixels -= kBlock, a += kBlock * inner, b += kBlock * outer) {
    const int64_t count = pixels < kBlock ? pixels : kBlock;
    int64_t k = 0;
    for (; k + 6 <= inner && inner - k != 8; k += 6)
      OuterRows<T, 6>(a, b, count, inner, outer, k, to);
    for (; k + 4 <= inner; k += 4) OuterRows<T, 4>(a, b, count, inner, outer, k, to);
    for (; k < inner; ++k) OuterRows<T, 1>(a, b, count, inner, outer, k, to);
  }
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_MICRO_H_
