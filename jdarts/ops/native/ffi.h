// What XLA calls a kernel with, read from the C interface of its foreign functions.
//
// Its C++ interface does the same for every kind of function, by templates that take a
// compiler two to three seconds a file: as long as the kernels in it.

#ifndef JDARTS_OPS_NATIVE_FFI_H_
#define JDARTS_OPS_NATIVE_FFI_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "xla/ffi/api/c_api.h"

namespace jdarts::ffi {

using DataType = XLA_FFI_DataType;
constexpr DataType F32 = XLA_FFI_DataType_F32, F64 = XLA_FFI_DataType_F64;

// The outcome of a kernel.
class Error {
 public:
  static Error Success() { return Error(nullptr); }
  static Error InvalidArgument(const char* message) { return Error(message); }
  bool failure() const { return message_ != nullptr; }
  const char* message() const { return message_; }

 private:
  explicit Error(const char* message) : message_(message) {}
  const char* message_;
};

// Values that lie elsewhere.
template <typename T>
class Span {
 public:
  Span(T* data, size_t size) : data_(data), size_(size) {}
  size_t size() const { return size_; }
  T& operator[](size_t i) const { return data_[i]; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }

 private:
  T* data_;
  size_t size_;
};

// An operand or a result.
class AnyBuffer {
 public:
  explicit AnyBuffer(const XLA_FFI_Buffer* buffer) : buffer_(buffer) {}

  DataType element_type() const { return buffer_->dtype; }
  Span<const int64_t> dimensions() const {
    return {buffer_->dims, static_cast<size_t>(buffer_->rank)};
  }
  void* untyped_data() const { return buffer_->data; }
  template <typename T>
  T* typed_data() const {
    return static_cast<T*>(buffer_->data);
  }
  size_t size_bytes() const {
    size_t bytes = Width(buffer_->dtype);
    for (int64_t size : dimensions()) bytes *= size;
    return bytes;
  }

 private:
  static size_t Width(DataType type) {
    switch (type) {
      case XLA_FFI_DataType_F64:
      case XLA_FFI_DataType_S64:
      case XLA_FFI_DataType_U64:
        return 8;
      case XLA_FFI_DataType_F32:
      case XLA_FFI_DataType_S32:
      case XLA_FFI_DataType_U32:
        return 4;
      default:
        return 1;
    }
  }
  const XLA_FFI_Buffer* buffer_;
};

// A result, like a pointer to it.
class Result {
 public:
  explicit Result(const XLA_FFI_Buffer* buffer) : buffer_(buffer) {}
  const AnyBuffer& operator*() const { return buffer_; }
  const AnyBuffer* operator->() const { return &buffer_; }

 private:
  AnyBuffer buffer_;
};

// What was asked for, or why it is not there.
template <typename T>
class Found {
 public:
  explicit Found(const void* buffer) : value_(static_cast<const XLA_FFI_Buffer*>(buffer)),
        there_(buffer != nullptr) {}
  bool has_error() const { return !there_; }
  Error error() const { return Error::InvalidArgument("too few operands or results"); }
  const T& operator*() const { return value_; }
  const T* operator->() const { return &value_; }

 private:
  T value_;
  bool there_;
};

// The operands, or the results, from one of them on.
template <typename T>
class Remaining {
 public:
  Remaining(void** all, size_t first, size_t count)
      : all_(all + first), size_(count < first ? 0 : count - first) {}
  size_t size() const { return size_; }
  Found<T> operator[](size_t i) const { return Found<T>(i < size_ ? all_[i] : nullptr); }

 private:
  void** all_;
  size_t size_;
};
using RemainingArgs = Remaining<AnyBuffer>;
using RemainingRets = Remaining<Result>;

// The threads that XLA computes with.
class ThreadPool {
 public:
  ThreadPool(const XLA_FFI_Api* api, XLA_FFI_ExecutionContext* context)
      : api_(api), context_(context) {}

  int64_t num_threads() const {
    int64_t count = 0;
    XLA_FFI_ThreadPool_NumThreads_Args args = {};
    args.struct_size = XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE;
    args.ctx = context_;
    args.num_threads = &count;
    Dropped(api_->XLA_FFI_ThreadPool_NumThreads(&args));
    return count;
  }

  // Runs a task on one of them; here, where there are none.
  void Schedule(std::function<void()> work) {
    XLA_FFI_ThreadPool_Schedule_Args args = {};
    args.struct_size = XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE;
    args.ctx = context_;
    args.data = new std::function<void()>(std::move(work));
    args.task = [](void* data) {
      auto* work = static_cast<std::function<void()>*>(data);
      (*work)();
      delete work;
    };
    if (Dropped(api_->XLA_FFI_ThreadPool_Schedule(&args))) args.task(args.data);
  }

 private:
  bool Dropped(XLA_FFI_Error* error) const {
    if (!error) return false;
    XLA_FFI_Error_Destroy_Args args = {};
    args.struct_size = XLA_FFI_Error_Destroy_Args_STRUCT_SIZE;
    args.error = error;
    api_->XLA_FFI_Error_Destroy(&args);
    return true;
  }
  const XLA_FFI_Api* api_;
  XLA_FFI_ExecutionContext* context_;
};

// Takes a kernel's parameters out of a call: by their types, in their order; those that
// are no buffers are attributes, with the names that it is given.
class Call {
 public:
  Call(const XLA_FFI_CallFrame& frame, const char* const* names)
      : frame_(frame), names_(names) {}

  template <typename P>
  P Take() {
    P value = Of(static_cast<P*>(nullptr));
    return value;
  }
  Error error() const { return error_; }
  // Whether nothing is left over.
  bool complete() const { return arg_ == frame_.args.size && ret_ == frame_.rets.size; }

 private:
  ThreadPool Of(ThreadPool*) { return {frame_.api, frame_.ctx}; }
  AnyBuffer Of(AnyBuffer*) {
    return AnyBuffer(Next(frame_.args.args, frame_.args.size, arg_));
  }
  Result Of(Result*) { return Result(Next(frame_.rets.rets, frame_.rets.size, ret_)); }
  RemainingArgs Of(RemainingArgs*) {
    const int64_t first = std::exchange(arg_, frame_.args.size);
    return {frame_.args.args, size_t(first), size_t(frame_.args.size)};
  }
  RemainingRets Of(RemainingRets*) {
    const int64_t first = std::exchange(ret_, frame_.rets.size);
    return {frame_.rets.rets, size_t(first), size_t(frame_.rets.size)};
  }
  int64_t Of(int64_t*) { return Scalar<int64_t>(XLA_FFI_DataType_S64); }
  double Of(double*) { return Scalar<double>(XLA_FFI_DataType_F64); }
  bool Of(bool*) { return Scalar<bool>(XLA_FFI_DataType_PRED); }
  Span<const int64_t> Of(Span<const int64_t>*) {
    const auto* array = static_cast<const XLA_FFI_Array*>(Attribute(XLA_FFI_AttrType_ARRAY));
    if (!array) return {nullptr, 0};
    if (array->dtype != XLA_FFI_DataType_S64) Fail("an attribute of another type");
    return {static_cast<const int64_t*>(array->data), array->size};
  }

  template <typename T>
  T Scalar(DataType type) {
    const auto* scalar =
        static_cast<const XLA_FFI_Scalar*>(Attribute(XLA_FFI_AttrType_SCALAR));
    if (scalar && scalar->dtype == type) return *static_cast<const T*>(scalar->value);
    Fail("an attribute of another type");
    return T();
  }

  const void* Attribute(XLA_FFI_AttrType type) {
    const char* name = *names_++;
    for (int64_t i = 0; i < frame_.attrs.size; ++i) {
      const XLA_FFI_ByteSpan& own = *frame_.attrs.names[i];
      if (own.len == std::strlen(name) && !std::memcmp(own.ptr, name, own.len) &&
          frame_.attrs.types[i] == type)
        return frame_.attrs.attrs[i];
    }
    Fail("an attribute is missing");
    return nullptr;
  }

  const XLA_FFI_Buffer* Next(void** all, int64_t count, int64_t& next) {
    if (next < count) return static_cast<const XLA_FFI_Buffer*>(all[next++]);
    Fail("too few operands or results");
    return nullptr;
  }
  void Fail(const char* message) {
    if (!error_.failure()) error_ = Error::InvalidArgument(message);
  }

  const XLA_FFI_CallFrame& frame_;
  const char* const* names_;
  int64_t arg_ = 0, ret_ = 0;
  Error error_ = Error::Success();
};

template <typename... P>
Error Run(Error (*kernel)(P...), const XLA_FFI_CallFrame& frame,
          const char* const* names) {
  if (frame.stage != XLA_FFI_ExecutionStage_EXECUTE)
    return Error::InvalidArgument("a kernel is only executed");
  Call call(frame, names);
  std::tuple<P...> parameters{call.Take<P>()...};  // in order, as braces have it
  if (call.error().failure()) return call.error();
  if (!call.complete()) return Error::InvalidArgument("too many operands or results");
  return std::apply(kernel, parameters);
}

// What XLA asks for when it learns of a kernel: by which version it was built.
inline bool AnsweredVersion(XLA_FFI_CallFrame* frame) {
  auto* asked = frame->extension_start;
  if (!asked || asked->type != XLA_FFI_Extension_Metadata) return false;
  auto* metadata = reinterpret_cast<XLA_FFI_Metadata_Extension*>(asked)->metadata;
  metadata->api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR,
                           XLA_FFI_API_MINOR};
  metadata->traits = 0;
  return true;
}

template <typename... P>
XLA_FFI_Error* Handle(Error (*kernel)(P...), XLA_FFI_CallFrame* frame,
                      const char* const* names) {
  if (AnsweredVersion(frame)) return nullptr;
  const Error done = Run(kernel, *frame, names);
  if (!done.failure()) return nullptr;
  XLA_FFI_Error_Create_Args args = {};
  args.struct_size = XLA_FFI_Error_Create_Args_STRUCT_SIZE;
  args.message = done.message();
  args.errc = XLA_FFI_Error_Code_INVALID_ARGUMENT;
  return frame->api->XLA_FFI_Error_Create(&args);
}

}  // namespace jdarts::ffi

// Defines what XLA calls: JDARTS_HANDLER(symbol, kernel, names of attributes...).
#define JDARTS_HANDLER(symbol, ...) \
  JDARTS_HANDLER_(symbol, __VA_ARGS__, nullptr)
#define JDARTS_HANDLER_(symbol, kernel, ...)                           \
  extern "C" XLA_FFI_Error* symbol(XLA_FFI_CallFrame* frame) {         \
    static constexpr const char* kNames[] = {__VA_ARGS__};             \
    return jdarts::ffi::Handle(kernel, frame, kNames);                 \
  }

#endif  // JDARTS_OPS_NATIVE_FFI_H_
