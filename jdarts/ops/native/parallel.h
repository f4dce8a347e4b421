// A parallel loop on XLA's thread pool.

#ifndef JDARTS_OPS_NATIVE_PARALLEL_H_
#define JDARTS_OPS_NATIVE_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "ffi.h"

namespace jdarts {

// Runs task(0) ... task(count - 1) on the pool and on the calling thread. The caller
// takes part and waits only for tasks that have begun, so that a pool whose threads all
// wait here cannot stand still.
inline void ParallelFor(ffi::ThreadPool& pool, int64_t count,
                        const std::function<void(int64_t)>& task) {
  int64_t threads = std::min<int64_t>(pool.num_threads(), count);
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable finished;
    int64_t done = 0;
  };
  auto shared = std::make_shared<Shared>();
  const std::function<void(int64_t)>* body = &task;  // valid while a task is left
  auto work = [shared, body, count] {
    int64_t mine = 0;
    for (;;) {
      int64_t i = shared->next.fetch_add(1);
      if (i >= count) break;
      (*body)(i);
      ++mine;
    }
    if (mine == 0) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->done += mine;
    if (shared->done == count) shared->finished.notify_all();
  };
  for (int64_t t = 1; t < threads; ++t) pool.Schedule(std::function<void()>(work));
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done == count; });
}

}  // namespace jdarts

#endif  // JDARTS_OPS_NATIVE_PARALLEL_H_
