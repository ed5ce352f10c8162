// Restoring from a series whose pages are mapped from several files.

#include "child_process.h"
#include "process/proc_maps.h"
#include "process/remote_memory.h"
#include "rrpcp/format.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"
#include "support/temp_dir.h"

#include <csignal>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {
namespace {

using test::ChildProcess;
using test::TempDir;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 700;
constexpr unsigned kSteps = 8;

// Memory of which another part of all pages is written at each SIGUSR1: single ones and small rows,
// also at both ends, and a row in a part that was zero. In the end it may be read only.
class Scattered {
public:
  Scattered()
      : memory_(static_cast<char*>(::mmap(nullptr, (kPages + 1) * kPage, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    for (std::size_t page = 0; page < kPages - 50; ++page) {
      std::memset(memory_ + page * kPage, static_cast<int>(1 + page % 250), kPage);
    }
  }
  ~Scattered() { ::munmap(memory_, (kPages + 1) * kPage); }
  Scattered(const Scattered&) = delete;
  Scattered& operator=(const Scattered&) = delete;

  // In the child.
  int live() {
    sigset_t orders;
    sigemptyset(&orders);
    sigaddset(&orders, SIGUSR1);
    sigprocmask(SIG_BLOCK, &orders, nullptr);
    ChildProcess::announce_ready();
    ::close_range(0, ~0u, 0);
    for (unsigned step = 1;; ++step) {
      int signal = 0;
      ::sigwait(&orders, &signal);
      for (std::size_t page = step * 7; page < kPages; page += 61) {
        for (std::size_t i = 0; i < 1 + step % 3 && page + i < kPages; ++i) {
          std::memset(memory_ + (page + i) * kPage + 5, static_cast<int>(step), 2000);
        }
      }
      memory_[step % 2 == 0 ? 0 : (kPages - 1) * kPage] = static_cast<char>(step);
      std::memcpy(memory_ + kPages * kPage, &step, sizeof step);
      if (step == kSteps) {
        ::mprotect(memory_, kPages * kPage, PROT_READ);
      }
    }
  }

  // In the parent.
  void step(pid_t pid, unsigned step) const {
    ::kill(pid, SIGUSR1);
    process::RemoteMemory memory(pid);
    while (memory.read_value<unsigned>(start() + kPages * kPage) != step) {
      ::usleep(500);
    }
    while (step == kSteps && protection(pid) != PROT_READ) {
      ::usleep(500);
    }
  }
  std::vector<std::byte> content(pid_t pid) const {
    std::vector<std::byte> bytes(kPages * kPage);
    process::RemoteMemory(pid).read(start(), bytes);
    return bytes;
  }
  std::uint64_t start() const { return reinterpret_cast<std::uintptr_t>(memory_); }
  // Of all pages; ~0 where they differ.
  std::uint32_t protection(pid_t pid) const {
    std::uint32_t found = ~0u;
    bool first = true;
    for (const process::ProcMapping& mapping : process::read_mappings(pid)) {
      if (mapping.start < start() + kPages * kPage && mapping.end > start()) {
        if (!first && mapping.protection != found) {
          return ~0u;
        }
        found = mapping.protection;
        first = false;
      }
    }
    return found;
  }
  std::size_t mappings(pid_t pid) const {
    std::size_t count = 0;
    for (const process::ProcMapping& mapping : process::read_mappings(pid)) {
      count += mapping.start < start() + kPages * kPage && mapping.end > start() ? 1 : 0;
    }
    return count;
  }

private:
  char* const memory_;
};

TEST(LazySeries, AFileIsMappedThroughUnderThePagesOfLaterOnes) {
  Scattered scattered;
  const ChildProcess child([&] { return scattered.live(); });
  const TempDir directory;
  CaptureOptions options;
  options.profile = Profile::kRaw;
  options.allow = {allowable_names().begin(), allowable_names().end()};
  options.max_bases = format::kMaxBases;
  std::string path;
  for (unsigned step = 0; step <= kSteps; ++step) {
    if (step != 0) {
      scattered.step(child.pid(), step);
    }
    options.base = path;
    path = directory.file(std::to_string(step) + ".pcp");
    capture_process(child.pid(), path, options);
    const CheckpointReader reader = CheckpointReader::open(path);
    for (const bool lazy : {true, false}) {
      RestoredProcess restored = restore_process(reader, {.allow = {"new-ids"}, .lazy = lazy});
      EXPECT_TRUE(scattered.content(restored.pid()) == scattered.content(child.pid()))
          << "step " << step << ", lazy " << lazy;
      EXPECT_EQ(scattered.protection(restored.pid()), scattered.protection(child.pid()));
      // There are ninety rows and more of other files' pages in the end.
      EXPECT_LT(scattered.mappings(restored.pid()), 30u) << "step " << step << ", lazy " << lazy;
      restored.kill();
    }
  }
}

} // namespace
} // namespace rrpcp
