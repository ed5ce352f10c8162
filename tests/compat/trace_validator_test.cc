// Every finding about a checkpoint and its trace can be made.

#include "compat/golden.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"
#include "support/checkpoint_bytes.h"

#include <capnp/message.h>
#include <filesystem>
#include <gtest/gtest.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

class TraceValidatorTest : public testing::Test {
protected:
  TraceValidatorTest()
      : trace_(LegacyTrace::open(golden_.trace())),
        imported_(
            test::import_to(trace_.load(test::entry_at(trace_, 244)), golden_.file("c.pcp"))) {}

  // Findings about a checkpoint that differs from the good one.
  std::vector<Finding> after(const std::function<void(schema::State::Builder)>& change) {
    const CheckpointReader changed = test::rewrite(imported_, golden_.file("changed.pcp"), change);
    return TraceValidator(golden_.trace(), {changed.header().event}).check(changed);
  }

  test::Golden golden_{"rr-2025/tiny_fork"};
  LegacyTrace trace_;
  CheckpointReader imported_;
};

TEST_F(TraceValidatorTest, GoodOneHasNoFindings) {
  EXPECT_TRUE(after([](schema::State::Builder) {}).empty());
}

TEST_F(TraceValidatorTest, AnotherTrace) {
  const auto findings =
      after([](schema::State::Builder state) { state.getTrace().getUuid()[0] ^= 1; });
  EXPECT_TRUE(test::has_code(findings, "rr-trace.uuid"));
}

TEST_F(TraceValidatorTest, AnotherTraceFormat) {
  EXPECT_TRUE(test::has_code(
      after([](schema::State::Builder state) { state.getTrace().setFormatVersion(84); }),
      "rr-trace.format"));
}

TEST_F(TraceValidatorTest, EventBeyondTheEnd) {
  EXPECT_TRUE(test::has_code(
      after([](schema::State::Builder state) { state.getPosition().getClone().setEvent(5000); }),
      "rr-trace.event-missing"));
}

TEST_F(TraceValidatorTest, EventThatHoldsNoCheckpoint) {
  // The last frame of the trace is an exit.
  EXPECT_TRUE(test::has_code(
      after([](schema::State::Builder state) { state.getPosition().getClone().setEvent(608); }),
      "rr-trace.event-kind"));
}

TEST_F(TraceValidatorTest, AnotherEventOfTheTrace) {
  const auto findings =
      after([](schema::State::Builder state) { state.getPosition().getClone().setEvent(264); });
  EXPECT_TRUE(test::has_code(findings, "rr-trace.registers"));
  EXPECT_TRUE(test::has_code(findings, "rr-trace.ticks"));
  EXPECT_TRUE(test::has_code(findings, "rr-trace.cursor-wrong"));
}

TEST_F(TraceValidatorTest, Ticks) {
  const auto findings = after([](schema::State::Builder state) {
    auto replay = state.getTasks()[1].getReplay();
    replay.setTicks(replay.getTicks() + 1);
  });
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].code, "rr-trace.ticks");
  EXPECT_EQ(findings[0].path, "state.tasks[1].replay.ticks");
}

TEST_F(TraceValidatorTest, Registers) {
  const auto findings = after([](schema::State::Builder state) {
    state.getTasks()[2].getRegisters()[0].getData()[8 * 10] ^= 1; // rax
  });
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].code, "rr-trace.registers");
  EXPECT_NE(findings[0].message.find("word 10"), std::string::npos);
}

TEST_F(TraceValidatorTest, Tasks) {
  const auto findings =
      after([](schema::State::Builder state) { state.getTasks()[2].setTid(99999); });
  EXPECT_TRUE(test::has_code(findings, "rr-trace.task-unknown"));
  EXPECT_TRUE(test::has_code(findings, "rr-trace.task-missing"));
}

TEST_F(TraceValidatorTest, Mappings) {
  const auto findings = after([](schema::State::Builder state) {
    for (auto mapping : state.getAddressSpaces()[0].getMappings()) {
      if (mapping.getObject() != schema::NO_INDEX && mapping.getStart() == 0x401000) {
        mapping.getRr().setFileOffset(mapping.getRr().getFileOffset() + 4096);
      }
    }
  });
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].code, "rr-trace.mapping");
}

TEST_F(TraceValidatorTest, BackingFiles) {
  const std::string program = golden_.trace() + "/mmap_hardlink_3_tiny_fork";
  auto bytes = test::read_file(program);
  const auto check = [&] { return TraceValidator(golden_.trace(), {244}).check(imported_); };
  fs::remove(program);
  EXPECT_TRUE(test::has_code(check(), "rr-trace.backing-missing"));
  bytes[0x1000] ^= std::byte{1};
  test::write_file(program, bytes);
  EXPECT_TRUE(test::has_code(check(), "rr-trace.backing-content"));
  bytes.push_back(std::byte{0});
  test::write_file(program, bytes);
  EXPECT_TRUE(test::has_code(check(), "rr-trace.backing-size"));
}

TEST_F(TraceValidatorTest, DamagedStream) {
  const std::string events = golden_.trace() + "/events";
  auto bytes = test::read_file(events);
  fs::remove(events);
  test::write_file(events, std::span(bytes).first(100));
  EXPECT_TRUE(
      test::has_code(TraceValidator(golden_.trace(), {244}).check(imported_), "rr-trace.stream"));
}

TEST_F(TraceValidatorTest, EventNotPrepared) {
  EXPECT_THROW(TraceValidator(golden_.trace(), {1}).check(imported_), Error);
}

} // namespace
} // namespace rrpcp
