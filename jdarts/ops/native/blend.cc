// Weighted sums of rows of very many values, and inner products of rows. See
// jdarts/ops/blend.py for the equations.
//
// Rows come in blocks, [N, rows, values] each, with the same N before all of them. They
// are read and written in pieces of columns that stay in the fastest cache.

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

constexpr int64_t kPiece = 1024;  // values of a row

template <typename T>
struct Rows {
  std::vector<T*> first;        // of each row, for the first of the N
  std::vector<int64_t> stride;  // from one of the N to the next

  template <typename Buffer>
  void Add(Buffer& buffer) {
    const int64_t rows = buffer.dimensions()[1], values = buffer.dimensions()[2];
    for (int64_t r = 0; r < rows; ++r) {
      first.push_back(static_cast<T*>(buffer.untyped_data()) + r * values);
      stride.push_back(rows * values);
    }
  }
  int64_t count() const { return first.size(); }
  T* at(int64_t row, int64_t n) const { return first[row] + n * stride[row]; }
};

// Calls work(n, start, values) for every piece of every one of the N.
template <typename F>
void ForPieces(ffi::ThreadPool& pool, int64_t count, int64_t values, const F& work) {
  const int64_t pieces = (values + kPiece - 1) / kPiece;
  const int64_t group = 8;  // a task's
  const int64_t tasks = (pieces + group - 1) / group;
  ParallelFor(pool, count * tasks, [&](int64_t task) {
    const int64_t from = task % tasks * group, to = std::min(from + group, pieces);
    for (int64_t p = from; p < to; ++p)
      work(task / tasks, p * kPiece, std::min(kPiece, values - p * kPiece));
  });
}

// The rows of each matrix's factor, in turn, and of each addend.
template <typename T>
struct Product {
  std::vector<const T*> matrices;  // [N, out rows, columns]
  std::vector<Rows<T>> factors, addends;
  Rows<T> out;
};

template <typename T>
void Run(ffi::ThreadPool& pool, const Product<T>& p, int64_t count, int64_t values) {
  const int64_t R = p.out.count();
  ForPieces(pool, count, values, [&](int64_t n, int64_t start, int64_t width) {
    T sums[kPiece];
    for (int64_t r = 0; r < R; ++r) {
      std::fill_n(sums, width, T(0));
      for (const Rows<T>& addend : p.addends) {
        const T* x = addend.at(r, n) + start;
        for (int64_t i = 0; i < width; ++i) sums[i] += x[i];
      }
      for (size_t k = 0; k < p.factors.size(); ++k) {
        const int64_t C = p.factors[k].count();
        for (int64_t c = 0; c < C; ++c) {
          const T share = p.matrices[k][(n * R + r) * C + c];
          const T* x = p.factors[k].at(c, n) + start;
          for (int64_t i = 0; i < width; ++i) sums[i] += share * x[i];
        }
      }
      std::copy_n(sums, width, p.out.at(r, n) + start);
    }
  });
}

// Inner products of one row with another, over a piece.
template <typename T>
T Dot(const T* a, const T* b, int64_t width) {
  constexpr int V = kVectorBytes / sizeof(T);
  typename Vector<T, V>::type even{}, odd{};  // independent, for the latency of a sum
  int64_t i = 0;
  for (; i + 2 * V <= width; i += 2 * V) {
    even += Load<T, V>(a + i) * Load<T, V>(b + i);
    odd += Load<T, V>(a + i + V) * Load<T, V>(b + i + V);
  }
  even += odd;
  T total = 0;
  for (int l = 0; l < V; ++l) total += even[l];
  for (; i < width; ++i) total += a[i] * b[i];
  return total;
}

template <typename T>
void Inner(ffi::ThreadPool& pool, const Rows<T>& left, const Rows<T>& right,
           int64_t count, int64_t values, T* out) {
  const int64_t R = left.count(), C = right.count();
  const int64_t pieces = (values + kPiece - 1) / kPiece;
  std::vector<T> parts(count * pieces * R * C);
  ForPieces(pool, count, values, [&](int64_t n, int64_t start, int64_t width) {
    T* part = parts.data() + (n * pieces + start / kPiece) * R * C;
    for (int64_t r = 0; r < R; ++r)
      for (int64_t c = 0; c < C; ++c)
        part[r * C + c] = Dot(left.at(r, n) + start, right.at(c, n) + start, width);
  });
  // In a fixed order: the result does not depend on the number of threads.
  for (int64_t n = 0; n < count; ++n)
    for (int64_t e = 0; e < R * C; ++e) {
      double total = 0;
      for (int64_t p = 0; p < pieces; ++p) total += parts[(n * pieces + p) * R * C + e];
      out[n * R * C + e] = static_cast<T>(total);
    }
}

// Adds a block of rows; all have the same type, N and number of values.
template <typename T, typename Buffer>
ffi::Error AddBlock(Buffer& buffer, const ffi::AnyBuffer& like, Rows<T>& rows) {
  const auto shape = buffer.dimensions(), same = like.dimensions();
  if (buffer.element_type() != like.element_type() || shape.size() != 3 ||
      shape[0] != same[0] || shape[2] != same[2])
    return ffi::Error::InvalidArgument("expected blocks of one type and length");
  rows.Add(buffer);
  return ffi::Error::Success();
}

// The blocks first, first + 1, ... of the operands, together `expected` rows.
template <typename T>
ffi::Error Take(const ffi::RemainingArgs& args, int64_t first, int64_t blocks,
                int64_t expected, const ffi::AnyBuffer& like, Rows<T>& taken) {
  for (int64_t i = first; i < first + blocks; ++i) {
    auto block = args[i];
    if (block.has_error()) return block.error();
    auto added = AddBlock<T>(*block, like, taken);
    if (added.failure()) return added;
  }
  if (taken.count() != expected)
    return ffi::Error::InvalidArgument("expected as many rows as columns");
  return ffi::Error::Success();
}

template <typename T>
ffi::Error CallProduct(ffi::ThreadPool& pool, const ffi::RemainingArgs& args,
                       const ffi::RemainingRets& rets, ffi::Span<const int64_t> blocks) {
  Product<T> p;
  const ffi::AnyBuffer like = **rets[0];
  for (size_t i = 0; i < rets.size(); ++i) {
    auto block = rets[i];
    if (block.has_error()) return block.error();
    auto added = AddBlock<T>(**block, like, p.out);
    if (added.failure()) return added;
  }
  int64_t next = blocks.size();
  for (size_t k = 0; k < blocks.size(); next += blocks[k++]) {
    auto matrix = args[k];
    if (matrix.has_error()) return matrix.error();
    const auto shape = matrix->dimensions();
    if (matrix->element_type() != like.element_type() || shape.size() != 3 ||
        shape[0] != like.dimensions()[0] || shape[1] != p.out.count())
      return ffi::Error::InvalidArgument("expected a matrix for each of the N");
    p.matrices.push_back(static_cast<const T*>(matrix->untyped_data()));
    p.factors.emplace_back();
    auto failed = Take(args, next, blocks[k], shape[2], like, p.factors.back());
    if (failed.failure()) return failed;
  }
  for (; next < static_cast<int64_t>(args.size()); ++next) {
    p.addends.emplace_back();
    auto failed = Take(args, next, 1, p.out.count(), like, p.addends.back());
    if (failed.failure()) return failed;
  }
  Run<T>(pool, p, like.dimensions()[0], like.dimensions()[2]);
  return ffi::Error::Success();
}

template <typename T>
ffi::Error CallInner(ffi::ThreadPool& pool, const ffi::RemainingArgs& args,
                     ffi::Result& out, int64_t left) {
  auto like = args[0];
  if (like.has_error()) return like.error();
  const int64_t right = args.size() - left;
  Rows<T> y, x;
  const auto shape = out->dimensions();
  auto failed = Take(args, 0, left, shape[1], *like, y);
  if (!failed.failure()) failed = Take(args, left, right, shape[2], *like, x);
  if (failed.failure()) return failed;
  const auto values = like->dimensions();
  Inner<T>(pool, y, x, values[0], values[2], out->typed_data<T>());
  return ffi::Error::Success();
}

ffi::Error ProductOf(ffi::ThreadPool pool, ffi::RemainingArgs args,
                     ffi::RemainingRets rets, ffi::Span<const int64_t> blocks) {
  auto first = rets[0];
  if (first.has_error()) return first.error();
  ffi::Error done = ffi::Error::Success();
  ffi::Error known = ByType(**first, [&](auto zero) {
    done = CallProduct<decltype(zero)>(pool, args, rets, blocks);
  });
  return known.failure() ? known : done;
}

ffi::Error InnerOf(ffi::ThreadPool pool, ffi::RemainingArgs args,
                   ffi::Result out, int64_t left) {
  ffi::Error done = ffi::Error::Success();
  ffi::Error known = ByType(*out, [&](auto zero) {
    done = CallInner<decltype(zero)>(pool, args, out, left);
  });
  return known.failure() ? known : done;
}

}  // namespace

JDARTS_HANDLER(jdarts_blend_product, ProductOf, "blocks")
JDARTS_HANDLER(jdarts_blend_inner, InnerOf, "left")
