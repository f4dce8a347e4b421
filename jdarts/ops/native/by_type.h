// From a buffer's element type to a C++ type.

#ifndef JDARTS_OPS_NATIVE_BY_TYPE_H_
#define JDARTS_OPS_NATIVE_BY_TYPE_H_

#include "ffi.h"

namespace jdarts {

// The type that this library computes in: each is compiled once for float, and once for
// double when that is needed.
#ifndef JDARTS_REAL
#define JDARTS_REAL float
#endif
using Real = JDARTS_REAL;
constexpr auto kReal = sizeof(Real) == 4 ? ffi::F32 : ffi::F64;

// Calls body(Real()) if the buffer's elements are of that type.
template <typename F>
ffi::Error ByType(const ffi::AnyBuffer& buffer, const F& body) {
  using ffi::Error;
  if (buffer.element_type() == kReal) return body(Real()), Error::Success();
  return Error::InvalidArgument("expected float32, or float64 of the library for it");
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_BY_TYPE_H_
