// Instructions that no replay can foresee: told from their bytes, told from data, and what CPUID
// says of a modest processor.

#include "replay/engine/code_scanner.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"

#include <cpuid.h>
#include <cstddef>
#include <gtest/gtest.h>
#include <initializer_list>
#include <optional>
#include <vector>

namespace rrpcp::replay {
namespace {

using Kind = schema::TrappedInstruction;

std::vector<std::byte> bytes(std::initializer_list<unsigned> values) {
  std::vector<std::byte> out;
  for (const unsigned value : values) {
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

std::optional<TrappedCode> decode(std::initializer_list<unsigned> values) {
  return decode_trapped(bytes(values));
}

TEST(TrappedInstructions, AreToldFromTheirBytes) {
  EXPECT_EQ(decode({0x0f, 0x31}), (TrappedCode{Kind::RDTSC, 2, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0x01, 0xf9}), (TrappedCode{Kind::RDTSCP, 3, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0xa2}), (TrappedCode{Kind::CPUID, 2, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0x01, 0xd0}), (TrappedCode{Kind::XGETBV, 3, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0xc7, 0xf0}), (TrappedCode{Kind::RDRAND, 3, 0, 32}));
  EXPECT_EQ(decode({0x48, 0x0f, 0xc7, 0xf1}), (TrappedCode{Kind::RDRAND, 4, 1, 64}));
  EXPECT_EQ(decode({0x66, 0x41, 0x0f, 0xc7, 0xf6}), (TrappedCode{Kind::RDRAND, 5, 14, 16}));
  EXPECT_EQ(decode({0x49, 0x0f, 0xc7, 0xff}), (TrappedCode{Kind::RDSEED, 4, 15, 64}));
  EXPECT_EQ(decode({0xf3, 0x41, 0x0f, 0xc7, 0xf8}), (TrappedCode{Kind::RDPID, 5, 8, 64}));
  EXPECT_EQ(decode({0x0f, 0xc7, 0x64, 0x24, 0x40}), (TrappedCode{Kind::XSAVEC, 5, 0, 0}));
  EXPECT_EQ(decode({0x48, 0x0f, 0xc7, 0x27}), (TrappedCode{Kind::XSAVEC, 4, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0xae, 0xa4, 0x24, 1, 0, 0, 0}), (TrappedCode{Kind::XSAVE, 8, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0xae, 0x25, 1, 0, 0, 0}), (TrappedCode{Kind::XSAVE, 7, 0, 0}));
  EXPECT_EQ(decode({0x0f, 0xae, 0x24, 0xcd, 1, 0, 0, 0}), (TrappedCode{Kind::XSAVE, 8, 0, 0}));
  EXPECT_EQ(decode({0x43, 0x0f, 0xae, 0x74, 0x85, 8}), (TrappedCode{Kind::XSAVEOPT, 6, 0, 0}));
}

TEST(TrappedInstructions, OthersAreNot) {
  EXPECT_FALSE(decode({}));
  EXPECT_FALSE(decode({0x0f}));
  EXPECT_FALSE(decode({0x0f, 0x05}));             // syscall
  EXPECT_FALSE(decode({0x0f, 0x0b}));             // ud2
  EXPECT_FALSE(decode({0x0f, 0x01}));             // cut off
  EXPECT_FALSE(decode({0x0f, 0x01, 0xd1}));       // xsetbv
  EXPECT_FALSE(decode({0x0f, 0xc7, 0x08}));       // cmpxchg8b (%rax)
  EXPECT_FALSE(decode({0x0f, 0xc7, 0x30}));       // vmptrld (%rax)
  EXPECT_FALSE(decode({0xf3, 0x0f, 0xc7, 0xf0})); // senduipi
  EXPECT_FALSE(decode({0xf0, 0x0f, 0xa2}));       // with LOCK
  EXPECT_FALSE(decode({0x0f, 0xae, 0xf0}));       // mfence
  EXPECT_FALSE(decode({0x0f, 0xae, 0x18}));       // stmxcsr (%rax)
  EXPECT_FALSE(decode({0x0f, 0xae, 0x28}));       // xrstor (%rax)
  EXPECT_FALSE(decode({0x66, 0x0f, 0xae, 0x30})); // clwb (%rax)
  EXPECT_FALSE(decode({0x0f, 0xc7, 0x28}));       // xsaves (%rax)
  EXPECT_FALSE(decode({0x0f, 0xae, 0x24}));       // cut off
}

ScannedCode scan(const std::vector<std::byte>& code, bool function) {
  return scan_code(code, 0x1000, [&](std::uint64_t) {
    return std::optional(CodeStart{0x1000, function});
  });
}

TEST(CodeScanner, FindsInstructionsAndNotTheirBytesInOthers) {
  const std::vector<std::byte> code = bytes({
      0xb9, 0x0f, 0x31, 0x0f, 0xa2, // mov $0xa20f310f, %ecx
      0x0f, 0x31,                   // rdtsc
      0x48, 0x0f, 0xc7, 0xf0,       // rdrand %rax
      0x48, 0xc1, 0xe2, 0x20,       // shl $32, %rdx
      0xc3                          // ret
  });
  for (const bool function : {true, false}) {
    const ScannedCode found = scan(code, function);
    ASSERT_EQ(found.certain.size(), 2u) << function;
    EXPECT_EQ(found.certain[0].offset, 0x1005u);
    EXPECT_EQ(found.certain[0].code.kind, Kind::RDTSC);
    EXPECT_EQ(found.certain[1].offset, 0x1007u);
    EXPECT_EQ(found.certain[1].code, (TrappedCode{Kind::RDRAND, 4, 0, 64}));
    EXPECT_TRUE(found.uncertain.empty());
  }
}

TEST(CodeScanner, SaysWhereItCannotTell) {
  // 0x06 is no instruction: the function has data.
  const ScannedCode found = scan(bytes({0xc3, 0x06, 0x0f, 0x31, 0xc3}), true);
  EXPECT_TRUE(found.certain.empty());
  ASSERT_EQ(found.uncertain.size(), 1u);
  EXPECT_EQ(found.uncertain[0].offset, 0x1002u);
}

TEST(CodeScanner, LeavesDataAlone) {
  std::vector<std::byte> data;
  std::uint32_t state = 1;
  for (int i = 0; i < 1 << 20; ++i) {
    state = state * 1664525 + 1013904223;
    data.push_back(static_cast<std::byte>(state >> 24));
  }
  const ScannedCode found = scan(data, false);
  EXPECT_LE(found.certain.size(), 1u); // of some 60 places with such bytes
  const ScannedCode known =
      scan_code(data, 0, [](std::uint64_t) -> std::optional<CodeStart> { return std::nullopt; });
  EXPECT_TRUE(known.certain.empty() && known.uncertain.empty());
}

TEST(CodeScanner, FindsCodeBehindFilling) {
  std::vector<std::byte> code(4096);
  for (const std::byte byte : bytes({0xc3})) {
    code[0] = byte;
  }
  const std::vector<std::byte> made = bytes({0x0f, 0x31, 0xc3});
  std::copy(made.begin(), made.end(), code.begin() + 3001);
  const ScannedCode found = scan(code, false);
  ASSERT_EQ(found.certain.size(), 1u);
  EXPECT_EQ(found.certain[0].offset, 0x1000u + 3001);
}

TEST(CpuidModel, TellsOfNoMoreThanTheLevelHas) {
  const CpuidModel base("x86-64");
  EXPECT_EQ(base.answer(1, 0).ecx, 0u);
  EXPECT_EQ(base.answer(7, 0).ebx, 0u);
  EXPECT_EQ(base.answer(0xd, 0).eax, 0u);
  EXPECT_EQ(base.extended_state(), 0u);
  EXPECT_EQ(base.answer(0, 0).eax, std::min(7u, CpuidModel().answer(0, 0).eax));
  constexpr unsigned kSse2 = 26;
  EXPECT_TRUE(base.has(1, &CpuidWords::edx, kSse2));
  const CpuidModel third("x86-64-v3");
  constexpr unsigned kAvx2 = 5;
  EXPECT_EQ(third.has(7, &CpuidWords::ebx, kAvx2), CpuidModel().has(7, &CpuidWords::ebx, kAvx2));
  EXPECT_EQ(third.answer(7, 0).ecx, 0u);
}

TEST(CpuidModel, IsTheProcessorItselfUnlessSaidOtherwise) {
  unsigned words[4];
  __cpuid_count(0, 0, words[0], words[1], words[2], words[3]);
  const CpuidWords told = CpuidModel().answer(0, 0);
  EXPECT_EQ(told.eax, words[0]);
  EXPECT_EQ(told.ebx, words[1]);
  EXPECT_TRUE(CpuidModel("native").native());
  EXPECT_THROW(CpuidModel("486"), Error);
}

} // namespace
} // namespace rrpcp::replay
