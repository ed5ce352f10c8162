// pcp-restore: what it makes, what a user can meet, and what it says then.

#include "base/bytes.h"
#include "rrpcp/format.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"
#include "tools/process_tools.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::capture;
using test::CommandResult;
using test::restore;
using test::run_command;
using test::RunningCommand;
using test::SubjectProcess;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class RestoreTool : public testing::Test {
protected:
  RestoreTool() : file_(checkpoints_.file("subject.pcp")) {
    // What pcp-restore leaves behind becomes our child.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }

  // Captures a subject, which is then gone.
  void capture_subject(const std::string& kind, std::vector<std::string> options = {},
                       bool as_nobody = false) {
    {
      SubjectProcess subject(kind, dir_.path(), as_nobody);
      pid_ = subject.pid();
      const CommandResult result = capture(pid_, file_, std::move(options));
      ASSERT_EQ(result.code, 0) << result.err;
    }
    forget_copy();
  }

  // The copy that a capture reads is a child of whoever started the program; it has ended.
  static void forget_copy() {
    while (::waitpid(-1, nullptr, WNOHANG | __WALL) > 0) {
    }
  }

  // Nothing may be left of a restore that failed.
  void expect_refused(const CommandResult& result, int code, const std::string& words) const {
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_THAT(result.err, AllOf(StartsWith("pcp-restore: "), HasSubstr(words)));
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(pid_ != 0 && test::is_there(pid_));
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1) << "a process was left behind";
  }

  // The restored process, which stands still, comes to the end that it would have come to.
  void expect_good_end(pid_t pid, const std::string& kind) const {
    SubjectProcess::tell_to_go(dir_.path());
    ::kill(pid, SIGCONT);
    EXPECT_EQ(SubjectProcess::wait_for_end(pid), 0) << test::read_all(dir_.file("errors"));
    EXPECT_EQ(test::read_all(dir_.file("result")), SubjectProcess::undisturbed_result(kind));
  }

  // Waits until pcp-restore --run has let the process go.
  void wait_until_it_runs() const {
    const std::string exe = "/proc/" + std::to_string(pid_) + "/exe";
    std::error_code ignored;
    while (std::filesystem::read_symlink(exe, ignored).filename() != "process_subject" ||
           test::tracer_of(pid_) != 0) {
      ::usleep(1000);
    }
  }

  void forge(const std::function<void(schema::State::Builder)>& edit,
             const std::function<void(std::span<std::byte>)>& edit_header = {}) const {
    test::Forge forge(test::read_file(file_));
    forge.edit_header = edit_header;
    forge.change([&](schema::Manifest::Builder manifest) { edit(manifest.getState()); });
    test::write_file(file_, forge.assemble());
  }

  static std::string golden(const std::string& name) {
    return std::string(RRPCP_GOLDEN_DIR) + "/valid/" + name;
  }

  test::TempDir dir_;
  test::TempDir checkpoints_;
  const std::string file_;
  pid_t pid_ = 0;
};

// The second capture finds the sleep continued by restart_syscall(2), of which the restored process
// knows nothing.
TEST_F(RestoreTool, ASleepThatWasInterruptedBeforeGoesOn) {
  {
    SubjectProcess subject("sleeper", dir_.path());
    pid_ = subject.pid();
    for (int i = 0; i < 3; ++i) {
      const CommandResult result = capture(pid_, file_);
      ASSERT_EQ(result.code, 0) << result.err;
    }
  }
  forget_copy();
  const CommandResult result = restore(file_);
  ASSERT_EQ(result.code, 0) << result.err;
  expect_good_end(pid_, "sleeper");
}

TEST_F(RestoreTool, LeavesTheProcessStopped) {
  capture_subject("sleeper");
  const CommandResult result = restore(file_);
  ASSERT_EQ(result.code, 0) << result.err;
  const std::string pid = std::to_string(pid_);
  EXPECT_THAT(result.out, AllOf(StartsWith("process " + pid + " restored in "),
                                HasSubstr("gdb -p " + pid), HasSubstr("kill -CONT " + pid)));
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(test::read_all("/proc/" + pid + "/stat"), HasSubstr(") T "));
  EXPECT_EQ(::getsid(pid_), pid_);
  expect_good_end(pid_, "sleeper");
}

TEST_F(RestoreTool, SaysItAsJson) {
  capture_subject("threads");
  const CommandResult result = restore(file_, {"--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const auto document = nlohmann::json::parse(result.out);
  EXPECT_EQ(document["pid"], pid_);
  EXPECT_EQ(document["tids"].size(), 9u);
  EXPECT_EQ(document["tids"][0], pid_);
  EXPECT_GT(std::stoull(document["nanoseconds"].get<std::string>()), 0u);
  EXPECT_TRUE(document["warnings"].empty());
  expect_good_end(pid_, "threads");
}

TEST_F(RestoreTool, PrintsTheIdAlone) {
  capture_subject("sleeper", {"--profile", "raw"});
  const CommandResult result = restore(file_, {"--quiet"});
  EXPECT_EQ(result.out, std::to_string(pid_) + "\n");
  EXPECT_EQ(result.err, "");
  expect_good_end(pid_, "sleeper");
}

TEST_F(RestoreTool, RunEndsAsTheProgramEnds) {
  capture_subject("failing");
  RunningCommand tool({test::restore_tool(), "--run", file_});
  wait_until_it_runs();
  SubjectProcess::tell_to_go(dir_.path());
  const CommandResult result = tool.wait();
  EXPECT_EQ(result.code, 7) << result.err;
  EXPECT_EQ(result.out + result.err, "");
}

// Some of the threads may not have been let go yet when another one ends the program.
TEST_F(RestoreTool, RunEndsAsAProgramEndsThatEndsAtOnce) {
  capture_subject("crowd");
  SubjectProcess::tell_to_go(dir_.path());
  for (int i = 0; i < 20; ++i) {
    const CommandResult result = restore(file_, {"--run", "--quiet", "--allow", "changed-file"});
    EXPECT_EQ(result.code, 7) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(RestoreTool, RunPassesSignalsOnAndEndsByThem) {
  capture_subject("sleeper");
  RunningCommand tool({test::restore_tool(), "--run", file_});
  wait_until_it_runs();
  ::kill(tool.pid(), SIGTERM);
  const CommandResult result = tool.wait();
  EXPECT_EQ(result.signal, SIGTERM) << result.code << result.err;
  EXPECT_FALSE(test::is_there(pid_));
}

TEST_F(RestoreTool, RunThatFailsHasItsOwnCode) {
  expect_refused(restore(dir_.file("nothing.pcp"), {"--run"}), 125, "No such file");
  expect_refused(restore(golden("aarch64-live.pcp"), {"--run"}), 125, "AArch64");
  expect_refused(run_command({test::restore_tool(), "--run"}), 125, "missing argument: FILE");
}

TEST_F(RestoreTool, WrongUsage) {
  expect_refused(run_command({test::restore_tool()}), 2, "missing argument: FILE");
  expect_refused(restore(file_, {"--run", "--stopped"}), 125, "exclude each other");
  expect_refused(restore(file_, {"--allow", "new-id"}), 2,
                 "there is no 'new-id'; did you mean 'new-ids'?");
}

TEST_F(RestoreTool, NoCheckpoint) {
  expect_refused(restore(file_), 3, file_ + ": ");
  std::ofstream(file_) << "#!/bin/sh\necho this is something else entirely, but long enough to be "
                          "one of ours, which begin with a magic number of eight bytes\n"
                       << std::string(500, ' ');
  expect_refused(restore(file_), 8, "not a checkpoint");
}

TEST_F(RestoreTool, CutCheckpoint) {
  capture_subject("sleeper");
  std::filesystem::resize_file(file_, std::filesystem::file_size(file_) - 1);
  expect_refused(restore(file_), 8, "incomplete");
}

TEST_F(RestoreTool, DamagedManifest) {
  capture_subject("sleeper");
  std::vector<std::byte> bytes = test::read_file(file_);
  bytes[bytes.size() - 300] ^= std::byte{1};
  test::write_file(file_, bytes);
  expect_refused(restore(file_), 8, "digest");
}

TEST_F(RestoreTool, DamagedPages) {
  for (const char* profile : {"default", "raw"}) {
    capture_subject("single", {"--profile", profile});
    std::vector<std::byte> bytes = test::read_file(file_);
    bytes[4096 + 100'000] ^= std::byte{1};
    test::write_file(file_, bytes);
    expect_refused(restore(file_), 8, "chunk");
  }
}

TEST_F(RestoreTool, IdInUse) {
  SubjectProcess subject("sleeper", dir_.path());
  ASSERT_EQ(capture(subject.pid(), file_).code, 0);
  const std::string pid = std::to_string(subject.pid());
  const CommandResult refused = restore(file_);
  EXPECT_EQ(refused.code, 9);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("id " + pid + " is in use by process " + pid + " ("),
                                 HasSubstr("--allow new-ids")));
  const CommandResult result = restore(file_, {"--allow", "new-ids", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const auto document = nlohmann::json::parse(result.out);
  EXPECT_NE(document["pid"], subject.pid());
  EXPECT_THAT(document["warnings"].dump(), HasSubstr("instead of " + pid));
  subject.kill();
  expect_good_end(document["pid"], "sleeper");
}

TEST_F(RestoreTool, IdInUseByAProcessThatHasEnded) {
  SubjectProcess subject("sleeper", dir_.path());
  ASSERT_EQ(capture(subject.pid(), file_).code, 0);
  ::kill(subject.pid(), SIGKILL);
  while (test::read_all("/proc/" + std::to_string(subject.pid()) + "/stat").find(") Z ") ==
         std::string::npos) {
    ::usleep(1000);
  }
  const CommandResult refused = restore(file_);
  EXPECT_EQ(refused.code, 9);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("which has ended, but its parent, process " +
                                           std::to_string(::getpid())),
                                 testing::Not(HasSubstr("end that process"))));
}

// One of them is refused for what the other has, and not both.
TEST_F(RestoreTool, TwoAtOnceAreNotBothRefused) {
  capture_subject("shared");
  for (int i = 0; i < 5; ++i) {
    RunningCommand first({test::restore_tool(), file_, "--quiet"});
    RunningCommand second({test::restore_tool(), file_, "--quiet"});
    const int codes = first.wait().code + second.wait().code;
    EXPECT_TRUE(codes == 9 || codes == 6) << codes;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
}

TEST_F(RestoreTool, ChangedFile) {
  capture_subject("single"); // maps "data"
  const std::string data = test::read_all(dir_.file("data"));
  std::ofstream(dir_.file("data"), std::ios::binary) << "D" << data.substr(1);
  expect_refused(restore(file_), 7, dir_.file("data"));
  expect_refused(restore(file_, {"--no-verify"}), 7, dir_.file("data")); // the time differs too
  std::ofstream(dir_.file("data"), std::ios::binary) << data << "more";
  expect_refused(restore(file_), 7, "it has 40004 bytes instead of 40000");
  const CommandResult result = restore(file_, {"--allow", "changed-file"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("warning: "), HasSubstr(dir_.file("data"))));
  expect_good_end(pid_, "single");
}

TEST_F(RestoreTool, MissingFile) {
  capture_subject("single");
  std::filesystem::rename(dir_.file("data"), dir_.file("moved"));
  expect_refused(restore(file_), 7, dir_.file("data"));
  EXPECT_THAT(restore(file_).err, HasSubstr("No such file or directory"));
  std::filesystem::rename(dir_.file("moved"), dir_.file("data"));
  EXPECT_EQ(restore(file_).code, 0);
  expect_good_end(pid_, "single");
}

TEST_F(RestoreTool, EmbeddedFilesNeedNoFiles) {
  capture_subject("single", {"--embed-files"});
  const std::string data = test::read_all(dir_.file("data"));
  std::filesystem::remove(dir_.file("data"));
  // It is still open in the process.
  expect_refused(restore(file_), 7, "descriptor");
  std::ofstream(dir_.file("data"), std::ios::binary) << std::string(data.size(), 'x');
  EXPECT_EQ(restore(file_, {"--allow", "changed-file"}).code, 0);
  expect_good_end(pid_, "single");
}

TEST_F(RestoreTool, LockHeldBySomebodyElse) {
  capture_subject("files");
  const int data = ::open(dir_.file("data").c_str(), O_RDONLY | O_CLOEXEC);
  const int both = ::open(dir_.file("both").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(data, LOCK_EX), 0);
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_start = 120;
  range.l_len = 1;
  ASSERT_EQ(::fcntl(both, F_SETLK, &range), 0);
  expect_refused(restore(file_), 7, "is locked by process");
  EXPECT_THAT(restore(file_).err, HasSubstr("a range that it had locked is locked by process " +
                                            std::to_string(::getpid())));
  ::close(data);
  ::close(both);
  EXPECT_EQ(restore(file_).code, 0);
  expect_good_end(pid_, "files");
}

TEST_F(RestoreTool, OtherMachines) {
  for (const char* name : {"aarch64-live.pcp", "aarch64-16k-at-event.pcp"}) {
    expect_refused(restore(golden(name)), 6,
                   "is of a program for AArch64, and this machine is x86-64");
  }
  expect_refused(restore(golden("i386-at-event.pcp")), 6, "32-bit x86");
}

TEST_F(RestoreTool, CheckpointOfAReplay) {
  expect_refused(restore(golden("rr-step-retire.pcp")), 6, "not of a live process");
}

// What a later version knows of a process may be what confines it.
TEST_F(RestoreTool, StateOfALaterVersion) {
  capture_subject("sleeper");
  const auto later = [](std::span<std::byte> header) {
    store_le<std::uint16_t>(header, format::kHeaderMinor, 9);
  };
  for (const auto& [field, edit] :
       std::vector<std::pair<const char*, std::function<void(schema::State::Builder)>>>{
           {"seccompMode",
            [](auto state) { state.getTasks()[0].getAttributes().setSeccompMode(7); }},
           {"stopSignal", [](auto state) { state.getProcesses()[0].setStopSignal(63); }},
           {"securebits", [](auto state) {
              state.getProcesses()[0].getCredentials().setSecurebits(1u << 20);
            }}}) {
    const std::vector<std::byte> before = test::read_file(file_);
    forge(edit, later);
    EXPECT_EQ(run_command({test::validate_tool(), file_}).code, 0) << field;
    expect_refused(restore(file_), 6, field);
    EXPECT_THAT(restore(file_).err, HasSubstr("newer release")) << field;
    test::write_file(file_, before);
  }
}

TEST_F(RestoreTool, ProcessorWithoutARegister) {
  capture_subject("sleeper");
  forge([](schema::State::Builder state) {
    auto cpu = state.getCpu();
    constexpr std::uint8_t kNobodyHas = 40;
    cpu.setXsaveFeatures(cpu.getXsaveFeatures() | std::uint64_t{1} << kNobodyHas);
    auto old = cpu.disownXsaveLayout();
    const auto before = old.getReader();
    auto layout = cpu.initXsaveLayout(before.size() + 1);
    for (unsigned i = 0; i < before.size(); ++i) {
      layout.setWithCaveats(i, before[i]);
    }
    auto added = layout[before.size()];
    added.setNumber(kNobodyHas);
    added.setOffset(12288);
    added.setSize(64);
  });
  ASSERT_EQ(run_command({test::validate_tool(), file_}).code, 0);
  expect_refused(restore(file_), 6, "lacks registers that the process uses: ");
  EXPECT_THAT(restore(file_).err, HasSubstr("40"));
}

TEST_F(RestoreTool, ProcessorWithoutAnInstruction) {
  capture_subject("sleeper");
  forge([](schema::State::Builder state) {
    for (auto leaf : state.getCpu().getCpuid()) {
      if (leaf.getLeaf() == 7 && leaf.getSubleaf() == 0) {
        leaf.setEbx(0xffffffff); // no processor has all of it
        leaf.setEcx(0xffffffff);
        leaf.setEdx(0xffffffff);
      }
    }
  });
  expect_refused(restore(file_), 6, "lacks instructions that the process may use: ");
}

TEST_F(RestoreTool, WhatCannotBeCarriedIsRefusedOrReplaced) {
  capture_subject("outside", {"--allow", "socket,other-fd,terminal"});
  const CommandResult refused = restore(file_);
  expect_refused(refused, 6, "things stand in the way");
  EXPECT_THAT(refused.err, HasSubstr("--allow other-fd,socket,terminal"));
  const CommandResult result = restore(file_, {"--allow", "socket,other-fd", "--allow=terminal"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("warning: descriptor"));
  SubjectProcess::tell_to_go(dir_.path());
  ::kill(pid_, SIGCONT);
  EXPECT_EQ(SubjectProcess::wait_for_end(pid_), 0);
  EXPECT_EQ(test::read_all(dir_.file("result")), "outside\n"
                                                 "socket -1 Connection reset by peer then 0\n"
                                                 "listens 1\n"
                                                 "signals 0\n"
                                                 "removed 4 gone\n"
                                                 "terminal 0\n"
                                                 "done\n");
}

TEST_F(RestoreTool, OrdinaryUsers) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "only root can become another user";
  }
  std::filesystem::permissions(checkpoints_.path(), std::filesystem::perms::all);
  // A process of root's.
  capture_subject("sleeper");
  std::filesystem::permissions(file_, std::filesystem::perms::all);
  std::filesystem::permissions(dir_.path(), std::filesystem::perms::all);
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    std::filesystem::permissions(entry.path(), std::filesystem::perms::all);
  }
  const auto restore_as_nobody = [&](std::vector<std::string> options) {
    options.insert(options.begin(), {test::restore_tool(), file_});
    return run_command(test::as_nobody(options));
  };
  expect_refused(restore_as_nobody({"--allow", "new-ids"}), 4, "belonged to user 0");
  // The user's own.
  std::filesystem::remove(file_);
  {
    SubjectProcess subject("sleeper", dir_.path(), true);
    pid_ = subject.pid();
    const CommandResult result =
        run_command(test::as_nobody({test::capture_tool(), std::to_string(pid_), "-o", file_}));
    ASSERT_EQ(result.code, 0) << result.err;
  }
  forget_copy();
  expect_refused(restore_as_nobody({}), 4, "--allow new-ids");
  const CommandResult result = restore_as_nobody({"--allow", "new-ids", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  expect_good_end(nlohmann::json::parse(result.out)["pid"], "sleeper");
}

} // namespace
} // namespace rrpcp
