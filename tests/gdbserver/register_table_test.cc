// The registers of the protocol against what the processor and gdb say.

#include "gdbserver/register_table.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/user.h>

namespace rrpcp::gdbserver {
namespace {

XsavePlaces everything() {
  XsavePlaces places;
  places.components = 0x2e7;
  places.offsets[2] = 576;
  places.offsets[5] = 1088;
  places.offsets[6] = 1152;
  places.offsets[7] = 1664;
  places.offsets[9] = 2688;
  return places;
}

std::vector<std::byte> bytes_of(const RegisterTable& table, std::string_view name,
                                std::span<const std::byte> set) {
  return RegisterTable::value(*table.find(*table.number_of(name)), set).value();
}

TEST(RegisterTable, NumbersAreGdbs) {
  const RegisterTable table(everything());
  // amd64-tdep.h of gdb: enum amd64_regnum, up to mxcsr.
  const std::pair<const char*, unsigned> known[] = {
      {"rax", 0},     {"rbp", 6},    {"rsp", 7},   {"r15", 15},   {"rip", 16},
      {"eflags", 17}, {"gs", 23},    {"st0", 24},  {"fctrl", 32}, {"fop", 39},
      {"xmm0", 40},   {"xmm15", 55}, {"mxcsr", 56}};
  for (const auto& [name, number] : known) {
    EXPECT_EQ(table.number_of(name), number) << name;
  }
  for (const char* name :
       {"orig_rax", "fs_base", "ymm15h", "k7", "zmm15h", "xmm31", "ymm31h", "zmm31h", "pkru"}) {
    EXPECT_TRUE(table.number_of(name)) << name;
  }
}

TEST(RegisterTable, HasNoMoreThanTheProcessor) {
  XsavePlaces places;
  places.components = 7;
  places.offsets[2] = 576;
  const RegisterTable table(places);
  EXPECT_TRUE(table.number_of("ymm0h"));
  EXPECT_FALSE(table.number_of("k0"));
  EXPECT_FALSE(table.number_of("pkru"));
  EXPECT_FALSE(target_description(table, "64bit-avx512.xml"));
}

TEST(RegisterTable, ValuesComeFromTheirPlaces) {
  const RegisterTable table(everything());
  user_regs_struct general{};
  general.rip = 0x1122334455667788;
  general.eflags = 0x246;
  const auto set = std::as_bytes(std::span(&general, 1));
  EXPECT_EQ(std::memcmp(bytes_of(table, "rip", set).data(), &general.rip, 8), 0);
  EXPECT_EQ(bytes_of(table, "eflags", set).size(), 4U);
  std::vector<std::byte> xsave(2696);
  xsave[1664 + 64 + 16] = std::byte(0x5a);
  EXPECT_EQ(bytes_of(table, "ymm17h", xsave)[0], std::byte(0x5a));
  for (const RegisterInfo& info : table.registers()) {
    if (info.note == kNoteXsave) {
      EXPECT_FALSE(RegisterTable::value(info, std::span(xsave).first(1))) << info.name;
    }
  }
}

// What is put comes back, and XSTATE_BV says that the component is in use.
TEST(RegisterTable, WhatIsPutComesBack) {
  const RegisterTable table(everything());
  for (const RegisterInfo& info : table.registers()) {
    std::vector<std::byte> set(info.note == kNoteGeneral ? sizeof(user_regs_struct) : 2696);
    std::vector<std::byte> value(info.bytes());
    std::fill_n(value.begin(), info.tags ? 0 : info.size, std::byte(0x11));
    if (info.tags) {
      value[0] = value[1] = std::byte(0xff); // all empty
    }
    ASSERT_TRUE(RegisterTable::put(info, value, set)) << info.name;
    EXPECT_EQ(RegisterTable::value(info, set), value) << info.name;
    if (info.note == kNoteXsave) {
      std::uint64_t in_use = 0;
      std::memcpy(&in_use, set.data() + 512, sizeof in_use);
      EXPECT_EQ(in_use, std::uint64_t{1} << info.component) << info.name;
    }
    EXPECT_FALSE(RegisterTable::put(info, std::span(value).first(1), set) && info.bytes() != 1);
  }
}

// FXSAVE has one bit for each register, the protocol two: 0 valid, 1 zero, 2 special, 3 empty.
TEST(RegisterTable, TagsAreComputed) {
  const RegisterTable table(everything());
  std::vector<std::byte> set(2696);
  set[3] = std::byte(6 << 3); // the top of the stack is physical register 6
  set[4] = std::byte(0b11000000);
  set[32 + 9] = std::byte(0x3f); // st0 = 1.0: exponent 3fff, mantissa 8000…
  set[32 + 8] = std::byte(0xff);
  set[32 + 7] = std::byte(0x80);
  const std::vector<std::byte> tags = bytes_of(table, "ftag", set);
  EXPECT_EQ(tags[0], std::byte(0xff));
  EXPECT_EQ(tags[1], std::byte(0b01001111)); // physical 7 is st1: zero
}

TEST(TargetDescription, IncludesWhatItNames) {
  const RegisterTable table(everything());
  const std::string target = target_description(table, "target.xml").value();
  EXPECT_THAT(target, testing::HasSubstr("i386:x86-64"));
  std::size_t registers = 0;
  std::size_t includes = 0;
  for (std::size_t at = target.find("href=\""); at != target.npos;
       at = target.find("href=\"", at + 1)) {
    const std::string annex = target.substr(at + 6, target.find('"', at + 6) - at - 6);
    const std::optional<std::string> feature = target_description(table, annex);
    ASSERT_TRUE(feature) << annex;
    ++includes;
    for (std::size_t reg = feature->find("<reg "); reg != feature->npos;
         reg = feature->find("<reg ", reg + 1)) {
      ++registers;
    }
  }
  EXPECT_EQ(includes, 7U);
  EXPECT_EQ(registers, table.registers().size());
  EXPECT_FALSE(target_description(table, "../etc/passwd"));
}

} // namespace
} // namespace rrpcp::gdbserver
