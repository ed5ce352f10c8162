// Series of captures of a process whose writes the kernel notes: whatever the process does with its
// memory in between, each checkpoint has what it had.

#include "child_process.h"
#include "process/ordered_process.h"
#include "process/proc_file.h"
#include "process/proc_smaps.h"
#include "process/remote_memory.h"
#include "process/series_options.h"
#include "rrpcp/error.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/memory_watch.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/store.h"
#include "rrpcp/validate.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <memory>
#include <random>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::ChildProcess;
using test::OrderedProcess;
using test::TempDir;
using test::with_base;

constexpr std::size_t kPage = 4096;

// Whenever a thread goes on, the kernel writes to the structure that it has registered (rseq(2)):
// memory would be other than what was captured.
void forget_rseq() {
  constexpr std::size_t kRegistered = 32; // what glibc registers, whatever __rseq_size says of use
  constexpr int kUnregister = 1;
  char* const area = static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  ::syscall(SYS_rseq, area, kRegistered, kUnregister, RSEQ_SIG);
}

// The memory of the child, and what it does with it.
class Restless {
public:
  explicit Restless(unsigned seed) : random_(seed), regions_(24) {}

  // Does `count` things.
  void live(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      act(regions_[below(regions_.size())]);
    }
  }

private:
  struct Region {
    char* at = nullptr;
    std::size_t pages = 0;
  };

  std::size_t below(std::size_t n) { return random_() % n; }

  void act(Region& region) {
    if (region.at == nullptr) {
      region.pages = 1 + below(48);
      region.at = static_cast<char*>(::mmap(nullptr, region.pages * kPage, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      std::memset(region.at, static_cast<int>(random_()), region.pages * kPage);
      return;
    }
    const std::size_t page = below(region.pages);
    char* const there = region.at + page * kPage;
    const std::size_t rest = 1 + below(region.pages - page);
    switch (below(12)) {
    case 0:
    case 1:
      there[below(kPage)] = static_cast<char>(random_());
      break;
    case 2:
      std::memset(there, 0, kPage); // touched, but zero
      break;
    case 3:
      ::madvise(there, rest * kPage, MADV_DONTNEED);
      break;
    case 4: { // the kernel writes
      const int zero = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
      static_cast<void>(::read(zero, there + 100, rest * kPage - 100) < 0);
      ::close(zero);
      break;
    }
    case 5:
      ::munmap(region.at, region.pages * kPage);
      region.at = nullptr;
      break;
    case 6: { // grows, and moves where it cannot
      const std::size_t pages = region.pages + 1 + below(16);
      void* moved = ::mremap(region.at, region.pages * kPage, pages * kPage, MREMAP_MAYMOVE);
      if (moved != MAP_FAILED) { // it fails where neighbours were joined and parted again
        region = {static_cast<char*>(moved), pages};
      }
      break;
    }
    case 7: { // takes the place of another one
      Region& other = regions_[below(regions_.size())];
      if (other.at == nullptr || &other == &region || region.pages > other.pages) {
        break;
      }
      ::munmap(other.at, other.pages * kPage);
      void* moved = ::mremap(region.at, region.pages * kPage, region.pages * kPage,
                             MREMAP_MAYMOVE | MREMAP_FIXED, other.at);
      if (moved != MAP_FAILED) {
        region.at = static_cast<char*>(moved);
      }
      other.at = nullptr;
      break;
    }
    case 8:
      ::mprotect(there, kPage, PROT_READ);
      ::mprotect(there, kPage, PROT_READ | PROT_WRITE);
      there[1] = static_cast<char>(random_());
      break;
    case 9: { // pages are shared with a child for a while
      const pid_t child = ::fork();
      if (child == 0) {
        std::memset(there, 7, kPage);
        ::_exit(0);
      }
      there[2] = static_cast<char>(random_());
      ::waitpid(child, nullptr, 0);
      break;
    }
    case 10: { // memory of the heap
      std::vector<char> some(1 + below(300'000), static_cast<char>(random_()));
      kept_ = std::move(some);
      break;
    }
    default:
      ::madvise(there, rest * kPage, MADV_DONTFORK);
      ::madvise(there, rest * kPage, MADV_DOFORK);
      there[3] = static_cast<char>(random_());
    }
  }

  std::mt19937 random_;
  std::vector<Region> regions_;
  std::vector<char> kept_;
};

// A child that does so many things when it is told to.
class RestlessProcess {
public:
  explicit RestlessProcess(unsigned seed)
      : child_([&] {
          forget_rseq();
          auto memory = std::make_shared<Restless>(seed);
          memory->live(100);
          return [memory](unsigned count) {
            memory->live(count);
            return '\0';
          };
        }) {
    child_.await_idle();
  }

  pid_t pid() const { return child_.pid(); }
  void live(unsigned count) {
    child_.order(count);
    child_.await_idle();
  }

private:
  OrderedProcess child_;
};

// Every byte of private anonymous memory that the process has, in the file.
void expect_same_memory(const std::string& path, pid_t pid) {
  const CheckpointReader reader = CheckpointReader::open(path);
  MemoryView view(reader, 0);
  process::RemoteMemory memory(pid);
  std::vector<std::byte> stored, live;
  for (const process::ProcMapping& mapping : process::read_mappings(pid)) {
    // A sanitizer sets terabytes of addresses aside.
    constexpr std::uint64_t kLargest = std::uint64_t{1} << 30;
    const bool special = mapping.name.starts_with("[v") || mapping.length() > kLargest;
    if (mapping.shared || mapping.inode != 0 || special || (mapping.protection & PROT_READ) == 0) {
      continue;
    }
    stored.resize(mapping.length());
    live.resize(mapping.length());
    ASSERT_EQ(view.read(mapping.start, stored), stored.size()) << std::hex << mapping.start;
    memory.read(mapping.start, live);
    for (std::size_t i = 0; i < live.size(); i += kPage) {
      ASSERT_EQ(std::memcmp(&stored[i], &live[i], kPage), 0)
          << path << ": page " << std::hex << mapping.start + i << " of " << mapping.name;
    }
  }
}

bool is_watched(pid_t pid) {
  const std::vector<process::ProcMemoryArea> areas = process::read_memory_areas(pid);
  return std::any_of(areas.begin(), areas.end(),
                     [](const process::ProcMemoryArea& area) { return area.has_flag("uw"); });
}

class MemoryWatchSeries : public testing::TestWithParam<unsigned> {};

TEST_P(MemoryWatchSeries, EveryCheckpointHasTheMemoryOfItsTime) {
  RestlessProcess process(GetParam());
  const TempDir directory;
  MemoryWatch watch;
  std::string base;
  for (unsigned i = 0; i < 10; ++i) {
    const std::string path = directory.file(std::to_string(i) + ".pcp");
    const CaptureResult result = capture_process(process.pid(), path, with_base(base), watch);
    EXPECT_EQ(result.bases != 0, i != 0);
    ASSERT_NO_FATAL_FAILURE(expect_same_memory(path, process.pid()));
    const ValidationReport verdict = validate_file(path, {.threads = 1});
    EXPECT_TRUE(verdict.findings.empty()) << path << ": " << verdict.findings.front().code;
    base = path;
    process.live(i % 3 == 0 ? 1 : 40);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MemoryWatchSeries, testing::Range(1u, 5u));

class MemoryWatching : public testing::Test {
protected:
  std::string path(const std::string& name) const { return directory_.file(name + ".pcp"); }
  CaptureResult capture(const std::string& name, const std::string& base) {
    CaptureResult result = capture_process(process_.pid(), path(name),
                                           with_base(base.empty() ? "" : path(base)), watch_);
    expect_same_memory(path(name), process_.pid());
    return result;
  }
  bool works() const { return watch_.problem().empty(); }

  RestlessProcess process_{7};
  const TempDir directory_;
  MemoryWatch watch_;
};

TEST_F(MemoryWatching, LittleIsReadWhereLittleWasWritten) {
  const CaptureResult full = capture("a", "");
  if (!works()) {
    GTEST_SKIP() << watch_.problem();
  }
  EXPECT_TRUE(is_watched(process_.pid()));
  EXPECT_LT(capture("b", "a").memory_bytes * 2, full.memory_bytes);
  // The state says nothing of our watching it.
  const CheckpointReader reader = CheckpointReader::open(path("b"));
  for (const auto mapping : reader.state().getAddressSpaces()[0].getMappings()) {
    EXPECT_EQ(mapping.getUserFaults(), 0u);
  }
}

TEST_F(MemoryWatching, EndsWithTheObject) {
  {
    MemoryWatch watch;
    capture_process(process_.pid(), path("a"), with_base(""), watch);
    if (!watch.problem().empty()) {
      GTEST_SKIP() << watch.problem();
    }
    EXPECT_TRUE(is_watched(process_.pid()));
  }
  EXPECT_FALSE(is_watched(process_.pid()));
}

// Only the very file that was written counts: another one of its id, as somebody can make, is
// compared.
TEST_F(MemoryWatching, AnotherFileOfTheIdIsCompared) {
  const CaptureResult full = capture("a", "");
  const CheckpointReader reader = CheckpointReader::open(path("a"));
  write_file_atomically(path("copy"), false, [&](Output& output) {
    rewrite_checkpoint(reader, output, {.profile = Profile::kRaw, .threads = 1});
  });
  EXPECT_GT(capture("b", "copy").memory_bytes * 2, full.memory_bytes);
}

// What was written between two captures is not forgotten by a third that has the first as its base,
// nor by one that failed.
TEST_F(MemoryWatching, TheWrongBaseAndAFailureAreNoHarm) {
  capture("a", "");
  process_.live(30);
  capture("b", "a");
  process_.live(30);
  CaptureOptions options = with_base(path("b"));
  unsigned asked = 0;
  options.cancelled = [&] { return ++asked > 4; };
  EXPECT_THROW(capture_process(process_.pid(), path("c"), options, watch_), Error);
  process_.live(3);
  capture("d", "b");
  process_.live(30);
  capture("e", "a");
  process_.live(3);
  capture("f", "e");
}

// Somebody else captures it meanwhile, and sees nothing of our watching.
TEST_F(MemoryWatching, OtherCapturesAreNotDisturbed) {
  capture("a", "");
  process_.live(5);
  capture_process(process_.pid(), path("other"), with_base(""));
  expect_same_memory(path("other"), process_.pid());
  for (const auto mapping :
       CheckpointReader::open(path("other")).state().getAddressSpaces()[0].getMappings()) {
    EXPECT_EQ(mapping.getUserFaults(), 0u);
  }
  capture("b", "a");
}

// A program that has its memory write-protected itself keeps doing so, and is compared.
TEST(MemoryWatchOthers, AWatchOfTheProgramsOwnIsLeftAlone) {
  constexpr std::size_t kLength = 64 * kPage;
  OrderedProcess child([&] {
    forget_rseq();
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memset(memory, 1, kLength);
    const int faults = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1));
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = std::uint64_t{1} << 15; // asynchronous write protection
    uffdio_register registration{};
    registration.range = {reinterpret_cast<std::uintptr_t>(memory), kLength};
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    const bool registered = ::ioctl(faults, UFFDIO_API, &api) == 0 &&
                            ::ioctl(faults, UFFDIO_REGISTER, &registration) == 0;
    return [=, i = std::size_t{0}](unsigned order) mutable {
      if (order == 'p') { // our own protection: nothing counts as written any more
        uffdio_writeprotect protect{};
        protect.range = registration.range;
        protect.mode = UFFDIO_WRITEPROTECT_MODE_WP;
        ::ioctl(faults, UFFDIO_WRITEPROTECT, &protect);
      } else {
        memory[i * kPage] = static_cast<char>(2 + i);
      }
      ++i;
      return registered ? 'y' : 'n';
    };
  });
  const TempDir directory;
  MemoryWatch watch;
  std::string base;
  unsigned number = 0;
  for (const char order : {'w', 'p', 'w', 'p', 'w'}) {
    const std::string path = directory.file(std::to_string(++number) + ".pcp");
    child.await_idle();
    CaptureOptions options = with_base(base);
    options.inspect_only = true; // a userfaultfd is not carried
    capture_process(child.pid(), path, options, watch);
    ASSERT_NO_FATAL_FAILURE(expect_same_memory(path, child.pid()));
    base = path;
    if (child.order(static_cast<unsigned>(order)) == 'n') {
      break; // the kernel has none
    }
  }
}

// A program that writes one page after the other, round by round, fast or slowly, before, while and
// after it stands still: at every instant each page has the number of this round or of the last
// one, the earlier pages that of this one.
TEST(MemoryWatchOthers, AProgramAtWorkIsSeenAtOneInstant) {
  constexpr std::size_t kPages = 300;
  for (const unsigned pause : {0u, 30u, 500u}) { // microseconds between two pages
    auto* const memory = static_cast<std::uint64_t*>(::mmap(
        nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    std::memset(memory, 0, kPages * kPage);
    const ChildProcess child([&] {
      for (std::size_t i = 0;; ++i) {
        reinterpret_cast<volatile std::uint64_t*>(memory)[i % kPages * (kPage / 8)] =
            1 + i / kPages;
        if (i == 10) {
          ChildProcess::announce_ready();
        }
        if (pause != 0) {
          ::usleep(pause);
        }
      }
      return 0;
    });
    const TempDir directory;
    MemoryWatch watch;
    std::string base;
    for (unsigned number = 0; number < 8; ++number) {
      const std::string path = directory.file(std::to_string(number) + ".pcp");
      capture_process(child.pid(), path, with_base(base), watch);
      const CheckpointReader reader = CheckpointReader::open(path);
      MemoryView view(reader, 0);
      std::vector<std::uint64_t> found(kPages);
      for (std::size_t i = 0; i < kPages; ++i) {
        view.read(reinterpret_cast<std::uintptr_t>(memory) + i * kPage,
                  std::as_writable_bytes(std::span(&found[i], 1)));
      }
      EXPECT_TRUE(std::is_sorted(found.rbegin(), found.rend())) << path << ", pause " << pause;
      EXPECT_LE(found.front() - found.back(), 1u) << path << ", pause " << pause;
      base = path;
    }
    ::munmap(memory, kPages * kPage);
  }
}

// After execve(2) there is nothing that was watched; the process is the same one.
TEST(MemoryWatchOthers, AnotherProgramIsAnotherMemory) {
  std::array<int, 2> orders{};
  ASSERT_EQ(::pipe2(orders.data(), 0), 0);
  ChildProcess child([&] {
    forget_rseq();
    ::setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0", 1);
    ChildProcess::announce_ready();
    char order = 0;
    static_cast<void>(::read(orders[0], &order, 1) == 1);
    ::execl("/bin/sleep", "sleep", "1000", nullptr);
    return 1;
  });
  const TempDir directory;
  MemoryWatch watch;
  const std::string first = directory.file("a.pcp");
  capture_process(child.pid(), first, with_base(""), watch);
  ASSERT_EQ(::write(orders[1], "", 1), 1);
  const auto is_another = [&] {
    const std::vector<process::ProcMapping> mappings =
        process::read_mappings(child.pid()); // none for a moment
    return !mappings.empty() && mappings.front().name.find("sleep") != std::string::npos;
  };
  while (!is_another()) {
    ::usleep(1000);
  }
  while (!process::read_proc_file(process::proc_path(child.pid(), "syscall"))
              .starts_with("230 ")) { // clock_nanosleep
    ::usleep(1000);                   // the loader is at work
  }
  const std::string second = directory.file("b.pcp"), third = directory.file("c.pcp");
  capture_process(child.pid(), second, with_base(first), watch);
  expect_same_memory(second, child.pid());
  capture_process(child.pid(), third, with_base(second), watch);
  expect_same_memory(third, child.pid());
  ::close(orders[0]);
  ::close(orders[1]);
}

} // namespace
} // namespace rrpcp
