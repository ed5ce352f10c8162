// Whatever is killed, whenever: captures and restores that die at any of their system calls.

#include "process/kill_subject.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "process/remote_memory.h"
#include "process/restore/segment_keeper.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"
#include "support/figure.h"
#include "support/syscall_fault.h"
#include "support/temp_dir.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::Fault;
using test::FaultRun;
using test::SyscallEntry;
using test::TempDir;
using test::Watch;
using Clock = std::chrono::steady_clock;

// Which of a tool's system calls it is killed at: all of them with RRPCP_EVERY_CALL, one of
// `in_full` with RRPCP_ALL, else one of so many.
std::uint64_t stride(std::uint64_t in_full) {
  return std::getenv("RRPCP_EVERY_CALL") != nullptr ? 1
         : std::getenv("RRPCP_ALL") != nullptr      ? in_full
                                                    : 41;
}

// Waits until `reached()`, 20 seconds at most.
bool eventually(const std::function<bool()>& reached) {
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(20);
  while (!reached()) {
    if (Clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// The file in which a subject counts, mapped here too.
class WatchFile {
public:
  explicit WatchFile(const std::string& path) : path_(path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ::ftruncate(file, 4096) != 0) {
      throw std::runtime_error("cannot make " + path);
    }
    watch_ = static_cast<Watch*>(
        ::mmap(nullptr, sizeof(Watch), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ::close(file);
  }
  WatchFile(const WatchFile&) = delete;
  WatchFile& operator=(const WatchFile&) = delete;
  ~WatchFile() { ::munmap(watch_, sizeof(Watch)); }

  const std::string& path() const { return path_; }

  // Every thread gets on, and none has noticed anything.
  void expect_well(const std::string& after) {
    std::array<std::uint64_t, Watch::kThreads> before;
    for (unsigned i = 0; i < Watch::kThreads; ++i) {
      before[i] = __atomic_load_n(&watch_->rounds[i], __ATOMIC_SEQ_CST);
    }
    for (unsigned i = 0; i < Watch::kThreads; ++i) {
      EXPECT_TRUE(eventually([&] {
        return __atomic_load_n(&watch_->rounds[i], __ATOMIC_SEQ_CST) > before[i] + 1;
      })) << after
          << ": thread " << i << " does not get on";
    }
    EXPECT_EQ(__atomic_load_n(&watch_->errors, __ATOMIC_SEQ_CST), 0u)
        << after << ": error " << watch_->code;
  }

private:
  std::string path_;
  Watch* watch_;
};

class Subject {
public:
  // With a `mode`, the other kind of kill_subject.cc.
  explicit Subject(WatchFile& watch, const char* mode = nullptr) : watch_(watch), pid_(::fork()) {
    if (pid_ == 0) {
      const int null = ::open("/dev/null", O_RDWR);
      for (int fd : {0, 1, 2}) {
        ::dup2(null, fd);
      }
      ::syscall(SYS_close_range, 3, ~0u, 0);
      ::execl(RRPCP_KILL_SUBJECT, RRPCP_KILL_SUBJECT, watch.path().c_str(), mode, nullptr);
      ::_exit(127);
    }
    watch_.expect_well("start");
    const std::vector<process::ProcMapping> mappings = process::read_mappings(pid_);
    mappings_ = describe(mappings);
    vdso_ = vdso(mappings);
  }
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  ~Subject() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }

  // Nothing was left in the process, and it gets on.
  void expect_unharmed(const std::string& after) {
    watch_.expect_well(after);
    const std::vector<process::ProcMapping> mappings = process::read_mappings(pid_);
    EXPECT_EQ(describe(mappings), mappings_) << after;
    EXPECT_EQ(vdso(mappings), vdso_) << after << ": the vDSO has changed";
    EXPECT_TRUE(eventually([&] { return !has_zombie(); })) << after << ": a child stays";
  }

private:
  // What a program itself may let grow is left out.
  static std::string describe(const std::vector<process::ProcMapping>& mappings) {
    std::string text;
    for (const process::ProcMapping& mapping : mappings) {
      if (mapping.name != "[heap]" && mapping.name != "[stack]") {
        text += std::to_string(mapping.start) + "-" + std::to_string(mapping.end) + " " +
                std::to_string(mapping.protection) + " " + mapping.name + "\n";
      }
    }
    return text;
  }

  std::vector<std::byte> vdso(const std::vector<process::ProcMapping>& mappings) const {
    for (const process::ProcMapping& mapping : mappings) {
      if (mapping.name == "[vdso]") {
        std::vector<std::byte> bytes(mapping.length());
        process::RemoteMemory(pid_).read(mapping.start, bytes);
        return bytes;
      }
    }
    return {};
  }

  // A child of the subject's own is waited for at once.
  bool has_zombie() const {
    for (pid_t child : process::read_children(pid_)) {
      std::optional<process::ProcStatus> status = process::ProcStatus::try_read(child, child);
      if (status && status->state == 'Z') {
        return true;
      }
    }
    return false;
  }

  WatchFile& watch_;
  pid_t pid_;
  std::string mappings_;
  std::vector<std::byte> vdso_;
};

CaptureOptions capture_options() {
  CaptureOptions options;
  options.profile = Profile::kFast;
  options.threads = 1;
  options.allow = {"children"};
  return options;
}

// A capture that is killed at the `nth` of the calls that count.
FaultRun killed_capture(pid_t pid, const std::string& path, std::uint64_t nth, bool ptrace_only,
                        std::uint64_t& counted) {
  counted = 0;
  return test::run_with_faults(
      [&] {
        capture_process(pid, path, capture_options());
        return 0;
      },
      [&](const SyscallEntry& call) -> Fault {
        if (ptrace_only && call.number != SYS_ptrace) {
          return {};
        }
        return counted++ == nth ? Fault{Fault::kKill} : Fault{};
      });
}

TEST(Kill, CaptureDoesNoHarmWhereverItIsKilled) {
  TempDir dir;
  WatchFile watch(dir.file("watch"));
  Subject subject(watch);
  const std::uint64_t mappings =
      capture_process(subject.pid(), dir.file("before.pcp"), capture_options()).mappings;
  std::uint64_t kills = 0;
  for (std::uint64_t nth = 0;; nth += stride(6)) {
    std::uint64_t counted = 0;
    const FaultRun run = killed_capture(subject.pid(), dir.file("killed.pcp"), nth, false, counted);
    subject.expect_unharmed("a capture killed at call " + std::to_string(nth));
    if (counted <= nth || HasFailure()) {
      EXPECT_EQ(run.status, 0);
      break;
    }
    ++kills;
  }
  EXPECT_EQ(capture_process(subject.pid(), dir.file("after.pcp"), capture_options()).mappings,
            mappings);
  subject.expect_unharmed("the last capture");
  test::print_figure("instants at which a capture was killed", kills);
}

// Captures that follow each other so closely that one finds the threads where the death of the last
// has left them, in the middle of going on.
TEST(Kill, CapturesOneAfterTheOtherDoNoHarm) {
  TempDir dir;
  WatchFile watch(dir.file("watch"));
  Subject subject(watch, "calls");
  const int kills = std::getenv("RRPCP_ALL") != nullptr ? 1500 : 60;
  std::mt19937_64 random(1);
  for (int i = 0; i < kills; ++i) {
    const pid_t tool = ::fork();
    if (tool == 0) {
      if (i % 2 == 0) { // where threads that go on have to wait for it
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(::sched_getcpu(), &one);
        ::sched_setaffinity(0, sizeof one, &one);
      }
      try {
        capture_process(subject.pid(), dir.file("killed.pcp"), capture_options());
      } catch (const Error&) {
        ::_exit(1); // the subject has ended, which is found out below
      }
      ::_exit(0);
    }
    // Seldom traced for longer than this.
    const std::chrono::microseconds delay(random() % 4000);
    const Clock::time_point start = Clock::now();
    while (process::ProcStatus::read(subject.pid(), subject.pid()).tracer == 0 &&
           Clock::now() - start < std::chrono::milliseconds(50)) {
    }
    const Clock::time_point end = Clock::now() + delay;
    while (Clock::now() < end) {
    }
    ::kill(tool, SIGKILL);
    ::waitpid(tool, nullptr, 0);
  }
  subject.expect_unharmed("captures that were killed");
  capture_process(subject.pid(), dir.file("after.pcp"), capture_options());
  subject.expect_unharmed("the last capture");
  test::print_figure("captures that were killed one after the other", kills);
}

// The threads of a stopped process do not put themselves right before it goes on.
TEST(Kill, CaptureOfAStoppedProcessIsPutRightByTheNextOne) {
  TempDir dir;
  WatchFile watch(dir.file("watch"));
  Subject subject(watch);
  for (std::uint64_t nth = 0;; nth += stride(6)) {
    ::kill(subject.pid(), SIGSTOP);
    ASSERT_TRUE(eventually([&] { // also while a child is being made
      return process::ProcStatus::read(subject.pid(), subject.pid()).state == 'T';
    }));
    std::uint64_t counted = 0;
    killed_capture(subject.pid(), dir.file("killed.pcp"), nth, true, counted);
    const std::string after = "a capture killed at its ptrace call " + std::to_string(nth);
    ASSERT_TRUE(eventually([&] {
      return process::ProcStatus::read(subject.pid(), subject.pid()).state == 'T';
    })) << after;
    capture_process(subject.pid(), dir.file("next.pcp"), capture_options());
    EXPECT_EQ(process::ProcStatus::read(subject.pid(), subject.pid()).state, 'T') << after;
    ::kill(subject.pid(), SIGCONT);
    subject.expect_unharmed(after);
    if (counted <= nth || HasFailure()) {
      break;
    }
  }
}

// System V segments of a restore.
TEST(Kill, SegmentsGoWithWhoMadeThem) {
  const auto key = static_cast<key_t>(0x52000000 + ::getpid() % 0xffffff);
  auto exists = [&] { return ::shmget(key, 0, 0) >= 0; };
  for (bool keep : {false, true}) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t maker = ::fork();
    if (maker == 0) {
      process::restore::SegmentKeeper keeper;
      if (keeper.make(key, 4096, 0600, 0) >= 0 && keep) {
        keeper.keep();
      }
      ::close(ready[0]);
      ::close(ready[1]);
      for (;;) {
        ::pause();
      }
    }
    ::close(ready[1]);
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 0);
    ::close(ready[0]);
    EXPECT_TRUE(exists());
    ::kill(maker, SIGKILL);
    ::waitpid(maker, nullptr, 0);
    if (keep) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      EXPECT_TRUE(exists());
      ::shmctl(::shmget(key, 0, 0), IPC_RMID, nullptr);
    } else {
      EXPECT_TRUE(eventually([&] { return !exists(); }));
    }
  }
}

TEST(Kill, GivingUpIsNoHarmEither) {
  TempDir dir;
  WatchFile watch(dir.file("watch"));
  Subject subject(watch);
  for (int asked_at = 1; asked_at < 6; ++asked_at) {
    CaptureOptions options = capture_options();
    int asked = 0;
    options.cancelled = [&] { return ++asked >= asked_at; };
    try {
      capture_process(subject.pid(), dir.file("cancelled.pcp"), options);
      FAIL() << "it was not given up";
    } catch (const Error& error) {
      EXPECT_EQ(error.errno_value(), ECANCELED) << error.what();
    }
    EXPECT_NE(::access(dir.file("cancelled.pcp").c_str(), F_OK), 0);
    subject.expect_unharmed("a capture that was given up");
  }
}

// The descendants of this process that nobody else waits for become its own.
// The subject makes a child again and again. Restored while it had one, it would wait for a child
// that is not there.
bool captured_between_children(pid_t pid, const std::string& path) {
  CaptureOptions options = capture_options();
  options.allow.erase("children");
  return eventually([&] {
    try {
      capture_process(pid, path, options);
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnsupportedState) {
        throw;
      }
      return false;
    }
  });
}

TEST(Kill, RestoreLeavesNothingWhereverItIsKilled) {
  TempDir dir;
  WatchFile watch(dir.file("watch"));
  {
    Subject subject(watch);
    ASSERT_TRUE(captured_between_children(subject.pid(), dir.file("a.pcp")));
  }
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  std::uint64_t kills = 0;
  for (std::uint64_t nth = 0;; nth += stride(1)) {
    std::uint64_t counted = 0;
    const FaultRun run = test::run_with_faults(
        [&] {
          const CheckpointReader reader = CheckpointReader::open(dir.file("a.pcp"));
          RestoreOptions options;
          options.allow = {"new-ids", "changed-file", "pipe"};
          options.outlives_restorer = true;
          options.threads = 1;
          RestoredProcess process = restore_process(reader, options);
          process.detach_running();
          return 0;
        },
        [&](const SyscallEntry&) -> Fault {
          return counted++ == nth ? Fault{Fault::kKill} : Fault{};
        });
    const std::string after = "a restore killed at call " + std::to_string(nth);
    // What is left is gone, or runs as it should.
    const Clock::time_point deadline = Clock::now() + std::chrono::seconds(2);
    pid_t left = 0;
    while ((left = ::waitpid(-1, nullptr, WNOHANG | __WALL)) >= 0 && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (left == 0) {
      watch.expect_well(after);
      for (pid_t child : process::read_children(::getpid())) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, __WALL);
      }
    }
    if (counted <= nth || HasFailure()) {
      EXPECT_EQ(run.status, 0);
      EXPECT_EQ(left, 0) << "nothing was restored";
      break;
    }
    ++kills;
  }
  ::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  test::print_figure("instants at which a restore was killed", kills);
}

} // namespace
} // namespace rrpcp
