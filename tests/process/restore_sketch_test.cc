// Restoring small states that were put together by hand.

#include "process/sketch.h"
#include "rrpcp/error.h"
#include "rrpcp/restore.h"
#include "support/temp_dir.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace rrpcp {
namespace {

using test::Sketch;
using test::TempDir;

int run_to_end(RestoredProcess& process) {
  process.detach_running();
  int status = 0;
  while (::waitpid(process.pid(), &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

TEST(RestoreSketch, RunsInEveryProfile) {
  TempDir dir;
  for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall}) {
    Sketch sketch;
    sketch.write(dir.file("a.pcp"), profile);
    CheckpointReader reader = CheckpointReader::open(dir.file("a.pcp"));
    RestoredProcess process = restore_process(reader);
    EXPECT_EQ(process.pid(), sketch.pid);
    EXPECT_EQ(process.warnings(), std::vector<std::string>{});
    const int status = run_to_end(process);
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 42);
  }
}

} // namespace
} // namespace rrpcp
