// Packing of traces.

#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_pack.h"
#include "support/temp_dir.h"
#include "trace/file_store.h"
#include "trace/sample_trace.h"
#include "trace/trace_state.h"

#include <fcntl.h>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

class PackTest : public testing::Test {
protected:
  PackTest()
      : writer_(test::begin_trace(dir_.path(), {.profile = Profile::kRaw})), store_(*writer_) {}

  // A kept file that is a further name of another.
  std::string keep_linked() {
    const std::string original = dir_.file("original");
    test::put_text(original, "contents");
    const ScopedFd fd(::open(original.c_str(), O_RDONLY | O_CLOEXEC));
    const std::string kept = dir_.file(store_.keep(fd.get(), original).path);
    fs::remove(kept);
    fs::create_hard_link(original, kept);
    return kept;
  }

  std::uint64_t links(const std::string& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_nlink;
  }

  std::vector<std::byte> decoded_stream() {
    const TraceState state(dir_.path(), {});
    std::vector<std::byte> all;
    ChunkBuffer buffer;
    for (std::uint64_t i = 0; i < state.chunks.size(); ++i) {
      state.load(i, buffer);
      all.insert(all.end(), buffer.bytes().begin(), buffer.bytes().end());
    }
    return all;
  }

  test::TempDir dir_;
  std::unique_ptr<TraceWriter> writer_;
  trace::TraceFileStore store_;
};

TEST_F(PackTest, LinksBecomeCopiesAndTheStreamSmaller) {
  const std::vector<test::SampleEvent> events = test::usual_events(500);
  const std::string kept = keep_linked();
  for (const test::SampleEvent& event : events) {
    test::append_sample(*writer_, {event.task, event.message_bytes, event.data_bytes, false});
  }
  writer_->finish(0);
  writer_.reset();
  const std::vector<std::byte> before = decoded_stream();
  const TraceUuid uuid = TraceReader::open(dir_.path()).uuid();
  ASSERT_EQ(links(kept), 2u);
  test::put_text(dir_.file("files/.taking-1"), "left by an interrupted recorder");

  PackOptions options;
  options.profile = Profile::kSmall;
  const PackReport report = pack_trace(dir_.path(), options);
  EXPECT_EQ(report.copied_files, 1u);
  EXPECT_EQ(report.removed_files, 1u);
  EXPECT_LT(report.stream_after, report.stream_before);
  EXPECT_EQ(report.stream_after, fs::file_size(dir_.file("events")));
  EXPECT_EQ(links(kept), 1u);
  test::put_text(dir_.file("original"), "changed");
  EXPECT_EQ(test::file_text(kept), "contents");

  const TraceReader trace = TraceReader::open(dir_.path());
  trace.verify();
  EXPECT_EQ(trace.uuid(), uuid);
  EXPECT_TRUE(decoded_stream() == before);
  EXPECT_EQ(test::read_all(trace, events).good, 500);
  const PackReport again = pack_trace(dir_.path(), options);
  EXPECT_EQ(again.copied_files, 0u);
  EXPECT_EQ(again.stream_after, report.stream_after);
}

TEST_F(PackTest, ChangedAndMissingFilesAreNamed) {
  const std::string kept = keep_linked();
  writer_->finish(0);
  writer_.reset();
  test::put_text(dir_.file("original"), "contentz");
  auto problem = [&]() -> std::string {
    try {
      pack_trace(dir_.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBackingFile);
      return error.what();
    }
    return "none";
  };
  EXPECT_THAT(problem(), testing::HasSubstr(fs::path(kept).filename().string()));
  fs::remove(kept);
  EXPECT_THAT(problem(), testing::HasSubstr(fs::path(kept).filename().string()));
}

TEST_F(PackTest, TraceThatIsBeingRecordedIsLeftAlone) {
  test::append_sample(*writer_, {});
  writer_->flush();
  const std::string before = test::file_text(dir_.file("events"));
  EXPECT_THROW(pack_trace(dir_.path()), Error);
  EXPECT_EQ(test::file_text(dir_.file("events")), before);
}

TEST_F(PackTest, IncompleteTraceKeepsItsStream) {
  test::append_sample(*writer_, {});
  writer_.reset();
  const std::string before = test::file_text(dir_.file("events"));
  const PackReport report = pack_trace(dir_.path());
  EXPECT_EQ(report.stream_after, report.stream_before);
  EXPECT_EQ(test::file_text(dir_.file("events")), before);
  EXPECT_EQ(TraceReader::open(dir_.path()).event_count(), 1);
}

} // namespace
} // namespace rrpcp
