// Pooling over K x K windows with padding K / 2, and the transposes of its linear parts.
//
// The functions are those of jdarts/ops/pool.py: which tap of a window holds its maximum,
// the value there and the transpose of taking it, the mean over the cells inside the
// image and its transpose. Arrays are [N, H, W, C] and [N, OH, OW, C].

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
  int64_t images, height, width, channels, rows, columns, kernel, stride;

  int64_t in() const { return height * width * channels; }
  int64_t out() const { return rows * columns * channels; }
};

// Calls body(tap, offset of the seen pixel) for every tap inside the image.
template <typename F>
inline void ForTaps(const Geometry& g, int64_t h, int64_t u, const F& body) {
  const int64_t top = h * g.stride - g.kernel / 2, left = u * g.stride - g.kernel / 2;
  for (int64_t i = 0; i < g.kernel; ++i) {
    if (top + i < 0 || top + i >= g.height) continue;
    for (int64_t j = 0; j < g.kernel; ++j) {
      if (left + j < 0 || left + j >= g.width) continue;
      body(i * g.kernel + j, ((top + i) * g.width + left + j) * g.channels);
    }
  }
}

// Calls body(image, first channel of an output pixel, h, u) for every output pixel.
template <typename F>
void ForPixels(ffi::ThreadPool& pool, const Geometry& g, const F& body) {
  ParallelFor(pool, g.images, [&](int64_t n) {
    for (int64_t h = 0; h < g.rows; ++h)
      for (int64_t u = 0; u < g.columns; ++u)
        body(n, n * g.out() + (h * g.columns + u) * g.channels, h, u);
  });
}

template <typename T>
void Winner(ffi::ThreadPool& pool, const Geometry& g, const T* x, int8_t* winner) {
  ForPixels(pool, g, [&](int64_t n, int64_t out, int64_t h, int64_t u) {
    static thread_local std::vector<T> best;
    best.resize(g.channels);
    T* value = best.data();
    int8_t* where = winner + out;
    bool first = true;
    ForTaps(g, h, u, [&](int64_t tap, int64_t seen) {
      const T* pixel = x + n * g.in() + seen;
      for (int64_t c = 0; c < g.channels; ++c) {
        // A NaN wins, as in PyTorch.
        const bool better = first || pixel[c] > value[c] || pixel[c] != pixel[c];
        value[c] = better ? pixel[c] : value[c];
        where[c] = better ? static_cast<int8_t>(tap) : where[c];
      }
      first = false;
    });
  });
}

template <typename T>
void Select(ffi::ThreadPool& pool, const Geometry& g, const T* x, const int8_t* winner,
            T* y) {
  ForPixels(pool, g, [&](int64_t n, int64_t out, int64_t h, int64_t u) {
    for (int64_t c = 0; c < g.channels; ++c) y[out + c] = T(0);
    ForTaps(g, h, u, [&](int64_t tap, int64_t seen) {
      const T* pixel = x + n * g.in() + seen;
      for (int64_t c = 0; c < g.channels; ++c)
        y[out + c] = winner[out + c] == tap ? pixel[c] : y[out + c];
    });
  });
}

template <typename T>
void SelectTransposed(ffi::ThreadPool& pool, const Geometry& g, const T* gy,
                      const int8_t* winner, T* gx) {
  ParallelFor(pool, g.images, [&](int64_t n) {
    T* image = gx + n * g.in();
    std::fill(image, image + g.in(), T(0));
    for (int64_t h = 0; h < g.rows; ++h)
      for (int64_t u = 0; u < g.columns; ++u) {
        const int64_t out = n * g.out() + (h * g.columns + u) * g.channels;
        ForTaps(g, h, u, [&](int64_t tap, int64_t seen) {
          T* pixel = image + seen;
          for (int64_t c = 0; c < g.channels; ++c)
            pixel[c] += winner[out + c] == tap ? gy[out + c] : T(0);
        });
      }
  });
}

template <typename T>
T Share(const Geometry& g, int64_t h, int64_t u) {
  int64_t cells = 0;
  ForTaps(g, h, u, [&](int64_t, int64_t) { ++cells; });
  return T(1) / static_cast<T>(cells);
}

template <typename T>
void Average(ffi::ThreadPool& pool, const Geometry& g, const T* x, T* y) {
  ForPixels(pool, g, [&](int64_t n, int64_t out, int64_t h, int64_t u) {
    const T share = Share<T>(g, h, u);
    for (int64_t c = 0; c < g.channels; ++c) y[out + c] = T(0);
    ForTaps(g, h, u, [&](int64_t, int64_t seen) {
      const T* pixel = x + n * g.in() + seen;
      for (int64_t c = 0; c < g.channels; ++c) y[out + c] += pixel[c];
    });
    for (int64_t c = 0; c < g.channels; ++c) y[out + c] *= share;
  });
}

template <typename T>
void AverageTransposed(ffi::ThreadPool& pool, const Geometry& g, const T* gy, T* gx) {
  ParallelFor(pool, g.images, [&](int64_t n) {
    T* image = gx + n * g.in();
    std::fill(image, image + g.in(), T(0));
    for (int64_t h = 0; h < g.rows; ++h)
      for (int64_t u = 0; u < g.columns; ++u) {
        const T* from = gy + n * g.out() + (h * g.columns + u) * g.channels;
        const T share = Share<T>(g, h, u);
        ForTaps(g, h, u, [&](int64_t, int64_t seen) {
          T* pixel = image + seen;
          for (int64_t c = 0; c < g.channels; ++c) pixel[c] += from[c] * share;
        });
      }
  });
}

using Buffer = ffi::AnyBuffer;
using Out = ffi::Result<ffi::AnyBuffer>;

Geometry Shape(const Buffer& image, const Buffer& pooled, int64_t kernel,
               int64_t stride) {
  const auto x = image.dimensions(), y = pooled.dimensions();
  return Geometry{x[0], x[1], x[2], x[3], y[1], y[2], kernel, stride};
}

ffi::Error CallWinner(ffi::ThreadPool pool, Buffer x, Out out, int64_t kernel,
                      int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Winner<T>(pool, Shape(x, *out, kernel, stride), x.typed_data<T>(),
              out->typed_data<int8_t>());
  });
}

ffi::Error CallSelect(ffi::ThreadPool pool, Buffer x, Buffer winner, Out out,
                      int64_t kernel, int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Select<T>(pool, Shape(x, *out, kernel, stride), x.typed_data<T>(),
              winner.typed_data<int8_t>(), out->typed_data<T>());
  });
}

ffi::Error CallSelectTransposed(ffi::ThreadPool pool, Buffer gy, Buffer winner, Out out,
                                int64_t kernel, int64_t stride) {
  return ByType(gy, [&](auto zero) {
    using T = decltype(zero);
    SelectTransposed<T>(pool, Shape(*out, gy, kernel, stride), gy.typed_data<T>(),
                        winner.typed_data<int8_t>(), out->typed_data<T>());
  });
}

ffi::Error CallAverage(ffi::ThreadPool pool, Buffer x, Out out, int64_t kernel,
                       int64_t stride) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Average<T>(pool, Shape(x, *out, kernel, stride), x.typed_data<T>(),
               out->typed_data<T>());
  });
}

ffi::Error CallAverageTransposed(ffi::ThreadPool pool, Buffer gy, Out out, int64_t kernel,
                                 int64_t stride) {
  return ByType(gy, [&](auto zero) {
    using T = decltype(zero);
    AverageTransposed<T>(pool, Shape(*out, gy, kernel, stride), gy.typed_data<T>(),
                         out->typed_data<T>());
  });
}

auto Unary() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Buffer>()
      .Ret<Buffer>()
      .Attr<int64_t>("kernel")
      .Attr<int64_t>("stride");
}

auto Binary() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Buffer>()
      .Arg<Buffer>()
      .Ret<Buffer>()
      .Attr<int64_t>("kernel")
      .Attr<int64_t>("stride");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_pool_winner, CallWinner, Unary());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_pool_select, CallSelect, Binary());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_pool_select_transposed, CallSelectTransposed,
                              Binary());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_pool_average, CallAverage, Unary());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jdarts_pool_average_transposed, CallAverageTransposed,
                              Unary());
