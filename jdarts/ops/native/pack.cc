// Many arrays as one vector, and back. See jdarts/ops/pack.py.

#include <cstdint>
#include <cstring>
#include <vector>

#include "ffi.h"
#include "parallel.h"

namespace ffi = jdarts::ffi;

namespace {

using namespace jdarts;

struct Part {
  char* data;
  int64_t bytes;  // of all rows
};

// Calls copy(part's row, vector's row, bytes) for each part of each row of the vector.
template <typename F>
void ForParts(ffi::ThreadPool& pool, const std::vector<Part>& parts, char* vector,
              int64_t bytes, int64_t rows, const F& copy) {
  if (rows == 0) return;
  std::vector<int64_t> starts;
  int64_t start = 0;
  for (const Part& part : parts) {
    starts.push_back(start);
    start += part.bytes / rows;
  }
  ParallelFor(pool, parts.size(), [&](int64_t i) {
    const int64_t width = parts[i].bytes / rows;
    for (int64_t r = 0; r < rows; ++r)
      copy(parts[i].data + r * width, vector + r * (bytes / rows) + starts[i], width);
  });
}

template <typename Buffer>
Part PartOf(Buffer& buffer) {
  return {static_cast<char*>(buffer.untyped_data()),
          static_cast<int64_t>(buffer.size_bytes())};
}

ffi::Error CallPack(ffi::ThreadPool pool, ffi::RemainingArgs arrays,
                    ffi::Result vector) {
  std::vector<Part> parts;
  for (size_t i = 0; i < arrays.size(); ++i) {
    auto array = arrays[i];
    if (array.has_error()) return array.error();
    parts.push_back(PartOf(*array));
  }
  const Part whole = PartOf(*vector);
  ForParts(pool, parts, whole.data, whole.bytes, vector->dimensions()[0],
           [](const char* part, char* row, int64_t n) { std::memcpy(row, part, n); });
  return ffi::Error::Success();
}

ffi::Error CallUnpack(ffi::ThreadPool pool, ffi::AnyBuffer vector,
                      ffi::RemainingRets arrays) {
  std::vector<Part> parts;
  for (size_t i = 0; i < arrays.size(); ++i) {
    auto array = arrays[i];
    if (array.has_error()) return array.error();
    parts.push_back(PartOf(**array));
  }
  const Part whole = PartOf(vector);
  ForParts(pool, parts, whole.data, whole.bytes, vector.dimensions()[0],
           [](char* part, const char* row, int64_t n) { std::memcpy(part, row, n); });
  return ffi::Error::Success();
}

}  // namespace

JDARTS_HANDLER(jdarts_pack, CallPack)
JDARTS_HANDLER(jdarts_unpack, CallUnpack)
