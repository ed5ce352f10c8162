// Conditions as gdb compiles them. The codes are what gdb 13 shows for "maint agent-eval".

#include "gdbserver/agent_expression.h"
#include "gdbserver/words.h"

#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <rapidcheck/gtest.h>

namespace rrpcp::gdbserver {
namespace {

std::optional<std::uint64_t> evaluate(std::string_view digits) {
  AgentContext context;
  context.register_value = [](unsigned number) -> std::optional<std::uint64_t> {
    return number == 6 ? std::optional<std::uint64_t>(0x1000) : std::nullopt;
  };
  // Byte N of the memory from 0x0ff0 is N; -5 lies at 0x0ffc.
  context.read_memory = [](std::uint64_t address, std::span<std::byte> out) {
    for (std::byte& byte : out) {
      if (address < 0xff0 || address >= 0x1010) {
        return false;
      }
      byte = static_cast<std::byte>(address - 0xff0);
      ++address;
    }
    if (address == 0x1000 && out.size() == 4) {
      const std::int32_t value = -5;
      std::memcpy(out.data(), &value, sizeof value);
    }
    return true;
  };
  return evaluate_agent_expression(from_hex(digits).value(), context);
}

TEST(AgentExpression, VariableOfAFrameIsCompared) {
  // reg 6; const8 4; sub; ref32; ext 32; const8 5; sub from zero... : *(int *)($rbp - 4) == -5
  EXPECT_EQ(evaluate("260006"
                     "2204"
                     "03"
                     "19"
                     "1620"
                     "2205"
                     "2200"
                     "2b"
                     "03"
                     "13"
                     "27"),
            1U);
  EXPECT_EQ(evaluate("260006"
                     "2204"
                     "03"
                     "19"
                     "1620"
                     "2206"
                     "2200"
                     "2b"
                     "03"
                     "13"
                     "27"),
            0U);
}

TEST(AgentExpression, OperationsCompute) {
  EXPECT_EQ(evaluate("220722030227"), 10U); // 7 + 3
  EXPECT_EQ(evaluate("2207220304"
                     "27"),
            21U); // 7 * 3
  EXPECT_EQ(evaluate("22f916082203"
                     "0527"),
            -2ULL); // -7 / 3
  EXPECT_EQ(evaluate("22f91608220307"
                     "27"),
            -1ULL); // -7 % 3
  EXPECT_EQ(evaluate("2207220306"
                     "27"),
            2U); // unsigned
  EXPECT_EQ(evaluate("2280"
                     "1608"
                     "2201"
                     "0a"
                     "27"),
            -64ULL); // arithmetic shift
  EXPECT_EQ(evaluate("2201"
                     "2240"
                     "09"
                     "27"),
            0U); // by 64
  EXPECT_EQ(evaluate("2200"
                     "0e"
                     "27"),
            1U);
  EXPECT_EQ(evaluate("22ff"
                     "1608"
                     "2200"
                     "14"
                     "27"),
            1U); // -1 < 0
  EXPECT_EQ(evaluate("22ff"
                     "1608"
                     "2200"
                     "15"
                     "27"),
            0U); // unsigned
  EXPECT_EQ(evaluate("24ffffffff"
                     "2a10"
                     "27"),
            0xffffU);
  EXPECT_EQ(evaluate("25ffffffffffffffff"
                     "27"),
            ~0ULL);
  EXPECT_EQ(evaluate("2201"
                     "2202"
                     "2203"
                     "33"
                     "29"
                     "29"
                     "27"),
            3U); // rot: c a b
  EXPECT_EQ(evaluate("2201"
                     "2202"
                     "2203"
                     "3202"
                     "27"),
            1U); // pick
}

TEST(AgentExpression, JumpsAreFollowed) {
  // 0: const8 0; 2: if_goto 10; 5: const8 4; 7: goto 12; 10: const8 9; 12: end
  EXPECT_EQ(evaluate("2200"
                     "20000a"
                     "2204"
                     "21000c"
                     "2209"
                     "27"),
            4U);
  EXPECT_EQ(evaluate("2201"
                     "20000a"
                     "2204"
                     "21000c"
                     "2209"
                     "27"),
            9U);
}

TEST(AgentExpression, WhatCannotBeEvaluatedHasNoValue) {
  for (const char* code : {"", "27", "02", "2205",
                           "2201220005"
                           "27",
                           "2201220007"
                           "27",
                           "260007"
                           "27",
                           "220017"
                           "27",
                           "21ffff", "210000",
                           "2201"
                           "210000",
                           "22011600"
                           "27",
                           "01", "30", "ff",
                           "3205"
                           "27"}) {
    EXPECT_EQ(evaluate(code), std::nullopt) << code;
  }
  // The one division that has no result in 64 bits.
  EXPECT_EQ(evaluate("258000000000000000"
                     "22ff1608"
                     "05"
                     "27"),
            0x8000000000000000U);
  EXPECT_EQ(evaluate("258000000000000000"
                     "22ff1608"
                     "07"
                     "27"),
            0U);
}

RC_GTEST_PROP(AgentExpression, AnyBytesEnd, (const std::string& code)) {
  AgentContext context;
  context.register_value = [](unsigned) { return 1; };
  context.read_memory = [](std::uint64_t, std::span<std::byte>) { return true; };
  RC_ASSERT(evaluate_agent_expression(code, context) == evaluate_agent_expression(code, context));
}

} // namespace
} // namespace rrpcp::gdbserver
