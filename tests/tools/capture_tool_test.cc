// pcp-capture: what a user can meet, what it says then, and that the process comes to no harm.

#include "rrpcp/process/capture.h"
#include "support/figure.h"
#include "tools/process_tools.h"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::capture;
using test::CommandResult;
using test::expect_unharmed;
using test::run_command;
using test::RunningCommand;
using test::SubjectProcess;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

bool is_root() {
  return ::geteuid() == 0;
}

class CaptureTool : public testing::Test {
protected:
  CaptureTool() : file_(checkpoints_.file("subject.pcp")) {}

  bool written() const { return std::filesystem::exists(file_); }
  // Nothing else is left beside it either.
  std::size_t files_left() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(checkpoints_.path())) {
      count += entry.exists() ? 1 : 0;
    }
    return count;
  }

  void expect_refused(const CommandResult& result, int code, const char* words) const {
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_THAT(result.err, AllOf(StartsWith("pcp-capture: "), HasSubstr(words)));
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(files_left(), 0u);
  }

  // The words depend on what it was looked at for when it ended.
  void expect_gone(const CommandResult& result) const {
    expect_refused(result, 3, "process");
    EXPECT_THAT(result.err, testing::AnyOf(HasSubstr("ended meanwhile"), HasSubstr("has ended"),
                                           HasSubstr("there is no process")));
  }

  test::TempDir dir_;
  test::TempDir checkpoints_;
  const std::string file_;
};

TEST_F(CaptureTool, SaysWhatItDid) {
  SubjectProcess subject("sleeper", dir_.path());
  const CommandResult result = capture(subject.pid(), file_);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out,
              AllOf(StartsWith(file_ + ": process " + std::to_string(subject.pid())),
                    HasSubstr("1 thread"), HasSubstr("it stood still for"), HasSubstr("  id ")));
  EXPECT_EQ(run_command({test::validate_tool(), file_}).code, 0);
  EXPECT_EQ(files_left(), 1u);
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, SaysItAsJson) {
  SubjectProcess subject("sleeper", dir_.path());
  const CommandResult result = capture(subject.pid(), file_, {"--json", "--profile", "raw"});
  ASSERT_EQ(result.code, 0) << result.err;
  const auto document = nlohmann::json::parse(result.out);
  const auto number = [&](const char* key) {
    return std::stoull(document[key].get<std::string>());
  };
  EXPECT_EQ(document["file"], file_);
  EXPECT_EQ(document["tasks"], "1");
  EXPECT_EQ(document["fileBytes"], std::to_string(std::filesystem::file_size(file_)));
  EXPECT_GT(number("mappings"), 5u);
  EXPECT_GT(number("memoryBytes"), 0u);
  EXPECT_GT(number("frozenNanoseconds"), 0u);
  EXPECT_GE(number("totalNanoseconds"), number("frozenNanoseconds"));
  EXPECT_TRUE(document["warnings"].empty());
  EXPECT_EQ(std::string(document["id"]).size(), 32u);
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, MakesASeries) {
  SubjectProcess subject("sleeper", dir_.path());
  const std::string series = checkpoints_.file("series");
  const CommandResult result =
      capture(subject.pid(), series, {"--every", "0", "--count", "3", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  std::istringstream documents(result.out);
  for (const char* name : {"00000001.pcp", "00000002.pcp", "00000003.pcp"}) {
    nlohmann::json document;
    documents >> document;
    EXPECT_EQ(document["file"], series + "/" + name);
    EXPECT_EQ(document["bases"] == "0", std::string(name) == "00000001.pcp");
    EXPECT_EQ(run_command({test::validate_tool(), series + "/" + name}).code, 0);
  }
  // The next one goes on behind them.
  EXPECT_EQ(capture(subject.pid(), series, {"--every", "0", "--count", "1"}).code, 0);
  EXPECT_TRUE(std::filesystem::exists(series + "/00000004.pcp"));
  EXPECT_EQ(capture(subject.pid(), series, {"--count", "3"}).code, 2);
  EXPECT_EQ(capture(subject.pid(), series, {"--every", "1", "--kill"}).code, 2);
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, ErrorsAreJsonToo) {
  const CommandResult result = capture(0x3fffff, file_, {"--json"});
  EXPECT_EQ(result.code, 3);
  EXPECT_EQ(nlohmann::json::parse(result.out)["error"]["code"], "not-found");
}

TEST_F(CaptureTool, IsQuietWhereAsked) {
  SubjectProcess subject("sleeper", dir_.path());
  const CommandResult result = capture(subject.pid(), file_, {"--quiet"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out + result.err, "");
  EXPECT_TRUE(written());
}

TEST_F(CaptureTool, KillsWhereAsked) {
  SubjectProcess subject("sleeper", dir_.path());
  const CommandResult result = capture(subject.pid(), file_, {"--kill"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("and killed"));
  int status = 0;
  ASSERT_EQ(::waitpid(subject.pid(), &status, 0), subject.pid());
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST_F(CaptureTool, StoppedProcessStaysStopped) {
  SubjectProcess subject("sleeper", dir_.path());
  subject.stop();
  EXPECT_EQ(capture(subject.pid(), file_).code, 0);
  EXPECT_THAT(test::read_all("/proc/" + std::to_string(subject.pid()) + "/stat"),
              HasSubstr(") T "));
  ::kill(subject.pid(), SIGCONT);
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, WrongUsage) {
  expect_refused(run_command({test::capture_tool()}), 2, "missing argument: PID");
  expect_refused(run_command({test::capture_tool(), "1"}), 2, "missing option: -o FILE");
  expect_refused(run_command({test::capture_tool(), "one", "-o", file_}), 2, "PID");
  expect_refused(capture(1, file_, {"--profile", "tiny"}), 2, "tiny");
  expect_refused(capture(1, file_, {"--allow", "terminal,sokcet"}), 2,
                 "there is no 'sokcet'; did you mean 'socket'?");
  expect_refused(capture(1, file_, {"--no-such-option"}), 2, "no-such-option");
}

TEST_F(CaptureTool, HelpHasEveryNameThatCanBeAllowed) {
  const std::set<std::string> only_when_restored = {"changed-file", "new-ids", "segment"};
  const std::set<std::string> only_when_captured = {"children", "posix-timer"};
  const std::string of_capture = run_command({test::capture_tool(), "--help"}).out;
  const std::string of_restore = run_command({test::restore_tool(), "--help"}).out;
  for (const std::string& name : allowable_names()) {
    const std::string line = "\n  " + name + " ";
    if (!only_when_restored.contains(name)) {
      EXPECT_THAT(of_capture, HasSubstr(line));
    }
    if (!only_when_captured.contains(name)) {
      EXPECT_THAT(of_restore, HasSubstr(line));
    }
  }
}

TEST_F(CaptureTool, NoSuchProcess) {
  SubjectProcess subject("sleeper", dir_.path());
  const pid_t pid = subject.pid();
  subject.kill();
  expect_refused(capture(pid, file_), 3, "there is no process");
}

TEST_F(CaptureTool, ThreadInsteadOfProcess) {
  SubjectProcess subject("threads", dir_.path());
  pid_t thread = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(subject.pid()) + "/task")) {
    thread = std::max(thread, std::stoi(entry.path().filename().string()));
  }
  expect_refused(capture(thread, file_), 3, "a thread of process");
  expect_unharmed(subject, "threads");
}

TEST_F(CaptureTool, EndedProcessThatNobodyAskedFor) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::_exit(0);
  }
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  expect_refused(capture(pid, file_), 3, "has ended; its parent");
  ::waitpid(pid, nullptr, 0);
}

TEST_F(CaptureTool, NoPermission) {
  if (!is_root()) {
    GTEST_SKIP() << "only root can become another user";
  }
  std::filesystem::permissions(checkpoints_.path(), std::filesystem::perms::all);
  SubjectProcess subject("sleeper", dir_.path());
  expect_refused(run_command(test::as_nobody(
                     {test::capture_tool(), std::to_string(subject.pid()), "-o", file_})),
                 4, "ermission");
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, TracedByStraceAlready) {
  SubjectProcess subject("sleeper", dir_.path());
  RunningCommand strace(
      {"/usr/bin/strace", "-o", "/dev/null", "-p", std::to_string(subject.pid())});
  test::wait_until_traced(subject.pid());
  expect_refused(capture(subject.pid(), file_), 4,
                 ("is traced by process " + std::to_string(strace.pid())).c_str());
  EXPECT_EQ(test::tracer_of(subject.pid()), strace.pid());
  ::kill(strace.pid(), SIGINT);
  strace.wait();
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, TracedByGdbAlready) {
  SubjectProcess subject("sleeper", dir_.path());
  RunningCommand gdb({"/usr/bin/gdb", "-nx", "-batch", "-p", std::to_string(subject.pid()), "-ex",
                      "shell while ! [ -e " + dir_.file("enough") + " ]; do sleep 0.01; done"});
  test::wait_until_traced(subject.pid());
  expect_refused(capture(subject.pid(), file_), 4, "detach that debugger or tracer first");
  std::filesystem::copy_file(dir_.file("ready"), dir_.file("enough"));
  gdb.wait();
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, ProcessIsKilledWhileItStandsStill) {
  SubjectProcess subject("gigabyte", dir_.path());
  RunningCommand tool({test::capture_tool(), std::to_string(subject.pid()), "-o", file_,
                       "--profile", "small", "--kill"});
  test::wait_until_traced(subject.pid());
  subject.kill();
  expect_gone(tool.wait());
}

// Once its copy is there, the process itself is not needed any more.
TEST_F(CaptureTool, ProcessIsKilledAfterItsCopyWasMade) {
  SubjectProcess subject("gigabyte", dir_.path());
  RunningCommand tool(
      {test::capture_tool(), std::to_string(subject.pid()), "-o", file_, "--profile", "raw"});
  test::wait_until_traced(subject.pid());
  while (test::tracer_of(subject.pid()) == tool.pid()) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  subject.kill();
  const CommandResult result = tool.wait();
  if (result.code == 0) {
    EXPECT_EQ(run_command({test::validate_tool(), "--level", "checksums", file_}).code, 0);
  } else { // it was killed while the copy was just being made
    expect_gone(result);
  }
}

TEST_F(CaptureTool, FileSizeLimit) {
  SubjectProcess subject("sleeper", dir_.path());
  expect_refused(run_command({"/usr/bin/prlimit", "--fsize=20000", test::capture_tool(),
                              std::to_string(subject.pid()), "-o", file_}),
                 5, "File too large");
  expect_unharmed(subject, "sleeper");
}

TEST_F(CaptureTool, FullDisk) {
  const std::string small = dir_.file("small");
  std::filesystem::create_directory(small);
  const std::string mount = "mount -t tmpfs -o size=16k none " + small;
  if (run_command({"/usr/bin/unshare", "-m", "/bin/sh", "-c", mount}).code != 0) {
    GTEST_SKIP() << "no permission to mount a small file system";
  }
  for (const char* profile : {"raw", "small"}) {
    SubjectProcess subject("sleeper", dir_.path());
    expect_refused(
        run_command({"/usr/bin/unshare", "-m", "/bin/sh", "-c",
                     mount + " && " + test::capture_tool() + " " + std::to_string(subject.pid()) +
                         " -o " + small + "/x.pcp --allow namespaces --profile " + profile +
                         "; code=$?; [ -z \"$(ls -A " + small + ")\" ] && exit $code"}),
        5, "No space left on device");
    expect_unharmed(subject, "sleeper");
  }
}

TEST_F(CaptureTool, OutputCannotBeMade) {
  SubjectProcess subject("sleeper", dir_.path());
  expect_refused(capture(subject.pid(), checkpoints_.file("nowhere/x.pcp")), 3,
                 "No such file or directory");
  expect_refused(capture(subject.pid(), "/dev/full"), 2, "/dev/full");
  expect_refused(capture(subject.pid(), dir_.path()), 2, dir_.path().c_str());
  expect_unharmed(subject, "sleeper");
}

// An existing file is only ever replaced by a whole one.
TEST_F(CaptureTool, FailureKeepsTheOlderFile) {
  SubjectProcess subject("sleeper", dir_.path());
  ASSERT_EQ(capture(subject.pid(), file_).code, 0);
  const std::string before = test::read_all(file_);
  EXPECT_EQ(run_command({"/usr/bin/prlimit", "--fsize=20000", test::capture_tool(),
                         std::to_string(subject.pid()), "-o", file_})
                .code,
            5);
  EXPECT_EQ(test::read_all(file_), before);
  EXPECT_EQ(files_left(), 1u);
}

TEST_F(CaptureTool, RefusesWhatCannotBeCarriedAndListsIt) {
  SubjectProcess subject("outside", dir_.path());
  const CommandResult result = capture(subject.pid(), file_);
  expect_refused(result, 6, "cannot carry");
  EXPECT_THAT(result.err, AllOf(HasSubstr("a socket (AF_INET stream listening"),
                                HasSubstr("a socket (AF_INET stream"),
                                HasSubstr("which is not part of the checkpoint [other-fd]"),
                                HasSubstr("the terminal /dev/ptmx [terminal]"),
                                HasSubstr("--allow other-fd,socket,terminal)")));
  expect_unharmed(subject, "outside");
}

TEST_F(CaptureTool, AllowsByNameInAnyForm) {
  SubjectProcess subject("outside", dir_.path());
  expect_refused(capture(subject.pid(), file_, {"--allow", "socket,other-fd"}), 6,
                 "--allow terminal");
  const CommandResult result = capture(
      subject.pid(), file_, {"--allow", "socket", "--allow=other-fd", "--allow", "terminal"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("pcp-capture: warning: descriptor"),
                                HasSubstr("a socket"), HasSubstr("/dev/null")));
  expect_unharmed(subject, "outside");
}

TEST_F(CaptureTool, ChildProcesses) {
  SubjectProcess subject("parent", dir_.path());
  expect_refused(capture(subject.pid(), file_), 6, "child processes (");
  const CommandResult result = capture(subject.pid(), file_, {"--allow", "children"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("they are left out"));
  EXPECT_EQ(subject.finish(), SubjectProcess::undisturbed_result("parent"));
}

// What a process knew is nobody else's.
TEST_F(CaptureTool, FileIsItsOwnersAlone) {
  SubjectProcess subject("sleeper", dir_.path());
  for (mode_t mask : {0000, 0777}) {
    const mode_t before = ::umask(mask);
    const CommandResult result = capture(subject.pid(), file_);
    ::umask(before);
    ASSERT_EQ(result.code, 0) << result.err;
    struct stat status;
    ASSERT_EQ(::stat(file_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
  }
}

TEST_F(CaptureTool, ConfinedProcessStaysConfined) {
  SubjectProcess subject("confined", dir_.path());
  const CommandResult result = capture(subject.pid(), file_);
  if (is_root()) { // a filter can only be suspended by a privileged tracer
    EXPECT_EQ(result.code, 0) << result.err;
  } else {
    EXPECT_NE(result.code, 0);
  }
  expect_unharmed(subject, "confined");
}

TEST_F(CaptureTool, InterruptedInGoodOrder) {
  SubjectProcess subject("gigabyte", dir_.path());
  RunningCommand tool(
      {test::capture_tool(), std::to_string(subject.pid()), "-o", file_, "--profile", "small"});
  test::wait_until_traced(subject.pid());
  ::kill(tool.pid(), SIGINT);
  expect_refused(tool.wait(), 10, "interrupted; process");
  expect_unharmed(subject, "gigabyte");
}

// Killed at any moment, it leaves neither a file nor harm behind; what it did leave in the process
// table is cleared by the next capture.
TEST_F(CaptureTool, KilledAtAnyMoment) {
  std::uint64_t moments = 0;
  for (const char* kind : {"threads", "signals", "sleeper"}) {
    SubjectProcess subject(kind, dir_.path());
    const int kills = std::getenv("RRPCP_ALL") != nullptr ? 170 : 25;
    for (int i = 0; i < kills; ++i) {
      RunningCommand tool({test::capture_tool(), std::to_string(subject.pid()), "-o", file_,
                           "--profile", "raw", "--quiet"});
      if (i % 2 == 0) {
        test::wait_until_traced_or_ended(subject.pid(), tool.pid());
      }
      std::this_thread::sleep_for(std::chrono::microseconds(i % 25 * 300));
      ::kill(tool.pid(), SIGKILL);
      tool.wait();
      ++moments;
    }
    std::filesystem::remove(file_); // where it was quicker
    EXPECT_EQ(files_left(), 0u);
    const CommandResult result = capture(subject.pid(), file_);
    EXPECT_EQ(result.code, 0) << result.err;
    std::filesystem::remove(file_);
    expect_unharmed(subject, kind);
  }
  test::print_figure("random moments at which pcp-capture was killed", moments);
}

} // namespace
} // namespace rrpcp
