// The exponential function of a vector.

#ifndef JDARTS_OPS_NATIVE_EXP_H_
#define JDARTS_OPS_NATIVE_EXP_H_

#include <cstdint>
#include <cstring>

#include "micro.h"

namespace jdarts {

template <typename T>
struct ExpOf;

// `shifter` + n holds the integer n in its lowest bits.
template <>
struct ExpOf<float> {
  using Int = int32_t;
  static constexpr float least = -87.0f, most = 88.0f, shifter = 12582912.0f;
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
  static constexpr int degree = 7, mantissa = 23;
};

template <>
struct ExpOf<double> {
  using Int = int64_t;
  static constexpr double least = -708.0, most = 709.0, shifter = 6755399441055744.0;
  static constexpr double ln2_high = 0.693147180369123816490,
                          ln2_low = 1.90821492927058770002e-10;
  static constexpr int degree = 13, mantissa = 52;
};

constexpr double Factorial(int n) { return n < 2 ? 1 : n * Factorial(n - 1); }

// sum r^i / i! from the term of that degree on, divided by r^degree.
template <typename T, int V, int degree>
inline typename Vector<T, V>::type Taylor(typename Vector<T, V>::type r) {
  using Vec = typename Vector<T, V>::type;
  constexpr T factor = 1 / Factorial(degree);
  if constexpr (degree == ExpOf<T>::degree)
    return Vec{} + factor;
  else
    return Taylor<T, V, degree + 1>(r) * r + factor;
}

// exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, the latter by its Taylor polynomial, whose
// error is below the rounding error. Arguments beyond the range of normal numbers are
// taken for its ends; a NaN stays one.
template <typename T, int V>
inline typename Vector<T, V>::type Exp(typename Vector<T, V>::type x) {
  using Vec = typename Vector<T, V>::type;
  using Of = ExpOf<T>;
  using Int = typename Of::Int;
  using Bits = typename Vector<Int, V>::type;
  const Vec least = Vec{} + Of::least, most = Vec{} + Of::most;
  x = x < least ? least : x;
  x = x > most ? most : x;
  const Vec shifted = x * T(1.4426950408889634) + Of::shifter;
  const Vec n = shifted - Of::shifter;
  const Vec r = (x - n * Of::ln2_high) - n * Of::ln2_low;
  const Vec sum = Taylor<T, V, 0>(r);
  Bits power, bits;
  std::memcpy(&power, &shifted, sizeof power);
  std::memcpy(&bits, &sum, sizeof bits);
  bits += power << Of::mantissa;  // adds n to the exponent
  Vec result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_EXP_H_
