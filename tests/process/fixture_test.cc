// Programs that run while they are captured, and do not notice.

#include "process/subject_process.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::read_all;
using test::SubjectProcess;
using test::TempDir;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// One of the programs in fixtures/, in a directory of its own.
class Fixture {
public:
  explicit Fixture(const std::string& name) {
    pid_ = ::fork();
    if (pid_ == 0) {
      const int null = ::open("/dev/null", O_RDWR);
      const int errors =
          ::open(dir_.file("errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
      if (::dup2(null, 0) < 0 || ::dup2(null, 1) < 0 || ::dup2(errors, 2) < 0) {
        ::_exit(2);
      }
      ::close_range(3, ~0u, 0);
      const std::string program = RRPCP_FIXTURES "/fixture-" + name;
      ::execl(program.c_str(), program.c_str(), dir_.path().c_str(), static_cast<char*>(nullptr));
      ::_exit(2);
    }
    while (!std::filesystem::exists(dir_.file("ready"))) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 77) {
          throw std::runtime_error("the fixture ended early: " + read_all(dir_.file("errors")) +
                                   read_all(dir_.file("result")));
        }
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;
  ~Fixture() { kill(); }

  // Whether it can run on this machine.
  bool there() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, __WALL);
      pid_ = 0;
    }
  }

  // Tells it, or what was restored with its id, to finish; returns what it has found.
  std::string finish(pid_t pid) {
    pid_ = 0;
    std::ofstream(dir_.file("finish")) << "now";
    EXPECT_EQ(SubjectProcess::wait_for_end(pid), 0) << read_all(dir_.file("errors"));
    return read_all(dir_.file("result"));
  }

private:
  TempDir dir_;
  pid_t pid_ = 0;
};

class Fixtures : public testing::TestWithParam<const char*> {
protected:
  static std::string undisturbed() {
    Fixture fixture(GetParam());
    return fixture.finish(fixture.pid());
  }

  TempDir checkpoints_;
};

TEST_P(Fixtures, GoOnUnharmed) {
  Fixture fixture(GetParam());
  if (!fixture.there()) {
    GTEST_SKIP() << "this processor cannot run " << GetParam();
  }
  const std::string file = checkpoints_.file("live.pcp");
  for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault}) {
    CaptureOptions options;
    options.profile = profile;
    const CaptureResult result = capture_process(fixture.pid(), file, options);
    // Other programs of the machine may have semaphores, which this one then might have used.
    EXPECT_THAT(result.warnings, Each(HasSubstr("System V semaphores")));
    EXPECT_GT(result.frozen_nanoseconds, 0u);
    EXPECT_EQ(CheckpointReader::open(file).id(), result.id);
  }
  const std::string result = fixture.finish(fixture.pid());
  EXPECT_THAT(result, StartsWith("ok "));
  EXPECT_EQ(result, undisturbed());
}

TEST_P(Fixtures, GoOnInANewProcess) {
  Fixture fixture(GetParam());
  if (!fixture.there()) {
    GTEST_SKIP() << "this processor cannot run " << GetParam();
  }
  const pid_t pid = fixture.pid();
  const std::string file = checkpoints_.file("live.pcp");
  CaptureOptions options;
  options.after = AfterCapture::kKill;
  EXPECT_THAT(capture_process(pid, file, options).warnings, Each(HasSubstr("System V semaphores")));
  fixture.kill();
  RestoredProcess process = restore_process(CheckpointReader::open(file));
  EXPECT_THAT(process.warnings(), Each(HasSubstr("System V semaphores")));
  process.detach_running();
  const std::string result = fixture.finish(pid);
  EXPECT_THAT(result, StartsWith("ok "));
  EXPECT_EQ(result, undisturbed());
}

INSTANTIATE_TEST_SUITE_P(All, Fixtures,
                         testing::Values("avx512", "descriptors", "fragmented", "large", "shared",
                                         "signals", "single", "threads", "waits"),
                         [](const auto& name) { return std::string(name.param); });

} // namespace
} // namespace rrpcp
