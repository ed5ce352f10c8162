// rr's traces: places from which reading goes on, and damage.

#include "compat/golden.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/rr_trace.h"
#include "support/checkpoint_bytes.h"

#include <filesystem>
#include <gtest/gtest.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

bool same(const RrTraceFrame& a, const RrTraceFrame& b) {
  return a.event == b.event && a.tid == b.tid && a.ticks == b.ticks && a.kind == b.kind &&
         a.registers == b.registers && a.extra_registers == b.extra_registers &&
         a.syscall_number == b.syscall_number && a.syscall_phase == b.syscall_phase &&
         a.data_bytes == b.data_bytes;
}

std::vector<RrTraceFrame> all_frames(RrTraceFrameReader reader) {
  std::vector<RrTraceFrame> frames;
  while (auto frame = reader.next()) {
    frames.push_back(std::move(*frame));
  }
  return frames;
}

TEST(Trace, HeaderIsRead) {
  const test::Golden golden("rr-2025/tiny_fork");
  const RrTrace trace = RrTrace::open(golden.trace() + "/");
  EXPECT_EQ(trace.header().version, 85u);
  EXPECT_EQ(trace.header().uuid.to_string(), "6228e7d8-4c8d-65a4-d801-971f49385fd5");
  EXPECT_EQ(trace.header().machine, 62);
  EXPECT_EQ(trace.header().xcr0, 0xe7u);
  EXPECT_EQ(all_frames(trace.frames()).size(), 608u);
  EXPECT_EQ(trace.tasks().size(), 6u);
}

TEST(Trace, ReadingFromACursorYieldsTheSameFramesAndData) {
  const test::Golden golden("rr-2025/tiny_ticks");
  const LegacyTrace legacy = LegacyTrace::open(golden.trace());
  const RrTrace& trace = legacy.trace();
  const std::vector<RrTraceFrame> frames = all_frames(trace.frames());
  ASSERT_EQ(frames.size(), 2518u);
  std::uint64_t data_before = 0;
  std::vector<std::uint64_t> data_offsets;
  for (const RrTraceFrame& frame : frames) {
    data_offsets.push_back(data_before);
    data_before += frame.data_bytes;
  }
  const std::vector<std::byte> all_data = trace.read_data({}, data_before);

  for (const LegacyEntry& entry : legacy.entries()) {
    // The cursor as the imported file stores it.
    const CheckpointReader imported =
        test::import_to(legacy.load(entry), golden.file("imported.pcp"));
    RrTraceCursor cursor;
    for (const auto stored : imported.state().getTrace().getCursor()) {
      const StreamPosition place{stored.getBlockOffset(), stored.getOffsetInBlock(),
                                 stored.getDecodedOffset()};
      const std::string stream = stored.getStream();
      (stream == "events"  ? cursor.events
       : stream == "data"  ? cursor.data
       : stream == "mmaps" ? cursor.mmaps
                           : cursor.tasks) = place;
    }
    const std::vector<RrTraceFrame> rest = all_frames(trace.frames(entry.event, cursor.events));
    const auto skipped = static_cast<std::size_t>(entry.event - 1);
    ASSERT_EQ(rest.size(), frames.size() - skipped);
    for (std::size_t i = 0; i < rest.size(); ++i) {
      ASSERT_TRUE(same(rest[i], frames[skipped + i])) << "event " << rest[i].event;
    }
    EXPECT_EQ(cursor.data.decoded_offset, data_offsets[skipped]);
    const std::uint64_t left = data_before - cursor.data.decoded_offset;
    const std::vector<std::byte> data = trace.read_data(cursor.data, left);
    EXPECT_TRUE(std::equal(data.begin(), data.end(),
                           all_data.begin() + static_cast<std::ptrdiff_t>(data_before - left)));
  }
}

TEST(Trace, CursorOfTheEndAndBeyond) {
  const test::Golden golden("rr-2025/tiny_fork");
  const RrTrace trace = RrTrace::open(golden.trace());
  const auto cursors = trace.cursors({609, 1, 610, 700, 1});
  ASSERT_EQ(cursors.size(), 5u);
  ASSERT_TRUE(cursors[0]);
  EXPECT_EQ(cursors[0]->events.block_offset, fs::file_size(golden.trace() + "/events"));
  EXPECT_TRUE(all_frames(trace.frames(609, cursors[0]->events)).empty());
  ASSERT_TRUE(cursors[1]);
  EXPECT_EQ(cursors[1], cursors[4]);
  EXPECT_EQ(cursors[1]->events, StreamPosition{});
  EXPECT_FALSE(cursors[2]);
  EXPECT_FALSE(cursors[3]);
}

class DamagedTrace : public testing::Test {
protected:
  std::vector<std::byte> events() const { return test::read_file(golden_.trace() + "/events"); }
  void replace_events(std::span<const std::byte> bytes) const {
    fs::remove(golden_.trace() + "/events");
    test::write_file(golden_.trace() + "/events", bytes);
  }
  ErrorCode code_of_reading() const {
    try {
      all_frames(RrTrace::open(golden_.trace()).frames());
    } catch (const Error& error) {
      EXPECT_NE(error.file().find("/events"), std::string::npos);
      EXPECT_TRUE(error.offset());
      return error.code();
    }
    ADD_FAILURE() << "the damage was not noticed";
    return ErrorCode::kInternal;
  }

  test::Golden golden_{"rr-2025/tiny_threads"};
};

TEST_F(DamagedTrace, CutWithinABlock) {
  const auto bytes = events();
  for (const std::size_t length : {std::size_t{3}, std::size_t{8}, bytes.size() - 1}) {
    replace_events(std::span(bytes).first(length));
    EXPECT_EQ(code_of_reading(), ErrorCode::kIncomplete) << length;
  }
}

TEST_F(DamagedTrace, FlippedByteInABlock) {
  auto bytes = events();
  for (std::size_t at = 8; at < 24; ++at) {
    bytes[at] ^= std::byte{0xff};
  }
  replace_events(bytes);
  EXPECT_EQ(code_of_reading(), ErrorCode::kDamaged);
}

TEST_F(DamagedTrace, AbsurdBlockLength) {
  auto bytes = events();
  for (std::size_t at = 4; at < 8; ++at) {
    bytes[at] = std::byte{0xff};
  }
  replace_events(bytes);
  EXPECT_EQ(code_of_reading(), ErrorCode::kLimit);
}

TEST(Trace, OtherVersionsAndUnfinishedRecordingsAreRefused) {
  const test::Golden golden("rr-2025/tiny_threads");
  const std::string version = golden.trace() + "/version";
  auto bytes = test::read_file(version);
  bytes[1] = std::byte{'6'};
  test::write_file(version, bytes);
  EXPECT_THROW(
      {
        try {
          RrTrace::open(golden.trace());
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
          throw;
        }
      },
      Error);
  fs::rename(version, golden.trace() + "/incomplete");
  EXPECT_THROW(
      {
        try {
          RrTrace::open(golden.trace());
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kIncomplete);
          throw;
        }
      },
      Error);
}

} // namespace
} // namespace rrpcp
