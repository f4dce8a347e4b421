// From a buffer's element type to a C++ type.

#ifndef JDARTS_OPS_NATIVE_BY_TYPE_H_
#define JDARTS_OPS_NATIVE_BY_TYPE_H_

#include "xla/ffi/api/ffi.h"

namespace jdarts {

// Calls body(T()) with the buffer's element type T.
template <typename F>
xla::ffi::Error ByType(const xla::ffi::AnyBuffer& buffer, const F& body) {
  using xla::ffi::Error;
  if (buffer.element_type() == xla::ffi::F32) return body(float()), Error::Success();
  if (buffer.element_type() == xla::ffi::F64) return body(double()), Error::Success();
  return Error::InvalidArgument("expected float32 or float64");
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_BY_TYPE_H_
