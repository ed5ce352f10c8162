// An upgrade or a conversion that dies, or meets a full disk, at any call that changes a file loses
// nothing, and the next run completes it.

#include "compat/golden.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/validate.h"
#include "support/syscall_fault.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::FaultRun;
using test::SyscallEntry;

// The runs sync some thousand times, which takes minutes on a busy disk: they work in memory where
// the system has a directory there and nobody asked for another one.
const int kInMemory = ::access("/dev/shm", W_OK) == 0 ? ::setenv("TMPDIR", "/dev/shm", 0) : 0;

// The calls that change files, so that dying between two of them is dying at the second one. Of
// each kind, which there may be one of per page file, the first ones and then every 25th.
class Changes {
public:
  bool is_one(const SyscallEntry& call) {
    static const std::set<long> kCalls = {
        SYS_write,  SYS_pwrite64, SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync,
        SYS_linkat, SYS_rename,   SYS_renameat,  SYS_renameat2, SYS_mkdir, SYS_mkdirat,
        SYS_rmdir,  SYS_unlink,   SYS_unlinkat,  SYS_fchmod,    SYS_openat};
    if (!kCalls.contains(call.number)) {
      return false;
    }
    const std::uint64_t flags = call.arguments[2];
    if (call.number == SYS_openat && (flags & O_CREAT) == 0 && (flags & O_TMPFILE) != O_TMPFILE) {
      return false;
    }
    if (call.number == SYS_write && call.arguments[0] <= 2) {
      return false; // what is said
    }
    const std::uint64_t number = numbers_[call.number]++;
    return number < 3 || number % 25 == 0;
  }

private:
  std::map<long, std::uint64_t> numbers_;
};

// Runs `work` once for every such call, which meets `fault`. `prepare` makes the world as it was
// before each run, and `check` looks at it afterwards. Returns how many calls there were.
std::uint64_t sweep(Fault fault, const std::function<void()>& prepare,
                    const std::function<int()>& work,
                    const std::function<void(const std::string& when)>& check) {
  for (std::uint64_t nth = 0;; ++nth) {
    prepare();
    Changes changes;
    std::uint64_t seen = 0;
    const FaultRun run = test::run_with_faults(work, [&](const SyscallEntry& call) -> Fault {
      return changes.is_one(call) && seen++ == nth ? fault : Fault{};
    });
    const std::string when = "call " + std::to_string(nth);
    if (fault.kind == Fault::kFail) {
      EXPECT_TRUE(WIFEXITED(run.status)) << when << ": status " << run.status;
    }
    check(when);
    if (seen <= nth) {
      EXPECT_EQ(run.status, 0) << "an undisturbed run";
      return nth;
    }
    if (testing::Test::HasFailure()) {
      return 0;
    }
  }
}

class Upgrade : public testing::TestWithParam<const char*> {
protected:
  Upgrade() : golden_(GetParam()), trace_(golden_.file("trace")) {}

  void prepare() const {
    fs::remove_all(trace_);
    fs::copy(golden_.trace(), trace_, fs::copy_options::recursive);
  }

  // Becomes the command.
  int run_tool() const {
    ::execl(RRPCP_UPGRADE, "pcp-upgrade", "--quiet", "--in-place", "--remove-old", trace_.c_str(),
            nullptr);
    return 127;
  }

  // Events of the checkpoints that are whole, as rr has them or as files of this format. A file
  // that is not whole is a failure.
  std::set<std::int64_t> whole(const std::string& when) const {
    std::set<std::int64_t> events;
    const LegacyTrace trace = LegacyTrace::open(trace_);
    for (const LegacyEntry& entry : trace.entries()) {
      if (!entry.problem && trace.load(entry).importable()) {
        events.insert(entry.event);
      }
    }
    std::error_code none;
    for (const auto& file : fs::directory_iterator(trace_ + "/pcp", none)) {
      if (file.path().extension() == ".pcp") {
        EXPECT_TRUE(validate_file(file.path(), {.threads = 1}).valid()) << when;
        events.insert(CheckpointReader::open(file.path()).header().event);
      }
    }
    return events;
  }

  void check(const std::string& when) const {
    const std::set<std::int64_t> both = {840, 1680};
    EXPECT_EQ(whole(when), both) << when;
    // The next run completes it and leaves nothing of the old form, nor of the broken run.
    EXPECT_EQ(
        std::system((RRPCP_UPGRADE " --quiet --in-place --remove-old '" + trace_ + "'").c_str()), 0)
        << when;
    EXPECT_EQ(whole(when), both) << when;
    for (const auto& file : fs::directory_iterator(trace_)) {
      const std::string name = file.path().filename();
      EXPECT_FALSE(name.starts_with("checkpoint") || name.starts_with(".")) << when << ": " << name;
    }
    std::size_t files = 0;
    for (const auto& file : fs::directory_iterator(trace_ + "/pcp")) {
      ++files;
      EXPECT_EQ(file.path().extension(), ".pcp") << when << ": " << file.path();
    }
    EXPECT_EQ(files, 2u) << when;
  }

  test::Golden golden_;
  std::string trace_;
};

TEST_P(Upgrade, KilledAtEveryChange) {
  ASSERT_EQ(kInMemory, 0);
  EXPECT_GT(sweep(
                {Fault::kKill, 0}, [&] { prepare(); }, [&] { return run_tool(); },
                [&](const std::string& when) { check(when); }),
            20u);
}

TEST_P(Upgrade, EveryChangeMeetsAFullDisk) {
  EXPECT_GT(sweep(
                {Fault::kFail, ENOSPC}, [&] { prepare(); }, [&] { return run_tool(); },
                [&](const std::string& when) { check(when); }),
            20u);
}

INSTANTIATE_TEST_SUITE_P(Generations, Upgrade,
                         testing::Values("rr-2022/tiny_ticks", "rr-2024/tiny_ticks",
                                         "rr-2025/tiny_ticks"),
                         [](const testing::TestParamInfo<const char*>& golden) {
                           return std::string(golden.param).substr(3, 4);
                         });

class Conversion : public testing::Test {
protected:
  Conversion()
      : legacy_(LegacyTrace::open(golden_.trace())),
        imported_(
            test::import_to(legacy_.load(test::entry_at(legacy_, 840)), golden_.file("c.pcp"))) {}

  void prepare() const {
    fs::remove_all(copy_);
    fs::copy(golden_.trace(), copy_, fs::copy_options::recursive);
    test::remove_checkpoints(copy_);
  }

  int convert() const {
    try {
      export_rr2025(imported_, copy_);
      return 0;
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInternal ? 2 : 1;
    }
  }

  void check(const std::string& when) const {
    const LegacyTrace trace = LegacyTrace::open(copy_);
    EXPECT_TRUE(trace.findings().empty()) << when;
    for (const LegacyEntry& entry : trace.entries()) {
      ASSERT_FALSE(entry.problem) << when;
      EXPECT_TRUE(trace.load(entry).importable()) << when;
    }
    fs::remove_all(copy_ + "/checkpoint-840");
    export_rr2025(imported_, copy_);
    for (const auto& file : fs::directory_iterator(copy_)) {
      EXPECT_FALSE(file.path().filename().string().starts_with(".")) << when << ": " << file.path();
    }
  }

  test::Golden golden_{"rr-2025/tiny_ticks"};
  LegacyTrace legacy_;
  CheckpointReader imported_;
  std::string copy_ = golden_.file("copy");
};

TEST_F(Conversion, KilledAtEveryChange) {
  EXPECT_GT(sweep(
                {Fault::kKill, 0}, [&] { prepare(); }, [&] { return convert(); },
                [&](const std::string& when) { check(when); }),
            20u);
}

} // namespace
} // namespace rrpcp
