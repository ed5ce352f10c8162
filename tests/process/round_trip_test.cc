// The two worlds: a process before it is captured and after it is restored.

#include "process/subject_process.h"
#include "process/world.h"
#include "rrpcp/capture.h"
#include "rrpcp/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

namespace rrpcp {
namespace {

using test::differences;
using test::read_all;
using test::SubjectProcess;
using test::TempDir;
using test::World;
using testing::IsEmpty;

struct Case {
  const char* kind;
  Profile profile;
  bool eager;
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(info.param.kind) + "_" + std::string(profile_name(info.param.profile)) +
         (info.param.eager ? "_eager" : "");
}

class RoundTrip : public testing::TestWithParam<Case> {
protected:
  TempDir dir_;
  const std::string checkpoint_ = dir_.file("subject.pcp");
};

TEST_P(RoundTrip, WorldsAreEqual) {
  const Case& test_case = GetParam();
  SubjectProcess subject(test_case.kind, dir_.path());
  if (!subject.there()) {
    GTEST_SKIP() << "the subject cannot run on this machine";
  }
  subject.stop();
  const World before = test::look_at(subject.pid());
  CaptureOptions capture;
  capture.profile = test_case.profile;
  const CaptureResult captured = capture_process(subject.pid(), checkpoint_, capture);
  EXPECT_THAT(captured.warnings, IsEmpty());
  const pid_t pid = subject.pid();
  subject.kill();

  RestoreOptions options;
  options.eager = test_case.eager;
  CheckpointReader reader = CheckpointReader::open(checkpoint_);
  RestoredProcess process = restore_process(reader, options);
  EXPECT_EQ(process.pid(), pid);
  EXPECT_THAT(process.warnings(), IsEmpty());
  test::WorldOptions look;
  look.checkpoint = checkpoint_;
  const World after = test::read_world(pid, look);
  EXPECT_THAT(differences(before, after), IsEmpty());

  process.detach_running();
  SubjectProcess::tell_to_go(dir_.path());
  EXPECT_EQ(SubjectProcess::wait_for_end(pid), 0) << read_all(dir_.file("errors"));
  EXPECT_EQ(read_all(dir_.file("result")), SubjectProcess::undisturbed_result(test_case.kind));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* kind : {"single", "threads", "avx512", "fragmented", "gigabyte", "signals",
                           "shared", "files", "sleeper"}) {
    for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall}) {
      cases.push_back({kind, profile, false});
    }
    cases.push_back({kind, Profile::kRaw, true});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(AllKinds, RoundTrip, testing::ValuesIn(all_cases()), case_name);

} // namespace
} // namespace rrpcp
