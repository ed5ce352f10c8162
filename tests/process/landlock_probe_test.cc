// The child that a capture puts up to find out whether a thread is confined by landlock(7).

#include "process/capture/landlock_probe.h"
#include "process/proc_file.h"

#include <cerrno>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <unistd.h>

namespace rrpcp::process::capture {
namespace {

using ::testing::HasSubstr;

constexpr std::uint32_t kNobody = 65534;

TEST(LandlockProbe, ChildIsTheUserAndHasNothing) {
  const bool root = ::getuid() == 0;
  const std::uint32_t uid = root ? kNobody : ::getuid();
  const std::uint32_t gid = root ? kNobody : ::getgid();
  pid_t child = 0;
  {
    LandlockProbe probe;
    child = probe.child_of(uid, gid);
    ASSERT_GT(child, 0);
    EXPECT_EQ(probe.child_of(uid, gid), child) << "one for each user";

    const std::string status = read_proc_file(proc_path(child, "status"));
    const auto four = [](std::uint32_t id) {
      const std::string text = "\t" + std::to_string(id);
      return text + text + text + text + "\n";
    };
    EXPECT_THAT(status, HasSubstr("Uid:" + four(uid)));
    EXPECT_THAT(status, HasSubstr("Gid:" + four(gid)));
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
      EXPECT_THAT(status, HasSubstr(std::string(set) + ":\t0000000000000000\n"));
    }
    // All but SIGKILL and SIGSTOP.
    EXPECT_THAT(status, HasSubstr("SigBlk:\tfffffffffffbfeff\n"));

    // Where a file in memory may be executed, it has none of our memory.
    const std::optional<std::string> forbidden = try_read_file("/proc/sys/vm/memfd_noexec");
    if (!forbidden || !forbidden->starts_with('2')) {
      EXPECT_THAT(read_proc_file(proc_path(child, "maps")), HasSubstr("/memfd:rrpcp-probe"));
    }
  }
  EXPECT_EQ(::kill(child, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

} // namespace
} // namespace rrpcp::process::capture
