// Every finding about a checkpoint and its trace can be made, and the page lists them.

#include "rrpcp/error.h"
#include "rrpcp/store.h"
#include "rrpcp/trace/trace_pack.h"
#include "rrpcp/trace/trace_validate.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"
#include "support/temp_dir.h"
#include "trace/sample_trace.h"

#include <cstring>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <sys/user.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

class TraceValidateTest : public testing::Test {
protected:
  TraceValidateTest() {
    fs::copy(RRPCP_GOLDEN_DIR "/trace-1.0/tiny", trace_, fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(trace_)) {
      fs::permissions(entry.path(), fs::perms::owner_all, fs::perm_options::add);
    }
    // The one with the most tasks.
    for (const StoreEntry& entry : Store(trace_ + "/checkpoints").list()) {
      const CheckpointReader reader = CheckpointReader::open(entry.path);
      if (reader.state().getTasks().size() >= tasks_) {
        tasks_ = reader.state().getTasks().size();
        checkpoint_ = entry.path;
      }
    }
  }

  std::vector<Finding> check(const std::string& path) {
    const CheckpointReader reader = CheckpointReader::open(path);
    return ReplayTraceValidator(trace_, {reader.header().event}).check(reader);
  }

  // Codes of the findings about a checkpoint that differs from the good one.
  std::vector<std::string> after(const std::function<void(schema::State::Builder)>& change) {
    test::Forge forge(test::read_file(checkpoint_));
    forge.change([&](schema::Manifest::Builder manifest) { change(manifest.getState()); });
    const std::string path = dir_.file("changed.pcp");
    test::write_file(path, forge.assemble());
    return codes(check(path));
  }

  static std::vector<std::string> codes(const std::vector<Finding>& findings) {
    std::vector<std::string> all;
    for (const Finding& finding : findings) {
      all.emplace_back(finding.code);
      EXPECT_FALSE(finding.hint.empty());
    }
    return all;
  }

  test::TempDir dir_;
  std::string trace_ = dir_.file("tiny");
  std::string checkpoint_;
  std::size_t tasks_ = 1;
};

TEST_F(TraceValidateTest, GoodOnesHaveNoFindings) {
  std::size_t count = 0;
  for (const StoreEntry& entry : Store(trace_ + "/checkpoints").list()) {
    EXPECT_THAT(codes(check(entry.path)), testing::IsEmpty()) << entry.path;
    ++count;
  }
  EXPECT_GE(count, 3u);
  EXPECT_GE(tasks_, 2u) << "one of them has several tasks";
}

TEST_F(TraceValidateTest, AnotherTrace) {
  EXPECT_THAT(after([](schema::State::Builder state) { state.getTrace().getUuid()[0] ^= 1; }),
              testing::ElementsAre("pcp-trace.uuid"));
}

TEST_F(TraceValidateTest, AnotherFormat) {
  EXPECT_THAT(after([](schema::State::Builder state) { state.getTrace().setFormatVersion(2); }),
              testing::ElementsAre("pcp-trace.format"));
}

TEST_F(TraceValidateTest, EventBeyondTheEnd) {
  EXPECT_THAT(
      after([](schema::State::Builder state) { state.getPosition().getClone().setEvent(5000); }),
      testing::ElementsAre("pcp-trace.event-missing"));
}

TEST_F(TraceValidateTest, AnotherEvent) {
  EXPECT_THAT(after([](schema::State::Builder state) {
                auto clone = state.getPosition().getClone();
                clone.setEvent(clone.getEvent() + 1);
              }),
              testing::IsSupersetOf({"pcp-trace.cursor", "pcp-trace.ticks"}));
}

TEST_F(TraceValidateTest, Cursor) {
  EXPECT_THAT(after([](schema::State::Builder state) {
                auto cursor = state.getTrace().getCursor()[0];
                cursor.setOffsetInBlock(cursor.getOffsetInBlock() + 8);
              }),
              testing::ElementsAre("pcp-trace.cursor"));
  EXPECT_THAT(after([](schema::State::Builder state) {
                state.getTrace().getCursor()[0].setStream("data");
              }),
              testing::ElementsAre("pcp-trace.cursor"));
  EXPECT_THAT(after([](schema::State::Builder state) {
                state.getTrace().getCursor()[0].setBlockOffset(7);
              }),
              testing::ElementsAre("pcp-trace.cursor-moved"));
}

TEST_F(TraceValidateTest, Tasks) {
  EXPECT_THAT(after([](schema::State::Builder state) {
                state.getTasks()[1].setTid(state.getTasks()[1].getTid() + 1000);
              }),
              testing::UnorderedElementsAre("pcp-trace.task-unknown", "pcp-trace.task-missing"));
  EXPECT_THAT(after([](schema::State::Builder state) {
                auto replay = state.getTasks()[0].getReplay();
                replay.setTicks(replay.getTicks() + 1);
              }),
              testing::ElementsAre("pcp-trace.ticks"));
}

TEST_F(TraceValidateTest, Registers) {
  // The task's general registers are compared, each of them but the number of the last call.
  auto flip = [&](std::size_t offset) {
    return after([&](schema::State::Builder state) {
      for (auto set : state.getTasks()[0].getRegisters()) {
        if (set.getNoteType() == 1) {
          set.getData()[offset] ^= 1;
        }
      }
    });
  };
  for (const std::size_t offset :
       {offsetof(user_regs_struct, rip), offsetof(user_regs_struct, r15),
        offsetof(user_regs_struct, rsp), offsetof(user_regs_struct, fs_base)}) {
    EXPECT_THAT(flip(offset), testing::ElementsAre("pcp-trace.registers")) << offset;
  }
  EXPECT_THAT(flip(offsetof(user_regs_struct, orig_rax)), testing::IsEmpty());
}

TEST_F(TraceValidateTest, Files) {
  std::string kept;
  for (const auto& entry : fs::directory_iterator(trace_ + "/files")) {
    kept = entry.path().string();
  }
  const std::string text = test::file_text(kept);
  std::string changed = text;
  changed[changed.size() / 2] ^= 1;
  test::put_text(kept, changed);
  EXPECT_THAT(codes(check(checkpoint_)), testing::Contains("pcp-trace.file-content"));
  test::put_text(kept, text + "x");
  EXPECT_THAT(codes(check(checkpoint_)), testing::Contains("pcp-trace.file-size"));
  fs::remove(kept);
  EXPECT_THAT(codes(check(checkpoint_)), testing::Contains("pcp-trace.file-missing"));
}

TEST_F(TraceValidateTest, DamagedTrace) {
  const TraceReader trace = TraceReader::open(trace_);
  std::string bytes = test::file_text(trace.stream_name());
  bytes[trace.chunks()[1].offset + trace_format::kChunkHeaderSize + 5] ^= 1;
  test::put_text(trace.stream_name(), bytes);
  EXPECT_THAT(codes(check(checkpoint_)), testing::ElementsAre("pcp-trace.stream"));
}

TEST_F(TraceValidateTest, PackedTraceMovesCursorsOnly) {
  PackOptions options;
  options.profile = Profile::kSmall;
  pack_trace(trace_, options);
  EXPECT_THAT(codes(check(checkpoint_)),
              testing::AnyOf(testing::IsEmpty(), testing::ElementsAre("pcp-trace.cursor-moved")));
}

TEST_F(TraceValidateTest, EventNotPrepared) {
  const CheckpointReader reader = CheckpointReader::open(checkpoint_);
  EXPECT_THROW(ReplayTraceValidator(trace_, {}).check(reader), Error);
}

} // namespace
} // namespace rrpcp
