// Matrix products by panels: a panel is a part of the right matrix, so many vectors wide
// as fit beside each other into registers, with its rows one after another.

#ifndef JDARTS_OPS_NATIVE_PANEL_H_
#define JDARTS_OPS_NATIVE_PANEL_H_

#include <cstdint>
#include <type_traits>

#include "micro.h"

namespace jdarts {

template <typename T>
constexpr int kLanes = kVectorBytes / sizeof(T);
constexpr int kVectors = 3;  // of a panel
template <typename T>
constexpr int64_t kPanel = kVectors * kLanes<T>;
// Rows whose sums stay in registers, three vectors each.
constexpr int kRows = kVectorBytes == 64 ? 8 : 4;

// to(r)[0 .. N W) += sum over i < inner of from(r)[i step] . row(i)[0 .. N W), for R rows.
template <typename T, int W, int N, int R, typename From, typename Row, typename To>
inline void PanelBlock(const From& from, int64_t step, int64_t inner, const Row& row,
                       const To& to) {
  using Vec = typename Vector<T, W>::type;
  Vec sums[R][N];
  const T* source[R];
  for (int r = 0; r < R; ++r) {
    source[r] = from(r);
    for (int n = 0; n < N; ++n) sums[r][n] = Load<T, W>(to(r) + n * W);
  }
  for (int64_t i = 0; i < inner; ++i) {
    const T* right = row(i);
    Vec value[N];
    for (int n = 0; n < N; ++n) value[n] = Load<T, W>(right + n * W);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) sums[r][n] += source[r][i * step] * value[n];
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) Store<T, W>(to(r) + n * W, sums[r][n]);
}

// Calls work(count) with the count, from 1 to Most, as a constant.
template <int Most, typename Work>
inline void WithCount(int64_t count, const Work& work) {
  if (count == Most) return work(std::integral_constant<int, Most>());
  if constexpr (Most > 1) WithCount<Most - 1>(count, work);
}

// Calls work(count, begin) for all rows, in blocks as equal as can be, the count of each
// a constant.
template <typename Work>
void OverRows(int64_t rows, const Work& work) {
  const int64_t blocks = (rows + kRows - 1) / kRows;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t begin = rows * i / blocks, end = rows * (i + 1) / blocks;
    WithCount<kRows>(end - begin, [&](auto count) { work(count, begin); });
  }
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_PANEL_H_
