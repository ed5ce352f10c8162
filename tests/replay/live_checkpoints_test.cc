// Live checkpoints: forked from each other they are what they are restored on their own, and take
// less memory.

#include "base/scoped_fd.h"
#include "replay/checkpoint/live_checkpoints.h"
#include "replay/checkpoint/session_checkpoint.h"
#include "replay/session_world.h"
#include "rrpcp/replay/replay_checkpoints.h"
#include "support/temp_dir.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/user.h>
#include <sys/wait.h>
#include <vector>

namespace rrpcp::replay {
namespace {

using test::TempDir;

class LiveCheckpointsTest : public testing::Test {
protected:
  std::string trace() const { return dir_.file("trace"); }

  // Records a script and makes about `count` checkpoints. Returns their paths by event.
  std::vector<std::string> record(const char* script, std::int64_t count) {
    std::ofstream(dir_.file("script")) << script;
    const std::string command = "cd '" + dir_.path() + "' && '" RRPCP_PCP_RR "' record -o '" +
                                trace() + "' -- sh script > output 2> errors";
    EXPECT_EQ(std::system(command.c_str()), 0);
    CreationOptions options;
    options.event_interval =
        std::max<std::int64_t>(1, TraceReader::open(trace()).event_count() / (count + 1));
    create_checkpoints(trace(), options);
    std::vector<std::string> paths;
    for (const StoreEntry& entry : checkpoint_store(trace()).list()) {
      paths.push_back(entry.path);
    }
    return paths;
  }

  TempDir dir_;
};

// Builds much data, of which little changes between two checkpoints.
constexpr const char* kLargeProgram =
    "exec perl -e 'my @a = map { \"row $_ \" x 50 } 1..60000; for my $i (1..300) { $a[$i * 7] = "
    "\"changed $i\" x 9; syswrite(STDOUT, length($a[$i]) . \"\\n\") }'";

TEST_F(LiveCheckpointsTest, ForkedOnesAreWhatRestoredOnesAre) {
  const std::vector<std::string> paths = record(kLargeProgram, 8);
  ASSERT_GE(paths.size(), 5u);
  LiveCheckpoints live(trace());
  for (const std::string& path : paths) {
    live.add(path);
  }
  for (std::size_t i = 0; i < live.size(); ++i) {
    const CheckpointReader reader = CheckpointReader::open(paths[i]);
    const auto restored = restore_session(trace(), {}, reader);
    const test::SessionWorld world = test::world_of(*restored);
    // Twice: a replay that was started from it does not change it.
    for (int again = 0; again < 2; ++again) {
      const auto started = live.start(i, {});
      EXPECT_THAT(test::differences(world, test::world_of(*started)), testing::IsEmpty())
          << "checkpoint " << i << (live.is_forked(i) ? ", forked" : ", restored");
      started->run_to(started->trace().event_count() + 1);
      EXPECT_TRUE(started->at_end());
    }
  }
  EXPECT_TRUE(live.is_forked(live.size() - 1));
}

// The processor sets it where an instruction has faulted; a replay that meets no fault there has
// none.
TEST_F(LiveCheckpointsTest, HaveNoResumeFlag) {
  constexpr std::uint64_t kResume = 0x10000;
  const std::vector<std::string> paths = record("echo some", 2);
  ASSERT_FALSE(paths.empty());
  const auto session = restore_session(trace(), {}, CheckpointReader::open(paths.front()));
  process::Tracee& tracee = session->tracee(session->state().tasks.front().tid);
  user_regs_struct registers = tracee.registers();
  registers.eflags |= kResume;
  tracee.set_registers(registers);
  ASSERT_NE(tracee.registers().eflags & kResume, 0u);
  const std::string path = dir_.file("again.pcp");
  {
    const ScopedFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    Output output(file.get(), path);
    write_checkpoint(*session, output, {}, std::nullopt);
  }
  const auto again = restore_session(trace(), {}, CheckpointReader::open(path));
  const pid_t tid = again->state().tasks.front().tid;
  EXPECT_EQ(again->tracee(tid).registers().eflags & kResume, 0u);
}

TEST_F(LiveCheckpointsTest, TakeLessMemoryTogether) {
  std::vector<std::string> all = record(kLargeProgram, 20);
  ASSERT_GE(all.size(), 10u);
  const std::vector<std::string> paths(all.end() - 10, all.end());
  std::uint64_t memory[2];
  for (bool share : {false, true}) {
    LiveCheckpoints live(trace(), share);
    for (const std::string& path : paths) {
      live.add(path);
    }
    memory[share] = live.memory();
  }
  std::printf("10 checkpoints: %llu KiB restored on their own, %llu KiB forked (%.1f %%)\n",
              static_cast<unsigned long long>(memory[0] / 1024),
              static_cast<unsigned long long>(memory[1] / 1024),
              100.0 * static_cast<double>(memory[1]) / static_cast<double>(memory[0]));
  EXPECT_LT(memory[1], memory[0] / 2);
}

TEST_F(LiveCheckpointsTest, OtherProgramsAndSharedMemoryAreRestored) {
  const std::vector<std::string> paths =
      record("seq 300 | sort -r | head -3; ls /usr/include/linux > /dev/null; exec perl -e 'print "
             "1'",
             12);
  ASSERT_GE(paths.size(), 5u);
  LiveCheckpoints live(trace());
  for (std::size_t i = 0; i < paths.size(); ++i) {
    live.add(paths[i]);
    const CheckpointReader reader = CheckpointReader::open(paths[i]);
    const auto restored = restore_session(trace(), {}, reader);
    const auto started = live.start(i, {});
    EXPECT_THAT(test::differences(test::world_of(*restored), test::world_of(*started)),
                testing::IsEmpty());
  }
}

} // namespace
} // namespace rrpcp::replay
