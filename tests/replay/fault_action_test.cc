// Instructions that fault by arrangement leave the mask and the action of SIGSEGV alone, in what a
// replay has of the process too.

#include "process/proc_status.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/replay/record.h"
#include "support/temp_dir.h"

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>

namespace rrpcp::replay {
namespace {

constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGSEGV - 1);

TEST(FaultAction, IsKeptByReplaysToo) {
  const test::TempDir temp;
  RecordOptions options;
  options.directory = temp.path() + "/trace";
  std::filesystem::create_directory(options.directory);
  options.command = {RRPCP_REPLAY_FIXTURES "/masked_faults"};
  const RecordResult result = record_program(options);
  ASSERT_TRUE(WIFEXITED(result.status) && WEXITSTATUS(result.status) == 0) << result.status;
  ReplaySession session(options.directory, {});
  int blocked = 0;
  int ignored = 0;
  while (!session.at_end()) {
    const bool trap = session.current().kind == trace::EventKind::kTrap &&
                      session.current().signal_mask.has_value();
    const pid_t tid = session.current().task;
    const pid_t pid = trap ? session.real_process(tid) : 0;
    const pid_t real = trap ? session.tracee(tid).tid() : 0;
    const process::ProcStatus before =
        trap ? process::ProcStatus::read(pid, real) : process::ProcStatus();
    session.step();
    if (trap) {
      const process::ProcStatus after = process::ProcStatus::read(pid, real);
      EXPECT_EQ(after.blocked, before.blocked);
      EXPECT_EQ(after.ignored, before.ignored);
      EXPECT_EQ(after.caught, before.caught);
      blocked += (after.blocked & kBit) != 0 ? 1 : 0;
      ignored += (after.ignored & kBit) != 0 ? 1 : 0;
    }
  }
  EXPECT_GE(blocked, 4); // twice in main, in the thread, in the child
  EXPECT_GE(ignored, 3);
}

} // namespace
} // namespace rrpcp::replay
