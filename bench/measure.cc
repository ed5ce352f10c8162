#include "measure.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <mutex>
#include <sys/mman.h>
#include <thread>

namespace rrpcp::bench {

namespace {

void refresh_memory(std::uint64_t bytes) {
  if (bytes == 0) {
    return;
  }
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw system_error(errno, "cannot get memory");
  }
  for (std::uint64_t at = 0; at < bytes; at += 4096) {
    static_cast<volatile char*>(memory)[at] = 1;
  }
  ::munmap(memory, bytes);
}

} // namespace

std::uint64_t now() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

std::uint64_t median(std::vector<std::uint64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<std::vector<std::uint64_t>> race(unsigned rounds, std::uint64_t refresh,
                                             const std::vector<Contestant>& contestants) {
  // [contestant][figure][round]
  std::vector<std::vector<std::vector<std::uint64_t>>> figures(contestants.size());
  for (unsigned round = 0; round <= rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      refresh_memory(refresh);
      const std::vector<std::uint64_t> result = contestants[i]();
      figures[i].resize(result.size());
      for (std::size_t k = 0; k < result.size() && round > 0; ++k) {
        figures[i][k].push_back(result[k]);
      }
    }
  }
  std::vector<std::vector<std::uint64_t>> medians;
  for (const auto& contestant : figures) {
    medians.emplace_back();
    for (const std::vector<std::uint64_t>& values : contestant) {
      medians.back().push_back(median(values));
    }
  }
  return medians;
}

unsigned processors() {
  return std::max(1u, std::thread::hardware_concurrency());
}

void on_all_processors(std::uint64_t count,
                       const std::function<void(std::uint64_t, unsigned)>& work) {
  std::atomic<std::uint64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::jthread> threads;
  for (unsigned worker = 0; worker < processors(); ++worker) {
    threads.emplace_back([&, worker] {
      try {
        for (std::uint64_t i = next++; i < count; i = next++) {
          work(i, worker);
        }
      } catch (...) {
        std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    });
  }
  threads.clear();
  if (failure) {
    std::rethrow_exception(failure);
  }
}

} // namespace rrpcp::bench
