// The decoder of a language model with the softmax over its vocabulary, and derivatives:
// logits are made tile by tile, used, and forgotten. See jdarts/ops/vocabulary.py for the
// equations.
//
// Shapes, N independent problems at once: x [N, T, B, U]; mask [N, B, U]; table [N, V, U];
// bias [N, V]; of rows (time step, column) [N, T, B].
//
// A unit that a column drops is dropped in all time steps, so that column's matrices have
// a row for each unit that it keeps and none for the others. A tile holds the logits of a
// column's time steps and a panel of words. Tasks are groups of panels.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "by_type.h"
#include "exp.h"
#include "ffi.h"
#include "micro.h"
#include "panel.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

struct Sizes {
  int64_t problems, times, columns, units, words;

  int64_t rows() const { return times * columns; }
};

// Groups of panels: enough for the threads, and few enough that a gradient of the states
// for each of them is smaller than the logits would be.
constexpr int64_t kFewestGroups = 4, kMostGroups = 16;

template <typename T>
int64_t Panels(const Sizes& s) {
  return (s.words + kPanel<T> - 1) / kPanel<T>;
}

template <typename T>
int64_t Groups(const Sizes& s) {
  const int64_t small = s.words / (4 * std::max<int64_t>(s.units, 1));
  return std::min(std::clamp(small, kFewestGroups, kMostGroups), Panels<T>(s));
}

// The units that each column keeps, and matrices [time, kept unit] of each column.
template <typename T>
class Kept {
 public:
  Kept(const Sizes& s, const T* mask) : sizes_(s), mask_(mask), begin_(s.columns + 1) {
    for (int64_t b = 0; b < s.columns; ++b) {
      for (int64_t u = 0; u < s.units; ++u)
        if (mask[b * s.units + u] != T(0)) units_.push_back(u);
      begin_[b + 1] = units_.size();
    }
  }
  int64_t count(int64_t b) const { return begin_[b + 1] - begin_[b]; }
  int64_t before(int64_t b) const { return begin_[b]; }
  int64_t all() const { return begin_.back(); }
  const int32_t* units(int64_t b) const { return units_.data() + begin_[b]; }
  T factor(int64_t b, int64_t k) const {
    return mask_[b * sizes_.units + units(b)[k]];
  }

  // mask x, without what is dropped.
  Aligned<T> Gather(const T* x) const {
    Aligned<T> to(sizes_.times * all());
    for (int64_t b = 0; b < sizes_.columns; ++b) {
      const int64_t n = count(b);
      T* at = to.data() + sizes_.times * begin_[b];
      for (int64_t t = 0; t < sizes_.times; ++t) {
        const T* from = x + (t * sizes_.columns + b) * sizes_.units;
        for (int64_t k = 0; k < n; ++k) *at++ = from[units(b)[k]] * factor(b, k);
      }
    }
    return to;
  }

 private:
  Sizes sizes_;
  const T* mask_;
  std::vector<int64_t> begin_;
  std::vector<int32_t> units_;
};

// tile [time, panel] += a panel, where a is [time, kept unit].
template <typename T>
void AddLogits(const T* a, const int32_t* units, int64_t kept, const T* panel,
               int64_t times, T* tile) {
  OverRows(times, [&](auto count, int64_t t) {
    PanelBlock<T, kLanes<T>, kVectors, count.value>(
        [&](int r) { return a + (t + r) * kept; }, 1, kept,
        [&](int64_t k) { return panel + units[k] * kPanel<T>; },
        [&](int r) { return tile + (t + r) * kPanel<T>; });
  });
}

// panel [unit, word] += a^T tile.
template <typename T>
void AddToTable(const T* a, const int32_t* units, int64_t kept, const T* tile,
                int64_t times, T* panel) {
  OverRows(kept, [&](auto count, int64_t k) {
    PanelBlock<T, kLanes<T>, kVectors, count.value>(
        [&](int r) { return a + k + r; }, kept, times,
        [&](int64_t t) { return tile + t * kPanel<T>; },
        [&](int r) { return panel + units[k + r] * kPanel<T>; });
  });
}

// to [kept unit, time] += panel tile, where tile is [word, time] here.
template <typename T>
void AddToStates(const T* panel, const int32_t* units, int64_t kept, const T* tile,
                 int64_t width, T* to) {
  OverRows(kept, [&](auto count, int64_t k) {
    const auto some = [&](auto w, auto n, int64_t t) {
      PanelBlock<T, w.value, n.value, count.value>(
          [&](int r) { return panel + units[k + r] * kPanel<T>; }, 1, kPanel<T>,
          [&](int64_t v) { return tile + v * width + t; },
          [&](int r) { return to + (k + r) * width + t; });
    };
    constexpr int L = kLanes<T>;
    int64_t t = 0;
    for (; t + 2 * L <= width; t += 2 * L)
      some(std::integral_constant<int, L>(), std::integral_constant<int, 2>(), t);
    OverChannels<T>(
        width,
        [&](auto w, int64_t c) { some(w, std::integral_constant<int, 1>(), c); }, t);
  });
}

// Rows [unit] of words from `first` on as a panel [unit, word], zeros beyond the last.
template <typename T>
void PackTable(const Sizes& s, const T* table, int64_t first, T* panel) {
  for (int64_t v = 0; v < kPanel<T>; ++v)
    for (int64_t u = 0; u < s.units; ++u)
      panel[u * kPanel<T> + v] = first + v < s.words ? table[(first + v) * s.units + u] : T(0);
}

template <typename T>
void PackBias(const Sizes& s, const T* bias, int64_t first, T beyond, T* to) {
  for (int64_t v = 0; v < kPanel<T>; ++v)
    to[v] = first + v < s.words ? bias[first + v] : beyond;
}

template <typename T>
void FillRows(const T* bias, int64_t times, T* tile) {
  for (int64_t t = 0; t < times; ++t) std::copy_n(bias, kPanel<T>, tile + t * kPanel<T>);
}

// What one problem reads; null where an optional operand is not given.
template <typename T>
struct Operands {
  const T *x, *mask, *table, *bias, *partition, *g, *dg, *dx, *d_table, *d_bias,
      *d_partition;

  bool moves() const { return dx || d_table || d_bias; }
};

// A problem's packed operands, and a task's scratch with the panel at hand.
template <typename T>
struct Packed {
  Packed(const Sizes& s, const Operands<T>& o) : kept(s, o.mask), a(kept.Gather(o.x)) {
    if (o.dx) da = kept.Gather(o.dx);
  }
  Kept<T> kept;
  Aligned<T> a, da;
};

template <typename T>
class Panel {
 public:
  Panel(const Sizes& s, const Operands<T>& o, const Packed<T>& packed)
      : s_(s), o_(o), packed_(packed), table(s.units * kPanel<T>), bias_(kPanel<T>),
        logits(s.times * kPanel<T>) {
    if (o.d_table) d_table.resize(table.size());
    if (o.moves()) {
      d_bias_.resize(kPanel<T>);
      moved.resize(logits.size());
    }
  }

  void Load(int64_t first) {
    PackTable(s_, o_.table, first, table.data());
    PackBias(s_, o_.bias, first, -std::numeric_limits<T>::infinity(), bias_.data());
    if (o_.d_table) PackTable(s_, o_.d_table, first, d_table.data());
    if (o_.d_bias) PackBias(s_, o_.d_bias, first, T(0), d_bias_.data());
  }

  // The tile of a column: `logits`, and in `moved` what they move by, if they do.
  void Fill(int64_t b) {
    const int64_t n = packed_.kept.count(b), at = s_.times * packed_.kept.before(b);
    const int32_t* units = packed_.kept.units(b);
    const T* a = packed_.a.data() + at;
    FillRows(bias_.data(), s_.times, logits.data());
    AddLogits(a, units, n, table.data(), s_.times, logits.data());
    if (!o_.moves()) return;
    FillRows(d_bias_.data(), s_.times, moved.data());
    if (o_.d_table) AddLogits(a, units, n, d_table.data(), s_.times, moved.data());
    if (o_.dx)
      AddLogits(packed_.da.data() + at, units, n, table.data(), s_.times, moved.data());
  }

 private:
  const Sizes& s_;
  const Operands<T>& o_;
  const Packed<T>& packed_;

 public:
  Aligned<T> table, d_table;

 private:
  Aligned<T> bias_, d_bias_;

 public:
  Aligned<T> logits, moved;
};

// Calls work(group, first panel, end) for all groups of panels.
template <typename T, typename Work>
void ForGroups(ffi::ThreadPool& pool, const Sizes& s, const Work& work) {
  const int64_t panels = Panels<T>(s), groups = Groups<T>(s);
  ParallelFor(pool, groups, [&](int64_t group) {
    work(group, panels * group / groups, panels * (group + 1) / groups);
  });
}

template <typename T>
using Full = typename Vector<T, kLanes<T>>::type;

template <typename T>
T Sum(Full<T> v) {
  T sum = 0;
  for (int l = 0; l < kLanes<T>; ++l) sum += v[l];
  return sum;
}

// The largest logit of a row, where it is, and the sum of exponentials relative to it.
template <typename T>
struct Peak {
  T top = -std::numeric_limits<T>::infinity(), sum = 0;
  int32_t word = 0;

  void Rise(T to, int32_t where) {
    if (!(to > top)) return;
    sum *= std::exp(top - to);
    top = to;
    word = where;
  }
  void Add(const T* logits, int64_t first) {
    Full<T> most = Load<T, kLanes<T>>(logits);
    for (int n = 1; n < kVectors; ++n) {
      const Full<T> next = Load<T, kLanes<T>>(logits + n * kLanes<T>);
      most = next > most ? next : most;
    }
    T largest = most[0];
    for (int l = 1; l < kLanes<T>; ++l) largest = std::max(largest, T(most[l]));
    if (largest > top)
      Rise(largest, first + (std::find(logits, logits + kPanel<T>, largest) - logits));
    const T from = std::isinf(top) ? T(0) : top;  // no word so far can be the next one
    Full<T> total = {};
    for (int n = 0; n < kVectors; ++n)
      total += Exp<T, kLanes<T>>(Load<T, kLanes<T>>(logits + n * kLanes<T>) - from);
    sum += Sum<T>(total);
  }
  void Add(const Peak& other) {
    Rise(other.top, other.word);
    sum += other.sum * (other.top == top ? T(1) : std::exp(other.top - top));
  }
};

template <typename T>
void Partition(ffi::ThreadPool& pool, const Sizes& s, const Operands<T>& o, T* partition,
               int32_t* word) {
  const Packed<T> packed(s, o);
  std::vector<Peak<T>> peaks(Groups<T>(s) * s.rows());
  ForGroups<T>(pool, s, [&](int64_t group, int64_t begin, int64_t end) {
    Panel<T> panel(s, o, packed);
    Peak<T>* own = peaks.data() + group * s.rows();
    for (int64_t first = begin * kPanel<T>; first < end * kPanel<T>; first += kPanel<T>) {
      panel.Load(first);
      for (int64_t b = 0; b < s.columns; ++b) {
        panel.Fill(b);
        for (int64_t t = 0; t < s.times; ++t)
          own[t * s.columns + b].Add(panel.logits.data() + t * kPanel<T>, first);
      }
    }
  });
  for (int64_t r = 0; r < s.rows(); ++r) {
    Peak<T> all;
    for (int64_t group = 0; group < Groups<T>(s); ++group)
      all.Add(peaks[group * s.rows() + r]);
    partition[r] = all.top + std::log(all.sum);
    word[r] = all.word;
  }
}

template <typename T>
void Push(ffi::ThreadPool& pool, const Sizes& s, const Operands<T>& o, T* moved) {
  const Packed<T> packed(s, o);
  Unset<T> sums(Groups<T>(s) * s.rows());
  ForGroups<T>(pool, s, [&](int64_t group, int64_t begin, int64_t end) {
    Panel<T> panel(s, o, packed);
    T* own = sums.data() + group * s.rows();
    std::fill_n(own, s.rows(), T(0));
    for (int64_t first = begin * kPanel<T>; first < end * kPanel<T>; first += kPanel<T>) {
      panel.Load(first);
      for (int64_t b = 0; b < s.columns; ++b) {
        panel.Fill(b);
        for (int64_t t = 0; t < s.times; ++t) {
          const int64_t row = t * s.columns + b;
          Full<T> total = {};
          for (int64_t i = t * kPanel<T>; i < (t + 1) * kPanel<T>; i += kLanes<T>)
            total += Exp<T, kLanes<T>>(Load<T, kLanes<T>>(&panel.logits[i]) -
                                       o.partition[row]) *
                     Load<T, kLanes<T>>(&panel.moved[i]);
          own[row] += Sum<T>(total);
        }
      }
    }
  });
  for (int64_t r = 0; r < s.rows(); ++r) {
    moved[r] = 0;
    for (int64_t group = 0; group < Groups<T>(s); ++group)
      moved[r] += sums.data()[group * s.rows() + r];
  }
}

// Of a column's tile: d in place of the logits, g p in place of what they move by.
template <typename T>
void ToWeights(const Sizes& s, const Operands<T>& o, int64_t b, Panel<T>& panel) {
  for (int64_t t = 0; t < s.times; ++t) {
    const int64_t row = t * s.columns + b;
    const T d_partition = o.d_partition ? o.d_partition[row] : T(0);
    const T g = o.g ? o.g[row] : T(0), dg = o.dg ? o.dg[row] : T(0);
    for (int64_t i = t * kPanel<T>; i < (t + 1) * kPanel<T>; i += kLanes<T>) {
      T* at = &panel.logits[i];
      const Full<T> p = Exp<T, kLanes<T>>(Load<T, kLanes<T>>(at) - o.partition[row]);
      Full<T> factor = Full<T>{} + (dg - g * d_partition);
      if (o.moves()) {
        factor += g * Load<T, kLanes<T>>(&panel.moved[i]);
        Store<T, kLanes<T>>(&panel.moved[i], g * p);
      }
      Store<T, kLanes<T>>(at, factor * p);
    }
  }
}

// to [word, width] of a tile [time, word].
template <typename T>
void Transpose(const T* tile, int64_t times, int64_t width, T* to) {
  for (int64_t t = 0; t < times; ++t)
    for (int64_t v = 0; v < kPanel<T>; ++v) to[v * width + t] = tile[t * kPanel<T> + v];
}

// Gradients, null where nobody wants them.
template <typename T>
struct Gradients {
  T *x, *table, *bias;
};

template <typename T>
class Pull {
 public:
  Pull(const Sizes& s, const Operands<T>& o, const Gradients<T>& to)
      : s_(s), o_(o), to_(to), packed_(s, o), width_((s.times + 3) / 4 * 4),
        states_(to.x ? Groups<T>(s) * part() : 0) {}

  void Run(ffi::ThreadPool& pool) {
    ForGroups<T>(pool, s_, [&](int64_t group, int64_t begin, int64_t end) {
      DoGroup(group, begin, end);
    });
    if (to_.x) ParallelFor(pool, s_.columns, [&](int64_t b) { SumStates(b); });
  }

 private:
  int64_t part() const { return packed_.kept.all() * width_; }

  void DoGroup(int64_t group, int64_t begin, int64_t end) {
    Panel<T> panel(s_, o_, packed_);
    Aligned<T> table(to_.table ? s_.units * kPanel<T> : 0), bias(kPanel<T>);
    Aligned<T> turned(to_.x ? kPanel<T> * width_ : 0);
    T* states = states_.data() + group * part();
    if (to_.x) std::fill_n(states, part(), T(0));
    for (int64_t first = begin * kPanel<T>; first < end * kPanel<T>; first += kPanel<T>) {
      panel.Load(first);
      std::fill(table.begin(), table.end(), T(0));
      std::fill(bias.begin(), bias.end(), T(0));
      for (int64_t b = 0; b < s_.columns; ++b) {
        panel.Fill(b);
        ToWeights(s_, o_, b, panel);
        if (to_.x) ToStates(panel, b, turned.data(), states);
        if (to_.table) ToTable(panel, b, table.data());
        if (to_.bias)
          for (int64_t t = 0; t < s_.times; ++t)
            for (int64_t v = 0; v < kPanel<T>; ++v)
              bias[v] += panel.logits[t * kPanel<T> + v];
      }
      const int64_t words = std::min(kPanel<T>, s_.words - first);
      if (to_.bias) std::copy_n(bias.data(), words, to_.bias + first);
      if (to_.table)
        for (int64_t v = 0; v < words; ++v)
          for (int64_t u = 0; u < s_.units; ++u)
            to_.table[(first + v) * s_.units + u] = table[u * kPanel<T> + v];
    }
  }

  void ToStates(const Panel<T>& panel, int64_t b, T* turned, T* states) {
    const Kept<T>& kept = packed_.kept;
    const auto add = [&](const Aligned<T>& table, const Aligned<T>& tile) {
      Transpose(tile.data(), s_.times, width_, turned);
      AddToStates(table.data(), kept.units(b), kept.count(b), turned, width_,
                  states + kept.before(b) * width_);
    };
    add(panel.table, panel.logits);
    if (o_.d_table) add(panel.d_table, panel.moved);
  }

  void ToTable(const Panel<T>& panel, int64_t b, T* table) {
    const Kept<T>& kept = packed_.kept;
    const auto add = [&](const Aligned<T>& a, const Aligned<T>& tile) {
      AddToTable(a.data() + s_.times * kept.before(b), kept.units(b), kept.count(b),
                 tile.data(), s_.times, table);
    };
    add(packed_.a, panel.logits);
    if (o_.dx) add(packed_.da, panel.moved);
  }

  // A column's gradients in its states, from those of all groups, in a fixed order.
  void SumStates(int64_t b) {
    const Kept<T>& kept = packed_.kept;
    const auto row = [&](int64_t t) { return to_.x + (t * s_.columns + b) * s_.units; };
    for (int64_t t = 0; t < s_.times; ++t) std::fill_n(row(t), s_.units, T(0));
    for (int64_t k = 0; k < kept.count(b); ++k) {
      for (int64_t t = 0; t < s_.times; ++t) {
        const T* from = states_.data() + (kept.before(b) + k) * width_ + t;
        T sum = 0;
        for (int64_t group = 0; group < Groups<T>(s_); ++group)
          sum += from[group * part()];
        row(t)[kept.units(b)[k]] = sum * kept.factor(b, k);
      }
    }
  }

  const Sizes& s_;
  const Operands<T>& o_;
  const Gradients<T>& to_;
  const Packed<T> packed_;
  const int64_t width_;  // of time steps in a row, with some to fill the last vector
  Unset<T> states_;
};

using Arg = ffi::AnyBuffer;
using Args = ffi::RemainingArgs;

Sizes SizesOf(Arg x, Arg table) {
  const auto shape = x.dimensions();
  return {shape[0], shape[1], shape[2], shape[3], table.dimensions()[1]};
}

// The operands of problem n: the first four, and of the others those whose bit is set.
template <typename T>
Operands<T> OperandsOf(const Sizes& s, int64_t n, Arg x, Arg mask, Arg table, Arg bias,
                       const Args& others, int64_t given) {
  Operands<T> o = {x.typed_data<T>() + n * s.rows() * s.units,
                   mask.typed_data<T>() + n * s.columns * s.units,
                   table.typed_data<T>() + n * s.words * s.units,
                   bias.typed_data<T>() + n * s.words};
  const T** optional[] = {&o.partition, &o.g,      &o.dg,         &o.dx,
                          &o.d_table,   &o.d_bias, &o.d_partition};
  const int64_t sizes[] = {s.rows(),           s.rows(), s.rows(), s.rows() * s.units,
                           s.words * s.units, s.words,  s.rows()};
  int64_t next = 0;
  for (int i = 0; i < 7; ++i)
    if (given >> i & 1)
      *optional[i] = others[next++]->typed_data<T>() + n * sizes[i];
  return o;
}

ffi::Error CallPartition(ffi::ThreadPool pool, Arg x, Arg mask, Arg table, Arg bias,
                         Args others, ffi::Result partition,
                         ffi::Result word) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Sizes s = SizesOf(x, table);
    for (int64_t n = 0; n < s.problems; ++n)
      Partition<T>(pool, s, OperandsOf<T>(s, n, x, mask, table, bias, others, 0),
                   partition->typed_data<T>() + n * s.rows(),
                   word->typed_data<int32_t>() + n * s.rows());
  });
}

ffi::Error CallPush(ffi::ThreadPool pool, Arg x, Arg mask, Arg table, Arg bias,
                    Args others, ffi::Result moved, int64_t given) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Sizes s = SizesOf(x, table);
    for (int64_t n = 0; n < s.problems; ++n)
      Push<T>(pool, s, OperandsOf<T>(s, n, x, mask, table, bias, others, given),
              moved->typed_data<T>() + n * s.rows());
  });
}

ffi::Error CallPull(ffi::ThreadPool pool, Arg x, Arg mask, Arg table, Arg bias,
                    Args others, ffi::RemainingRets results, int64_t given,
                    int64_t wanted) {
  return ByType(x, [&](auto zero) {
    using T = decltype(zero);
    const Sizes s = SizesOf(x, table);
    for (int64_t n = 0; n < s.problems; ++n) {
      const Operands<T> o = OperandsOf<T>(s, n, x, mask, table, bias, others, given);
      Gradients<T> to = {};
      T** all[] = {&to.x, &to.table, &to.bias};
      const int64_t sizes[] = {s.rows() * s.units, s.words * s.units, s.words};
      int64_t next = 0;
      for (int i = 0; i < 3; ++i)
        if (wanted >> i & 1)
          *all[i] = (*results[next++])->typed_data<T>() + n * sizes[i];
      Pull<T>(s, o, to).Run(pool);
    }
  });
}

}  // namespace

JDARTS_HANDLER(jdarts_vocabulary, CallPartition)
JDARTS_HANDLER(jdarts_vocabulary_push, CallPush, "given")
JDARTS_HANDLER(jdarts_vocabulary_pull, CallPull, "given", "wanted")
