// A writer that dies or meets an error at any of its system calls harms nothing and leaves nothing.

#include "rrpcp/store.h"
#include "support/checkpoint_bytes.h"
#include "support/figure.h"
#include "support/syscall_fault.h"
#include "support/temp_dir.h"

#include <capnp/message.h>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <set>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace rrpcp {
namespace {

using test::Fault;
using test::FaultRun;
using test::SyscallEntry;
using test::TempDir;

// Publishes a checkpoint of some pages at `event`.
void publish(const Store& store, std::int64_t event) {
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  state.initPosition().initClone().setEvent(event);
  state.getPosition().setAtEvent();
  HeaderFields fields = header_fields(state.asReader());
  store.publish(fields, [&](Output& output) {
    CheckpointWriter writer(output, fields, {.profile = Profile::kFast, .threads = 1});
    std::vector<PageRun> runs;
    writer.append(test::sample_pages(200, static_cast<unsigned>(event)), runs);
    capnp::MallocMessageBuilder provenance;
    return writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
  });
}

bool is_temporary_file_open(const SyscallEntry& call) {
  return call.number == SYS_openat && (call.arguments[2] & O_TMPFILE) == O_TMPFILE;
}

// The calls that work on files; others (memory, threads, time) only die, they do not fail here.
bool is_file_call(const SyscallEntry& call) {
  static const std::set<long> kCalls = {SYS_write,     SYS_openat,   SYS_fdatasync, SYS_fsync,
                                        SYS_linkat,    SYS_renameat, SYS_unlinkat,  SYS_ftruncate,
                                        SYS_fallocate, SYS_close,    SYS_mkdir,     SYS_lseek,
                                        SYS_renameat2, SYS_flock,    SYS_newfstatat};
  return kCalls.contains(call.number);
}

class WriterFaults : public testing::TestWithParam<bool> {
protected:
  WriterFaults() : store_(dir_.path()) {
    publish(store_, 1);
    existing_ = store_.list().at(0).path;
    existing_bytes_ = test::read_file(existing_);
  }

  // True: the file system has no unnamed files, so that the writer uses private names.
  bool private_names() const { return GetParam(); }

  // Runs a writer of event 2; the `nth` call that `applies` meets `fault`. Counts the calls that
  // apply.
  FaultRun run(std::uint64_t nth, const std::function<bool(const SyscallEntry&)>& applies,
               Fault fault, std::uint64_t& applied) {
    applied = 0;
    return test::run_with_faults(
        [&] {
          try {
            publish(store_, 2);
            return 0;
          } catch (const Error& error) {
            return error.code() == ErrorCode::kInternal ? 2 : 1;
          }
        },
        [&](const SyscallEntry& call) -> Fault {
          if (applies(call) && applied++ == nth) {
            return fault;
          }
          if (private_names() && is_temporary_file_open(call)) {
            return {Fault::kFail, EOPNOTSUPP};
          }
          return {};
        });
  }

  // What everybody may rely on, whatever happened to a writer.
  void check_directory(const std::string& after, bool published) {
    EXPECT_EQ(test::read_file(existing_), existing_bytes_) << after;
    std::vector<StoreEntry> entries = store_.list();
    for (const StoreEntry& entry : entries) {
      ASSERT_FALSE(entry.problem) << after << ": " << entry.problem->what();
    }
    if (published) {
      EXPECT_EQ(entries.size(), 2u) << after;
    }
    // The next writer succeeds and cleans up.
    for (const StoreEntry& entry : entries) {
      if (entry.header.event == 2) {
        std::filesystem::remove(entry.path);
      }
    }
    publish(store_, 3);
    std::size_t files = 0;
    for (const auto& file : std::filesystem::directory_iterator(dir_.path())) {
      ++files;
      EXPECT_TRUE(file.path().string().ends_with(".pcp")) << after << ": " << file.path();
      if (file.path() != existing_) {
        std::filesystem::remove(file.path());
      }
    }
    EXPECT_EQ(files, 2u) << after;
  }

  // Lets every applicable call meet the fault in turn; returns how many there were.
  std::uint64_t sweep(const std::string& name,
                      const std::function<bool(const SyscallEntry&)>& applies, Fault fault,
                      bool must_succeed) {
    for (std::uint64_t nth = 0;; ++nth) {
      std::uint64_t applied = 0;
      FaultRun result = run(nth, applies, fault, applied);
      std::string after = name + " at call " + std::to_string(nth);
      if (fault.kind != Fault::kKill) {
        EXPECT_TRUE(WIFEXITED(result.status)) << after << ": status " << result.status;
        EXPECT_LE(WEXITSTATUS(result.status), must_succeed ? 0 : 1) << after;
      }
      check_directory(after, WIFEXITED(result.status) && WEXITSTATUS(result.status) == 0);
      if (applied <= nth || HasFatalFailure()) {
        EXPECT_EQ(result.status, 0) << after << ": an undisturbed run";
        test::print_figure("system calls of a writer met by: " + name, nth);
        return nth;
      }
    }
  }

  TempDir dir_;
  Store store_;
  std::string existing_;
  std::vector<std::byte> existing_bytes_;
};

TEST_P(WriterFaults, KilledAtEverySystemCall) {
  std::uint64_t calls = sweep(
      "killed", [](const SyscallEntry&) { return true; }, {Fault::kKill, 0}, false);
  EXPECT_GT(calls, 20u);
}

TEST_P(WriterFaults, EveryFileCallFailsWithNoSpace) {
  EXPECT_GT(sweep("ENOSPC", is_file_call, {Fault::kFail, ENOSPC}, false), 8u);
}

TEST_P(WriterFaults, EveryFileCallFailsWithInputOutputError) {
  EXPECT_GT(sweep("EIO", is_file_call, {Fault::kFail, EIO}, false), 8u);
}

TEST_P(WriterFaults, InterruptedWritesAndSyncsAreRepeated) {
  auto applies = [](const SyscallEntry& call) {
    return call.number == SYS_write || call.number == SYS_fdatasync;
  };
  EXPECT_GT(sweep("EINTR", applies, {Fault::kFail, EINTR}, true), 3u);
}

TEST_P(WriterFaults, ShortWritesAreContinued) {
  auto applies = [](const SyscallEntry& call) { return call.number == SYS_write; };
  EXPECT_GT(sweep("short write", applies, {Fault::kShortWrite, 0}, true), 3u);
}

INSTANTIATE_TEST_SUITE_P(FileSystems, WriterFaults, testing::Bool(), [](const auto& param) {
  return param.param ? "PrivateNames" : "UnnamedFiles";
});

} // namespace
} // namespace rrpcp
