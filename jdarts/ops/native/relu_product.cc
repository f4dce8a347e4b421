// ReLU and a matrix product over all pixels, and its derivatives. See
// jdarts/ops/relu_product.py for the equations.
//
// Shapes, N independent problems at once: x, a [N, pixels, C]; p [N, C, O] (in, out);
// t [N, pixels, O].

#include <algorithm>
#include <cstdint>

#include "by_type.h"
#include "ffi.h"
#include "micro.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

struct Geometry {
  int64_t problems, pixels, in, out;

  int64_t matrix() const { return in * out; }
};

// Pixels that are worked on at once: they stay in the cache with what is made of them.
constexpr int64_t kBlock = 48;
constexpr int64_t kTask = 8 * kBlock;

// to = from where the gate is open, else 0. A NaN is let through.
template <typename T>
void Gate(const T* gate, const T* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = gate[i] <= T(0) ? T(0) : from[i];
}

// Calls work(problem, pixel, pixels) for all blocks of pixels from `begin` to `end`.
template <typename Work>
void OverBlocks(int64_t problem, int64_t begin, int64_t end, const Work& work) {
  for (int64_t u = begin; u < end; u += kBlock)
    work(problem, u, std::min(kBlock, end - u));
}

template <typename Work>
void ForBlocks(ffi::ThreadPool& pool, const Geometry& g, const Work& work) {
  const int64_t tasks = (g.pixels + kTask - 1) / kTask;
  ParallelFor(pool, g.problems * tasks, [&](int64_t task) {
    const int64_t begin = task % tasks * kTask;
    OverBlocks(task / tasks, begin, std::min(begin + kTask, g.pixels), work);
  });
}

template <typename T>
Aligned<T>& ThreadScratch(int64_t size) {
  static thread_local Aligned<T> scratch;
  scratch.resize(size);
  return scratch;
}

// y = (m a) p.
template <typename T>
void Forward(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* a, const T* p,
             T* y) {
  ForBlocks(pool, g, [&](int64_t problem, int64_t pixel, int64_t pixels) {
    const int64_t at = problem * g.pixels + pixel;
    Aligned<T>& gated = ThreadScratch<T>(kBlock * g.in);
    Gate(x + at * g.in, a + at * g.in, pixels * g.in, gated.data());
    Product(gated.data(), p + problem * g.matrix(), pixels, g.in, g.out, y + at * g.out,
            false);
  });
}

// ga = m (t p^T).
template <typename T>
void Pull(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* t, const T* p,
          T* ga) {
  Aligned<T> transposed(g.problems * g.matrix());
  for (int64_t n = 0; n < g.problems; ++n)
    for (int64_t i = 0; i < g.in; ++i)
      for (int64_t o = 0; o < g.out; ++o)
        transposed[n * g.matrix() + o * g.in + i] = p[n * g.matrix() + i * g.out + o];
  ForBlocks(pool, g, [&](int64_t problem, int64_t pixel, int64_t pixels) {
    const int64_t at = problem * g.pixels + pixel;
    T* to = ga + at * g.in;
    Product(t + at * g.out, transposed.data() + problem * g.matrix(), pixels, g.out, g.in,
            to, false);
    Gate(x + at * g.in, to, pixels * g.in, to);
  });
}

// gp = (m a)^T t, summed by parts and then in a fixed order, so that the result does not
// depend on the number of threads.
template <typename T>
void Outer(ffi::ThreadPool& pool, const Geometry& g, const T* x, const T* a, const T* t,
           T* gp) {
  const int64_t parts = std::min<int64_t>(16, (g.pixels + kBlock - 1) / kBlock);
  Unset<T> partial(g.problems * parts * g.matrix());
  const auto part_of = [&](int64_t task) { return partial.data() + task * g.matrix(); };
  ParallelFor(pool, g.problems * parts, [&](int64_t task) {
    const int64_t part = task % parts;
    Aligned<T>& gated = ThreadScratch<T>(kBlock * g.in);
    std::fill_n(part_of(task), g.matrix(), T(0));
    OverBlocks(task / parts, g.pixels * part / parts, g.pixels * (part + 1) / parts,
               [&](int64_t problem, int64_t pixel, int64_t pixels) {
                 const int64_t at = problem * g.pixels + pixel;
                 Gate(x + at * g.in, a + at * g.in, pixels * g.in, gated.data());
                 OuterSum(gated.data(), t + at * g.out, pixels, g.in, g.out,
                          part_of(task));
               });
  });
  for (int64_t n = 0; n < g.problems; ++n) {
    T* to = gp + n * g.matrix();
    std::fill(to, to + g.matrix(), T(0));
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t i = 0; i < g.matrix(); ++i) to[i] += part_of(n * parts + part)[i];
  }
}

using Arg = ffi::AnyBuffer;
using Out = ffi::Result;

// The sizes, from operands of the shapes of x and of t.
Geometry Sizes(Arg x, int64_t out) {
  const auto shape = x.dimensions();
  return {shape[0], shape[1], shape[2], out};
}

ffi::Error CallForward(ffi::ThreadPool pool, Arg x, Arg a, Arg p, Out y) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Forward<T>(pool, Sizes(x, p.dimensions()[2]), x.typed_data<T>(), a.typed_data<T>(),
               p.typed_data<T>(), y->typed_data<T>());
  });
}

ffi::Error CallPull(ffi::ThreadPool pool, Arg x, Arg t, Arg p, Out ga) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Pull<T>(pool, Sizes(x, p.dimensions()[2]), x.typed_data<T>(), t.typed_data<T>(),
            p.typed_data<T>(), ga->typed_data<T>());
  });
}

ffi::Error CallOuter(ffi::ThreadPool pool, Arg x, Arg a, Arg t, Out gp) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    Outer<T>(pool, Sizes(x, t.dimensions()[2]), x.typed_data<T>(), a.typed_data<T>(),
             t.typed_data<T>(), gp->typed_data<T>());
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_relu_product, CallForward)
JDARTS_HANDLER(jdarts_relu_product_pull, CallPull)
JDARTS_HANDLER(jdarts_relu_product_outer, CallOuter)
