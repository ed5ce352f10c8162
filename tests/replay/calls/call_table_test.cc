// The table of system calls against libseccomp's, and what it says of the memory of single calls.
#include "replay/engine/call_memory.h"
#include "trace/call_table.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <seccomp.h>
#include <string>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::replay {
namespace {

constexpr int kBeyondAll = 1000;

std::uint64_t address(const void* at) {
  return reinterpret_cast<std::uint64_t>(at);
}

trace::SystemCall call_of(long number, std::array<std::uint64_t, 6> arguments) {
  trace::SystemCall call;
  call.number = number;
  call.arguments = arguments;
  return call;
}

// As pairs, to be compared and printed.
std::vector<std::pair<std::uint64_t, std::uint64_t>> pairs(const std::vector<CallRange>& ranges) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> list;
  for (const CallRange& range : ranges) {
    list.emplace_back(range.address, range.length);
  }
  return list;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> outputs(const trace::SystemCall& call,
                                                             std::int64_t result) {
  process::RemoteMemory memory(::getpid());
  std::vector<CallRange> ranges;
  call_outputs(call, result, memory, ranges);
  return pairs(ranges);
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> inputs(const trace::SystemCall& call) {
  process::RemoteMemory memory(::getpid());
  std::vector<CallRange> ranges;
  call_inputs(call, memory, ranges);
  return pairs(ranges);
}

TEST(CallTable, HasEveryCallThatLibseccompKnows) {
  for (int number = 0; number < kBeyondAll; ++number) {
    char* const known = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
    if (known != nullptr) {
      EXPECT_EQ(trace::system_call_name(number), known) << number;
    }
    ::free(known);
  }
}

TEST(CallTable, HasTheNumbersOfLibseccomp) {
  for (const trace::CallRow& row : trace::call_rows()) {
    const int known =
        ::seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, std::string(row.name).c_str());
    if (known >= 0) { // younger calls than the library are not known to it
      EXPECT_EQ(row.number, known) << row.name;
    }
  }
}

TEST(CallTable, ComparesPagesForWhatItHasNoRowFor) {
  const trace::SystemCall unknown = call_of(kBeyondAll, {});
  EXPECT_TRUE(trace::call_row(unknown).compared);
  EXPECT_FALSE(outputs_known(unknown));
  EXPECT_EQ(trace::system_call_name(kBeyondAll), "system call 1000");
  EXPECT_FALSE(outputs_known(call_of(SYS_prctl, {0x12345})));
  EXPECT_FALSE(outputs_known(call_of(SYS_ioctl, {0, 0xdead})));
}

TEST(CallTable, FindsRowsBySelector) {
  EXPECT_EQ(trace::call_row(call_of(SYS_futex, {0, FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG})).label,
            "FUTEX_LOCK_PI");
  EXPECT_EQ(trace::call_row(call_of(SYS_prctl, {0xffffffff0000000fu})).label, "PR_SET_NAME");
}

TEST(CallMemory, OfReadIsAsMuchAsWasRead) {
  const std::uint64_t at = 0x1000;
  EXPECT_EQ(outputs(call_of(SYS_read, {0, at, 100}), 7), pairs({{at, 7}}));
  EXPECT_TRUE(outputs(call_of(SYS_read, {0, at, 100}), -EINTR).empty());
  // Nobody knows how far the kernel came.
  EXPECT_EQ(outputs(call_of(SYS_read, {0, at, 100}), -EFAULT), pairs({{at, 100}}));
  EXPECT_TRUE(inputs(call_of(SYS_read, {0, at, 100})).empty());
}

TEST(CallMemory, OfFailedCallsToo) {
  const std::uint64_t at = 0x1000;
  EXPECT_EQ(outputs(call_of(SYS_waitid, {0, 0, at}), -ECHILD), pairs({{at, 128}}));
  EXPECT_EQ(outputs(call_of(SYS_capset, {at}), -EINVAL), pairs({{at, 8}}));
}

TEST(CallMemory, OfListsOfBuffers) {
  const std::array<iovec, 2> list = {iovec{reinterpret_cast<void*>(0x1000), 10},
                                     iovec{reinterpret_cast<void*>(0x2000), 10}};
  EXPECT_EQ(outputs(call_of(SYS_readv, {0, address(list.data()), 2}), 15),
            pairs({{0x1000, 10}, {0x2000, 5}}));
  EXPECT_EQ(inputs(call_of(SYS_writev, {0, address(list.data()), 2})),
            pairs({{address(list.data()), sizeof list}, {0x1000, 10}, {0x2000, 10}}));
  process::RemoteMemory memory(::getpid());
  std::vector<CallRange> written;
  written_bytes(call_of(SYS_writev, {1, address(list.data()), 2}), 12, memory, written);
  EXPECT_EQ(pairs(written), pairs({{0x1000, 10}, {0x2000, 2}}));
}

TEST(CallMemory, OfTextsEndsWithThem) {
  const std::string path = "/a/path";
  EXPECT_EQ(inputs(call_of(SYS_open, {address(path.c_str())})),
            pairs({{address(path.c_str()), path.size() + 1}}));
}

TEST(CallMemory, StaysWithinTheAddressSpace) {
  for (const trace::CallRow& row : trace::call_rows()) {
    std::array<std::uint64_t, 6> arguments{};
    arguments.fill(~std::uint64_t{0});
    if (row.selector >= 0) {
      arguments[static_cast<std::size_t>(row.selector)] = row.low;
    }
    trace::SystemCall call = call_of(row.number, arguments);
    for (const std::int64_t result : {std::int64_t{0}, std::int64_t{-EFAULT}, INT64_MAX}) {
      for (const auto& [start, length] : outputs(call, result)) {
        EXPECT_LE(start + length, std::uint64_t{1} << 56) << row.name;
      }
    }
    inputs(call);
  }
}

} // namespace
} // namespace rrpcp::replay
