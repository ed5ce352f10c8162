// Instructions that do the same wherever they are, told from all others.

#include "replay/buffer/plain_instruction.h"

#include <cstddef>
#include <cstdint>
#include <gtest/gtest.h>
#include <initializer_list>
#include <vector>

namespace rrpcp::replay::buffer {
namespace {

std::vector<std::byte> bytes(std::initializer_list<unsigned> values) {
  std::vector<std::byte> out;
  for (const unsigned value : values) {
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

PlainInstruction decode(std::initializer_list<unsigned> values) {
  return plain_instruction(bytes(values));
}

TEST(PlainInstruction, IsToldFromItsBytes) {
  struct Row {
    std::vector<std::byte> code;
    unsigned target;
    bool sets;
  };
  const Row rows[] = {
      {bytes({0xb8, 0x01, 0x01, 0, 0}), 0, true},         // mov $0x101, %eax
      {bytes({0x41, 0xb8, 7, 0, 0, 0}), 8, true},         // mov $7, %r8d
      {bytes({0xbf, 0x9c, 0xff, 0xff, 0xff}), 7, true},   // mov $-100, %edi
      {bytes({0x49, 0xc7, 0xc2, 8, 0, 0, 0}), 10, false}, // mov $8, %r10
      {bytes({0x48, 0x89, 0xfe}), 6, false},              // mov %rdi, %rsi
      {bytes({0x44, 0x89, 0xc0}), 0, false},              // mov %r8d, %eax
      {bytes({0x4c, 0x8b, 0xc7}), 8, false},              // mov %rdi, %r8
      {bytes({0x31, 0xc9}), 1, false},                    // xor %ecx, %ecx
      {bytes({0x45, 0x33, 0xd2}), 10, false},             // xor %r10d, %r10d
      {bytes({0x48, 0x63, 0xff}), 7, false},              // movslq %edi, %rdi
      {bytes({0x48, 0x8d, 0x74, 0x24, 0x10}), 6, false},  // lea 16(%rsp), %rsi
      {bytes({0x8d, 0x83, 4, 2, 0, 0}), 0, false},        // lea 0x204(%rbx), %eax
      {bytes({0x8d, 0x04, 0x45, 0, 0, 0, 0}), 0, false},  // lea 0(,%rax,2), %eax
  };
  for (const Row& row : rows) {
    std::vector<std::byte> code = row.code;
    EXPECT_EQ(plain_instruction(code).length, row.code.size());
    EXPECT_EQ(plain_instruction(code).target, row.target);
    EXPECT_EQ(plain_instruction(code).sets, row.sets);
    code.push_back(std::byte{0x90});
    EXPECT_EQ(plain_instruction(code).length, row.code.size());
    code.resize(row.code.size() - 1);
    EXPECT_EQ(plain_instruction(code).length, 0u);
  }
}

TEST(PlainInstruction, IsNoOther) {
  EXPECT_EQ(decode({}).length, 0u);
  EXPECT_EQ(decode({0x48}).length, 0u);
  EXPECT_EQ(decode({0x48, 0x8d, 0x05, 0, 0, 0, 0}).length, 0u); // lea 0(%rip), %rax
  EXPECT_EQ(decode({0x48, 0x89, 0x3e, 0}).length, 0u);          // mov %rdi, (%rsi)
  EXPECT_EQ(decode({0x8b, 0x44, 0x24, 8}).length, 0u);          // mov 8(%rsp), %eax
  EXPECT_EQ(decode({0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0}).length, 0u);
  EXPECT_EQ(decode({0x66, 0xb8, 0, 0, 0, 0}).length, 0u);
  EXPECT_EQ(decode({0xe8, 0, 0, 0, 0}).length, 0u); // call
  EXPECT_EQ(decode({0x74, 5}).length, 0u);          // je
  EXPECT_EQ(decode({0x0f, 0xa2}).length, 0u);       // cpuid
  EXPECT_EQ(decode({0xc7, 0xc8, 0, 0, 0, 0}).length, 0u);
}

TEST(PlainInstruction, LeadsWhereItSetsAConstant) {
  std::uint32_t number = 0;
  const auto open = bytes({0xb8, 0x01, 0x01, 0, 0, 0x48, 0x89, 0xfe, 0xbf, 0x9c, 0xff, 0xff, 0xff});
  EXPECT_TRUE(is_plain(open, &number));
  EXPECT_EQ(number, 0x101u);
  EXPECT_TRUE(is_plain(bytes({0x41, 0xb8, 7, 0, 0, 0, 0x44, 0x89, 0xc0})));
  // Of a call the number has to stay where it is.
  EXPECT_FALSE(is_plain(bytes({0x41, 0xb8, 7, 0, 0, 0, 0x44, 0x89, 0xc0}), &number));
  EXPECT_FALSE(is_plain(bytes({0xb8, 7, 0, 0, 0, 0x89, 0xf8}), &number));
  EXPECT_TRUE(is_plain(bytes({0xb8, 7, 0, 0, 0, 0x89, 0xf8})));
  // Nothing short, nothing else first or between, and not the stack pointer.
  EXPECT_FALSE(is_plain(bytes({0x31, 0xc0})));
  EXPECT_FALSE(is_plain(bytes({0x48, 0x8d, 0x74, 0x24, 0x10})));
  EXPECT_FALSE(is_plain(bytes({0xb8, 7, 0, 0, 0, 0x74, 0x00})));
  EXPECT_FALSE(is_plain(bytes({0xb8, 7, 0, 0, 0, 0x89})));
  EXPECT_FALSE(is_plain(bytes({0xb8, 7, 0, 0, 0, 0x48, 0x89, 0xc4})));
  EXPECT_FALSE(is_plain(bytes({0xbc, 7, 0, 0, 0})));
}

} // namespace
} // namespace rrpcp::replay::buffer
