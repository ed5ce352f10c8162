#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <sched.h>
#include <system_error>
#include <thread>
#include <vector>

namespace rrpcp {

unsigned available_processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

void parallel_for(std::uint64_t count, unsigned threads,
                  const std::function<void(std::uint64_t, unsigned)>& work) {
  threads = static_cast<unsigned>(std::min<std::uint64_t>(threads, count));
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  auto run = [&](unsigned worker) {
    try {
      for (std::uint64_t i = next++; i < count; i = next++) {
        work(i, worker);
      }
    } catch (...) {
      next = count;
      std::lock_guard lock(mutex);
      if (!failure) {
        failure = std::current_exception();
      }
    }
  };
  std::vector<std::jthread> helpers;
  try {
    for (unsigned i = 1; i < threads; ++i) {
      helpers.emplace_back(run, i);
    }
  } catch (const std::system_error&) {
    // No more threads to be had: the ones there are do it.
  }
  run(0);
  helpers.clear();
  if (failure) {
    std::rethrow_exception(failure);
  }
}

} // namespace rrpcp
