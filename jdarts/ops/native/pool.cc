// Pooling over K x K windows with padding K / 2, and the transposes of its linear parts.
//
// The functions are those of jdarts/ops/pool.py: which tap of a window holds its maximum,
// the value there and the transpose of taking it, the mean over the cells inside the
// image and its transpose. Arrays are [N, H, W, C] and [N, OH, OW, C].

#include <algorithm>
#include <cstdint>
#include <vector>

#include "by_type.h"
#include "ffi.h"
#include "micro.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

struct Geometry {
  int64_t images, height, width, channels, rows, columns, kernel, stride;

  int64_t in() const { return height * width * channels; }
  int64_t out() const { return rows * columns * channels; }
};

// Taps [first, last) of a window whose first cell is at `start`, inside [0, size).
struct Inside {
  int64_t first, last;
  Inside(int64_t start, int64_t kernel, int64_t size)
      : first(std::max<int64_t>(0, -start)), last(std::min(kernel, size - start)) {}
};

// Calls body(tap, offset of the seen pixel) for every tap inside the image.
template <typename F>
inline void ForTaps(const Geometry& g, int64_t h, int64_t u, const F& body) {
  const int64_t top = h * g.stride - g.kernel / 2, left = u * g.stride - g.kernel / 2;
  const Inside rows(top, g.kernel, g.height), columns(left, g.kernel, g.width);
  for (int64_t i = rows.first; i < rows.last; ++i)
    for (int64_t j = columns.first; j < columns.last; ++j)
      body(i * g.kernel + j, ((top + i) * g.width + left + j) * g.channels);
}

// Calls body(tap, offset of the output pixel) for every window that sees a pixel.
template <typename F>
inline void ForWindows(const Geometry& g, int64_t h, int64_t w, const F& body) {
  for (int64_t i = 0; i < g.kernel; ++i) {
    const int64_t down = h + g.kernel / 2 - i;
    if (down < 0 || down % g.stride || down / g.stride >= g.rows) continue;
    for (int64_t j = 0; j < g.kernel; ++j) {
      const int64_t across = w + g.kernel / 2 - j;
      if (across < 0 || across % g.stride || across / g.stride >= g.columns) continue;
      body(i * g.kernel + j,
           (down / g.stride * g.columns + across / g.stride) * g.channels);
    }
  }
}

// Calls body(offset of an image's pixel, row, column, channel) on a map of pixels, one
// image after the other and V channels at a time.
template <int V, typename F>
void ForPixels(ffi::ThreadPool& pool, int64_t images, int64_t rows, int64_t columns,
               int64_t channels, const F& body) {
  ParallelFor(pool, images, [&](int64_t n) {
    for (int64_t h = 0; h < rows; ++h)
      for (int64_t u = 0; u < columns; ++u)
        for (int64_t c = 0; c < channels; c += V)
          body(n, (h * columns + u) * channels + c, h, u, c);
  });
}

// Numbers of taps: as bytes in memory, as wide as T in registers.
template <typename T>
struct Number;
template <>
struct Number<float> {
  using type = int32_t;
};
template <>
struct Number<double> {
  using type = int64_t;
};
template <typename T, int V>
using Taps = typename Vector<typename Number<T>::type, V>::type;

template <typename T, int V>
inline Taps<T, V> AllTaps(int64_t tap) {
  return Taps<T, V>{} + static_cast<typename Number<T>::type>(tap);
}

template <typename T, int V>
inline Taps<T, V> LoadTaps(const int8_t* p) {
  return __builtin_convertvector((Load<int8_t, V>(p)), Taps<T, V>);
}

template <typename T, int V>
void Winner(ffi::ThreadPool& pool, const Geometry& g, const T* x, int8_t* winner) {
  using Vec = typename Vector<T, V>::type;
  using Bytes = typename Vector<int8_t, V>::type;
  ForPixels<V>(pool, g.images, g.rows, g.columns, g.channels,
               [&](int64_t n, int64_t at, int64_t h, int64_t u, int64_t c) {
                 const T* image = x + n * g.in() + c;
                 Vec best{};
                 Taps<T, V> where{};
                 bool first = true;
                 ForTaps(g, h, u, [&](int64_t tap, int64_t seen) {
                   const Vec value = Load<T, V>(image + seen);
                   const Taps<T, V> number = AllTaps<T, V>(tap);
                   // A NaN wins, as in PyTorch.
                   const Taps<T, V> better = (value > best) | (value != value);
                   best = first ? value : better ? value : best;
                   where = first ? number : better ? number : where;
                   first = false;
                 });
                 Store<int8_t, V>(winner + n * g.out() + at,
                                  __builtin_convertvector(where, Bytes));
               });
}

template <typename T, int V>
void Select(ffi::ThreadPool& pool, const Geometry& g, const T* x, const int8_t* winner,
            T* y) {
  using Vec = typename Vector<T, V>::type;
  ForPixels<V>(pool, g.images, g.rows, g.columns, g.channels,
               [&](int64_t n, int64_t at, int64_t h, int64_t u, int64_t c) {
                 const T* image = x + n * g.in() + c;
                 const Taps<T, V> where = LoadTaps<T, V>(winner + n * g.out() + at);
                 Vec value{};
                 ForTaps(g, h, u, [&](int64_t tap, int64_t seen) {
                   value = where == AllTaps<T, V>(tap) ? Load<T, V>(image + seen) : value;
                 });
                 Store<T, V>(y + n * g.out() + at, value);
               });
}

template <typename T, int V>
void SelectTransposed(ffi::ThreadPool& pool, const Geometry& g, const T* gy,
                      const int8_t* winner, T* gx) {
  using Vec = typename Vector<T, V>::type;
  ForPixels<V>(pool, g.images, g.height, g.width, g.channels,
               [&](int64_t n, int64_t at, int64_t h, int64_t w, int64_t c) {
                 const int64_t image = n * g.out() + c;
                 Vec sum{};
                 ForWindows(g, h, w, [&](int64_t tap, int64_t out) {
                   const Taps<T, V> where = LoadTaps<T, V>(winner + image + out);
                   const Vec value = Load<T, V>(gy + image + out);
                   sum += where == AllTaps<T, V>(tap) ? value : Vec{};
                 });
                 Store<T, V>(gx + n * g.in() + at, sum);
               });
}

// 1 / the number of a window's cells inside the image.
template <typename T>
T Share(const Geometry& g, int64_t h, int64_t u) {
  const Inside rows(h * g.stride - g.kernel / 2, g.kernel, g.height);
  const Inside columns(u * g.stride - g.kernel / 2, g.kernel, g.width);
  return T(1) /
         static_cast<T>((rows.last - rows.first) * (columns.last - columns.first));
}

template <typename T, int V>
void Average(ffi::ThreadPool& pool, const Geometry& g, const T* x, T* y) {
  using Vec = typename Vector<T, V>::type;
  ForPixels<V>(pool, g.images, g.rows, g.columns, g.channels,
               [&](int64_t n, int64_t at, int64_t h, int64_t u, int64_t c) {
                 const T* image = x + n * g.in() + c;
                 Vec sum{};
                 ForTaps(g, h, u, [&](int64_t, int64_t seen) {
                   sum += Load<T, V>(image + seen);
                 });
                 Store<T, V>(y + n * g.out() + at, sum * Share<T>(g, h, u));
               });
}

template <typename T, int V>
void AverageTransposed(ffi::ThreadPool& pool, const Geometry& g, const T* gy, T* gx) {
  using Vec = typename Vector<T, V>::type;
  std::vector<T> shares(g.rows * g.columns);
  for (int64_t h = 0; h < g.rows; ++h)
    for (int64_t u = 0; u < g.columns; ++u)
      shares[h * g.columns + u] = Share<T>(g, h, u);
  ForPixels<V>(pool, g.images, g.height, g.width, g.channels,
               [&](int64_t n, int64_t at, int64_t h, int64_t w, int64_t c) {
                 const T* image = gy + n * g.out() + c;
                 Vec sum{};
                 ForWindows(g, h, w, [&](int64_t, int64_t out) {
                   sum += Load<T, V>(image + out) * shares[out / g.channels];
                 });
                 Store<T, V>(gx + n * g.in() + at, sum);
               });
}

using Buffer = ffi::AnyBuffer;
using Out = ffi::Result;

Geometry Shape(const Buffer& image, const Buffer& pooled, int64_t kernel,
               int64_t stride) {
  const auto x = image.dimensions(), y = pooled.dimensions();
  return Geometry{x[0], x[1], x[2], x[3], y[1], y[2], kernel, stride};
}

ffi::Error CallWinner(ffi::ThreadPool pool, Buffer x, Out out, int64_t kernel,
                      int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g = Shape(x, *out, kernel, stride);
    ByVector<T>(g.channels, [&](auto v) {
      Winner<T, v.value>(pool, g, x.typed_data<T>(), out->typed_data<int8_t>());
    });
  });
}

ffi::Error CallSelect(ffi::ThreadPool pool, Buffer x, Buffer winner, Out out,
                      int64_t kernel, int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g = Shape(x, *out, kernel, stride);
    ByVector<T>(g.channels, [&](auto v) {
      Select<T, v.value>(pool, g, x.typed_data<T>(), winner.typed_data<int8_t>(), out->typed_data<T>());
    });
  });
}

ffi::Error CallSelectTransposed(ffi::ThreadPool pool, Buffer gy, Buffer winner, Out out,
                                int64_t kernel, int64_t stride) {
  return ByType(gy, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g = Shape(*out, gy, kernel, stride);
    ByVector<T>(g.channels, [&](auto v) {
      SelectTransposed<T, v.value>(pool, g, gy.typed_data<T>(), winner.typed_data<int8_t>(), out->typed_data<T>());
    });
  });
}

ffi::Error CallAverage(ffi::ThreadPool pool, Buffer x, Out out, int64_t kernel,
                       int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g = Shape(x, *out, kernel, stride);
    ByVector<T>(g.channels, [&](auto v) {
      Average<T, v.value>(pool, g, x.typed_data<T>(), out->typed_data<T>());
    });
  });
}

ffi::Error CallAverageTransposed(ffi::ThreadPool pool, Buffer gy, Out out, int64_t kernel,
                                 int64_t stride) {
  return ByType(gy, [&](auto zero) {
    using T = decltype(zero);
    const Geometry g = Shape(*out, gy, kernel, stride);
    ByVector<T>(g.channels, [&](auto v) {
      AverageTransposed<T, v.value>(pool, g, gy.typed_data<T>(), out->typed_data<T>());
    });
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_pool_winner, CallWinner, "kernel", "stride")
JDARTS_HANDLER(jdarts_pool_select, CallSelect, "kernel", "stride")
JDARTS_HANDLER(jdarts_pool_select_transposed, CallSelectTransposed, "kernel",
               "stride")
JDARTS_HANDLER(jdarts_pool_average, CallAverage, "kernel", "stride")
JDARTS_HANDLER(jdarts_pool_average_transposed, CallAverageTransposed, "kernel",
               "stride")
