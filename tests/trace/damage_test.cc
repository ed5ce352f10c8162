// Traces that were cut, changed, interrupted or written by a newer program.

#include "base/bytes.h"
#include "base/hash.h"
#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_pack.h"
#include "support/syscall_fault.h"
#include "support/temp_dir.h"
#include "trace/rewrite_trace.h"
#include "trace/sample_trace.h"
#include "trace/trace_state.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace rrpcp {
namespace {

using namespace trace_format;
using test::SampleEvent;
namespace fs = std::filesystem;

// A trace of some chunks in few bytes, data across chunks included.
std::vector<SampleEvent> small_events() {
  std::vector<SampleEvent> events(12);
  for (std::size_t i = 0; i < events.size(); ++i) {
    events[i].task = 7;
    events[i].message_bytes = 40;
    events[i].data_bytes = i == 4 ? 5000 : i * 10;
    events[i].file_before = i == 6;
  }
  return events;
}

TraceWriterOptions small_chunks() {
  TraceWriterOptions options;
  options.chunk_length = 4096;
  return options;
}

// Events that lie in the whole chunks of the first `length` bytes.
std::int64_t events_within(const TraceReader& whole, std::uint64_t length) {
  std::int64_t events = 0;
  const std::vector<TraceChunk>& chunks = whole.chunks();
  const TraceState state(whole.directory(), {});
  ChunkBuffer buffer;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    state.load(i, buffer);
    if (chunks[i].offset + buffer.chunk().extent() > length) {
      break;
    }
    events = chunks[i].first_event + chunks[i].events - 1 - (buffer.chunk().pending != 0 ? 1 : 0);
  }
  return events;
}

TEST(TraceDamage, EveryTruncationIsReadUpToTheLastWholeChunk) {
  test::TempDir dir;
  test::TempDir original;
  const std::vector<SampleEvent> events = small_events();
  test::make_trace(original.path(), events, small_chunks());
  fs::copy(original.file("events"), dir.file("events"));
  const TraceReader whole = TraceReader::open(original.path());
  ASSERT_GE(whole.chunks().size(), 4u);
  const std::uint64_t first_chunk_end = whole.chunks()[1].offset;
  for (std::uint64_t length = whole.file_size(); length-- > 0;) {
    SCOPED_TRACE(length);
    fs::resize_file(dir.file("events"), length);
    if (length < first_chunk_end) {
      try {
        TraceReader::open(dir.path());
        FAIL() << "there is no start record";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kIncomplete);
      }
      continue;
    }
    const TraceReader trace = TraceReader::open(dir.path());
    ASSERT_TRUE(trace.problem());
    EXPECT_EQ(trace.event_count(), events_within(whole, length));
    const test::Outcome outcome = test::read_all(trace, events);
    EXPECT_EQ(outcome.good, trace.event_count());
    EXPECT_EQ(outcome.end, "");
  }
}

TEST(TraceDamage, EveryChangedByteIsNoticed) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = small_events();
  test::make_trace(dir.path(), events, small_chunks());
  const std::string bytes = test::file_text(dir.file("events"));
  TraceReader::open(dir.path()).verify();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ (1 << at % 8));
    test::put_text(dir.file("events"), changed);
    bool noticed = false;
    try {
      const TraceReader trace = TraceReader::open(dir.path());
      if (at % 5 == 0) { // the reader that does not verify everything first shows nothing wrong
        const test::Outcome outcome = test::read_all(trace, events);
        EXPECT_THAT(outcome.end, testing::Not(testing::StartsWith("WRONG"))) << "byte " << at;
      }
      trace.verify();
    } catch (const Error& error) {
      noticed = true;
    }
    EXPECT_TRUE(noticed) << "byte " << at;
  }
}

TEST(TraceDamage, LateEventIsReachedWithoutReadingWhatIsBefore) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = test::usual_events(1000);
  test::make_trace(dir.path(), events, small_chunks());
  std::string bytes = test::file_text(dir.file("events"));
  {
    const TraceReader trace = TraceReader::open(dir.path());
    // Ruins every chunk but the first, which has the start record, and those from event 900 on.
    for (std::size_t i = 1; i < trace.chunks().size() && trace.chunks()[i + 1].first_event < 900;
         ++i) {
      bytes[trace.chunks()[i].offset + kChunkHeaderSize] ^= 1;
    }
  }
  test::put_text(dir.file("events"), bytes);
  const TraceReader trace = TraceReader::open(dir.path());
  for (EventReader reader = trace.events(900); !reader.at_end(); reader.next()) {
    EXPECT_EQ(test::difference(reader, events), "");
  }
  EXPECT_THROW(trace.events(20).next(), Error);
  EXPECT_THROW(trace.verify(), Error);
}

// Writes a trace in a child and interferes.
int write_trace(const std::string& directory, const std::vector<SampleEvent>& events) {
  try {
    test::make_trace(directory, events, small_chunks());
    return 0;
  } catch (const Error& error) {
    return error.code() == ErrorCode::kNoSpace ? 5 : 99;
  }
}

TEST(TraceDamage, KillAtEverySystemCallLeavesWholeChunks) {
  const std::vector<SampleEvent> events = small_events();
  std::uint64_t calls = 0;
  {
    test::TempDir dir;
    const test::FaultRun run =
        test::run_with_faults([&] { return write_trace(dir.path(), events); },
                              [](const test::SyscallEntry&) { return test::Fault{}; });
    ASSERT_EQ(run.status, 0);
    calls = run.calls;
  }
  ASSERT_GT(calls, 10u);
  std::int64_t most = 0;
  for (std::uint64_t at = 0; at < calls; ++at) {
    SCOPED_TRACE(at);
    test::TempDir dir;
    test::run_with_faults([&] { return write_trace(dir.path(), events); },
                          [&](const test::SyscallEntry& call) {
                            return test::Fault{call.index == at ? test::Fault::kKill
                                                                : test::Fault::kNone};
                          });
    try {
      const TraceReader trace = TraceReader::open(dir.path());
      const test::Outcome outcome = test::read_all(trace, events);
      EXPECT_EQ(outcome.end, "");
      EXPECT_EQ(outcome.good, trace.event_count());
      EXPECT_FALSE(trace.being_recorded());
      EXPECT_GE(trace.event_count(), most) << "what was recorded earlier is kept";
      most = trace.event_count();
    } catch (const Error& error) {
      // Before the start record is there.
      EXPECT_EQ(most, 0);
      EXPECT_THAT(error.code(), testing::AnyOf(ErrorCode::kNotFound, ErrorCode::kIncomplete,
                                               ErrorCode::kNotACheckpoint));
    }
  }
  EXPECT_EQ(most, static_cast<std::int64_t>(events.size()));
}

TEST(TraceDamage, FullDiskIsReportedAndLeavesWholeChunks) {
  const std::vector<SampleEvent> events = small_events();
  bool done = false;
  for (std::uint64_t write = 0; !done; ++write) {
    SCOPED_TRACE(write);
    ASSERT_LT(write, 100u);
    test::TempDir dir;
    std::uint64_t seen = 0;
    bool failed = false;
    const test::FaultRun run = test::run_with_faults(
        [&] { return write_trace(dir.path(), events); },
        [&](const test::SyscallEntry& call) {
          if (call.number == SYS_write && seen++ >= write) {
            failed = true;
            // What fits is written, then nothing more.
            return test::Fault{seen == write + 1 ? test::Fault::kShortWrite : test::Fault::kFail,
                               ENOSPC};
          }
          return test::Fault{};
        });
    ASSERT_TRUE(WIFEXITED(run.status));
    done = !failed;
    EXPECT_EQ(WEXITSTATUS(run.status), failed ? 5 : 0);
    if (write < 2) {
      EXPECT_THROW(TraceReader::open(dir.path()), Error);
      continue;
    }
    const TraceReader trace = TraceReader::open(dir.path());
    const test::Outcome outcome = test::read_all(trace, events);
    EXPECT_EQ(outcome.end, "");
    EXPECT_EQ(outcome.good, trace.event_count());
    if (failed) {
      ASSERT_TRUE(trace.problem());
      EXPECT_EQ(trace.problem()->offset(), trace.file_size()) << "nothing lies behind the chunks";
    }
  }
}

TEST(TraceDamage, ShortWritesAreWrittenOn) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = small_events();
  std::uint64_t seen = 0;
  const test::FaultRun run = test::run_with_faults(
      [&] { return write_trace(dir.path(), events); },
      [&](const test::SyscallEntry& call) {
        return test::Fault{call.number == SYS_write && seen++ % 2 == 0 ? test::Fault::kShortWrite
                                                                       : test::Fault::kNone};
      });
  EXPECT_EQ(run.status, 0);
  const TraceReader trace = TraceReader::open(dir.path());
  trace.verify();
  EXPECT_EQ(test::read_all(trace, events).good, trace.event_count());
}

class NewerTrace : public testing::Test {
protected:
  NewerTrace() { test::make_trace(original_.path(), events_, small_chunks()); }

  Error open_error() {
    try {
      TraceReader::open(dir_.path());
    } catch (const Error& error) {
      return error;
    }
    return Error(ErrorCode::kInternal, "no error");
  }

  const std::vector<SampleEvent> events_ = small_events();
  test::TempDir original_;
  test::TempDir dir_;
};

TEST_F(NewerTrace, MinorVersionAndCompatibleFeaturesAreRead) {
  test::TempDir plain;
  test::make_trace(plain.path(), std::vector<SampleEvent>(12, {.task = 7}), small_chunks());
  test::rewrite_trace(plain.path(), dir_.path(), [](TraceHeader& header) {
    header.minor = 9;
    header.compatible = 1u << 5;
    header.incompatible = 0; // raw, so that packing has something to gain
  });
  const TraceReader trace = TraceReader::open(dir_.path());
  trace.verify();
  EXPECT_EQ(trace.header().minor, 9);
  EXPECT_EQ(trace.event_count(), 12);
  PackOptions options;
  options.profile = Profile::kSmall;
  pack_trace(dir_.path(), options);
  const TraceReader packed = TraceReader::open(dir_.path());
  EXPECT_EQ(packed.header().minor, 9) << "rewriting keeps what it does not know";
  EXPECT_EQ(packed.header().compatible, 1u << 5);
}

TEST_F(NewerTrace, ReadOnlyFeatureIsReadAndNotRewritten) {
  test::rewrite_trace(original_.path(), dir_.path(),
                      [](TraceHeader& header) { header.read_only_compatible = 2; });
  EXPECT_EQ(test::read_all(TraceReader::open(dir_.path()), events_).good, 12);
  const std::string before = test::file_text(dir_.file("events"));
  try {
    pack_trace(dir_.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
  }
  EXPECT_EQ(test::file_text(dir_.file("events")), before);
}

TEST_F(NewerTrace, IncompatibleFeatureIsRefusedByName) {
  test::rewrite_trace(original_.path(), dir_.path(),
                      [](TraceHeader& header) { header.incompatible |= std::uint64_t{1} << 7; });
  const Error error = open_error();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
  EXPECT_THAT(error.what(), testing::HasSubstr("bit 7"));
}

TEST_F(NewerTrace, MajorVersionIsRefused) {
  std::string bytes = test::file_text(original_.file("events"));
  bytes[kHeaderMajor] = 2;
  const auto span = std::as_writable_bytes(std::span(bytes)).first(kHeaderSize);
  store_le<std::uint64_t>(span, kHeaderChecksum, xxh3_64(span.first(kHeaderChecksum)));
  test::put_text(dir_.file("events"), bytes);
  const Error error = open_error();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
  EXPECT_THAT(error.what(), testing::HasSubstr("version 2.0"));
}

TEST_F(NewerTrace, UnknownKindsOfRecordsArePassedOver) {
  test::rewrite_trace(
      original_.path(), dir_.path(), [](TraceHeader&) {},
      [](trace::StreamChunk& chunk, std::vector<std::byte>& bytes) {
        for (std::size_t at = chunk.first_record; at + kRecordHeadSize < bytes.size();) {
          const std::span<std::byte> head(bytes.data() + at, kRecordHeadSize);
          if (load_le<std::uint16_t>(head, kRecordKind) == kRecordFile) {
            store_le<std::uint16_t>(head, kRecordKind, 99);
            chunk.contents &= ~kContentsFiles;
          }
          at += kRecordHeadSize +
                std::size_t{load_le<std::uint32_t>(head, kRecordMessage + 4)} * 8 +
                align_up(load_le<std::uint64_t>(head, kRecordDataLength), 8);
        }
      });
  const test::Outcome outcome = test::read_all(TraceReader::open(dir_.path()), events_);
  EXPECT_EQ(outcome.end, "");
  EXPECT_EQ(outcome.good, 12);
}

TEST(TraceDamage, ForeignFilesAreRefused) {
  test::TempDir dir;
  auto code = [&] {
    try {
      TraceReader::open(dir.path());
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(), ErrorCode::kNotFound);
  test::put_text(dir.file("events"), "this is something else altogether");
  EXPECT_EQ(code(), ErrorCode::kNotACheckpoint);
  fs::remove(dir.file("events"));
  fs::create_directory(dir.file("events"));
  EXPECT_EQ(code(), ErrorCode::kNotACheckpoint);
}

TEST(TraceDamage, ChunksOfAnotherTraceAreNoticed) {
  test::TempDir first;
  test::TempDir second;
  test::make_trace(first.path(), small_events(), small_chunks());
  test::make_trace(second.path(), small_events(), small_chunks());
  const TraceReader trace = TraceReader::open(first.path());
  std::string bytes = test::file_text(first.file("events"));
  const std::string other = test::file_text(second.file("events"));
  ASSERT_EQ(TraceReader::open(second.path()).chunks()[2].offset, trace.chunks()[2].offset);
  const std::uint64_t begin = trace.chunks()[1].offset;
  const std::uint64_t end = trace.chunks()[2].offset;
  bytes.replace(begin, end - begin, other, begin, end - begin);
  test::put_text(first.file("events"), bytes);
  EXPECT_THROW(TraceReader::open(first.path()).verify(), Error);
}

// What is reserved today holds something in a trace whose feature words say so; without them it is
// damage. As for checkpoints.
TEST(TraceDamage, ReservedBytesMayBeUsedBehindAFeatureBit) {
  test::TempDir original;
  test::make_trace(original.path(), small_events(), small_chunks());
  const std::string text = test::file_text(original.file("events"));
  const std::vector<TraceChunk> chunks = TraceReader::open(original.path()).chunks();
  for (const std::size_t word : {kHeaderReadOnlyCompat, kHeaderCompatible}) {
    for (const bool announced : {true, false}) {
      std::vector<std::byte> bytes(text.size());
      std::memcpy(bytes.data(), text.data(), text.size());
      // The checksum lies behind what it covers.
      const auto seal = [&](std::size_t at, std::size_t length) {
        const std::uint64_t checksum = xxh3_64(std::span(bytes).subspan(at, length));
        store_le(std::span(bytes), at + length, checksum);
        return checksum;
      };
      store_le<std::uint64_t>(std::span(bytes), word, announced ? std::uint64_t{1} << 9 : 0);
      bytes[kHeaderReserved + 5] = std::byte{1};
      const std::uint64_t stream = seal(0, kHeaderChecksum);
      for (const TraceChunk& chunk : chunks) {
        bytes[chunk.offset + kChunkReserved] = std::byte{2};
        bytes[chunk.offset + kChunkReserved0] = std::byte{3};
        store_le(std::span(bytes), chunk.offset + kChunkStream, stream);
        seal(chunk.offset, kChunkHeaderChecksum);
      }
      const std::size_t footer = bytes.size() - kFooterSize;
      bytes[footer + kFooterReserved] = std::byte{4};
      store_le(std::span(bytes), footer + kFooterStream, stream);
      store_le(std::span(bytes), footer + kFooterChecksum,
               xxh3_64(std::span(bytes).subspan(footer, kFooterChecksum)));
      test::TempDir dir;
      test::put_text(dir.file("events"),
                     std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      if (announced) {
        EXPECT_EQ(TraceReader::open(dir.path()).event_count(), 12);
      } else {
        EXPECT_THROW(TraceReader::open(dir.path()), Error);
      }
    }
  }
}

} // namespace
} // namespace rrpcp
