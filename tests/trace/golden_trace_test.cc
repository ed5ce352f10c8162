// Traces of every released version are shown as they were, and still replay.

#include "support/temp_dir.h"
#include "tools/run_command.h"
#include "trace/sample_trace.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;


std::vector<std::string> versions() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(RRPCP_GOLDEN_DIR)) {
    if (entry.path().filename().string().starts_with("trace-")) {
      found.push_back(entry.path().string());
    }
  }
  return found;
}

// The document without the line that says where the trace lies.
std::string without_place(const std::string& document, const std::string& directory) {
  std::istringstream in(document);
  std::string out;
  for (std::string line; std::getline(in, line);) {
    for (std::size_t at; (at = line.find(directory)) != std::string::npos;) {
      line.replace(at, directory.size(), "GOLDEN");
    }
    if (!line.starts_with("  \"trace\": ")) {
      out += line + "\n";
    }
  }
  return out;
}

TEST(GoldenTraces, ThereAreSome) {
  EXPECT_FALSE(versions().empty());
}

TEST(GoldenTraces, AreShownAsTheyWere) {
  int documents = 0;
  for (const std::string& version : versions()) {
    for (const auto& entry : fs::directory_iterator(version)) {
      const std::string name = entry.path().filename().string();
      if (entry.path().extension() != ".json") {
        continue;
      }
      SCOPED_TRACE(entry.path().string());
      const std::string trace = name.substr(0, name.find('.'));
      const std::string what = name.substr(trace.size() + 1, name.rfind('.') - trace.size() - 1);
      const test::CommandResult result =
          test::run_command({RRPCP_PCP_RR, what, "--json", version + "/" + trace});
      EXPECT_EQ(without_place(result.out, version), test::file_text(entry.path().string()))
          << result.err;
      ++documents;
    }
  }
  EXPECT_GE(documents, 10);
}

TEST(GoldenTraces, StillReplay) {
  int replayed = 0;
  for (const std::string& version : versions()) {
    for (const auto& entry : fs::directory_iterator(version)) {
      if (entry.path().extension() != ".out") {
        continue;
      }
      const std::string trace = version + "/" + entry.path().stem().string();
      SCOPED_TRACE(trace);
      const std::string expected = test::file_text(entry.path().string());
      const test::CommandResult whole =
          test::run_command({RRPCP_PCP_RR, "replay", "-a", "--ignore-pcp", trace});
      EXPECT_EQ(whole.code, 0) << whole.err;
      EXPECT_EQ(whole.out, expected);
      // From a checkpoint: the end of the same output.
      const test::CommandResult late =
          test::run_command({RRPCP_PCP_RR, "replay", "-a", "-g", "30", trace});
      EXPECT_EQ(late.code, 0) << late.err;
      EXPECT_FALSE(late.out.empty());
      EXPECT_LT(late.out.size(), expected.size());
      EXPECT_TRUE(expected.ends_with(late.out)) << late.out;
      ++replayed;
    }
  }
  EXPECT_GE(replayed, 1);
}

TEST(GoldenTraces, CheckpointsAgreeWithTheirTraces) {
  for (const std::string& version : versions()) {
    const test::CommandResult result =
        test::run_command({RRPCP_PCP_VALIDATE, "--trace", version + "/tiny"});
    EXPECT_EQ(result.code, 0) << result.out << result.err;
    EXPECT_THAT(result.out, testing::HasSubstr(" valid, 0 invalid, 0 unreadable"));
  }
}

TEST(TraceCommands, NewerAndForeignTracesAreRefusedInWords) {
  const std::string version = versions().at(0);
  const test::CommandResult newer =
      test::run_command({RRPCP_PCP_RR, "dump", version + "/newer-feature"});
  EXPECT_EQ(newer.code, 8);
  EXPECT_THAT(newer.err, testing::HasSubstr("bit 8"));
  const test::CommandResult missing = test::run_command({RRPCP_PCP_RR, "ps", version + "/none"});
  EXPECT_EQ(missing.code, 3);
  const test::CommandResult damaged =
      test::run_command({RRPCP_PCP_RR, "traceinfo", "--verify", version + "/damaged"});
  EXPECT_EQ(damaged.code, 8);
  EXPECT_THAT(damaged.err, testing::HasSubstr("at byte"));
  const test::CommandResult usage = test::run_command({RRPCP_PCP_RR, "dmup"});
  EXPECT_EQ(usage.code, 2);
  EXPECT_THAT(usage.err, testing::HasSubstr("did you mean 'dump'"));
}

TEST(TraceCommands, DumpTakesRangesAndFilters) {
  const std::string trace = versions().at(0) + "/tiny";
  auto lines = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {RRPCP_PCP_RR, "dump", trace});
    const test::CommandResult result = test::run_command(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    std::vector<std::string> out;
    std::istringstream in(result.out);
    for (std::string line; std::getline(in, line);) {
      out.push_back(line);
    }
    return out;
  };
  EXPECT_EQ(lines({"3"}).size(), 1u);
  EXPECT_EQ(lines({"3-7", "2"}).size(), 6u);
  EXPECT_EQ(lines({"end"}).size(), 1u);
  EXPECT_EQ(lines({"30-"}).size(), 8u);
  EXPECT_EQ(lines({"-5"}).size(), 5u);
  EXPECT_EQ(lines({"-5"}), lines({"1-5"}));
  EXPECT_EQ(lines({"-b", "-2", "30-31"}).size(), 4u);
  EXPECT_EQ(lines({"--syscallbuf"}), lines({}));
  EXPECT_THAT(lines({"1"})[0], testing::HasSubstr("exec "));
  // Exec, two new tasks, three ends.
  EXPECT_EQ(lines({"-e"}).size(), 6u);
  EXPECT_THAT(lines({"-s"})[0], testing::HasSubstr("events"));
  const test::CommandResult bad = test::run_command({RRPCP_PCP_RR, "dump", trace, "9-3"});
  EXPECT_EQ(bad.code, 2);
  const test::CommandResult task = test::run_command({RRPCP_PCP_RR, "dump", trace, "-t", "-5"});
  EXPECT_EQ(task.code, 2); // the option's value, not a range
}

TEST(TraceCommands, ListCountsCheckpointsIn) {
  test::TempDir root;
  fs::copy(versions().at(0) + "/tiny", root.file("tiny-0"), fs::copy_options::recursive);
  fs::copy(versions().at(0) + "/incomplete", root.file("cut-3"), fs::copy_options::recursive);
  ASSERT_EQ(::setenv("_PCP_RR_TRACE_DIR", root.path().c_str(), 1), 0);
  const test::CommandResult names = test::run_command({RRPCP_PCP_RR, "ls"});
  EXPECT_EQ(names.out, "cut-3\ntiny-0\n") << names.err;
  const test::CommandResult lines = test::run_command({RRPCP_PCP_RR, "ls", "-l", "-r"});
  EXPECT_EQ(lines.code, 0);
  EXPECT_THAT(lines.out, testing::ContainsRegex("tiny-0 .*[0-9]+ \\([0-9.]+ .*iB\\).* 0  .*tiny"));
  EXPECT_THAT(lines.out, testing::ContainsRegex("cut-3 .* none "));
  EXPECT_LT(lines.out.find("tiny-0"), lines.out.find("cut-3"));
  std::uintmax_t size = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root.file("tiny-0"))) {
    size += entry.is_regular_file() ? entry.file_size() : 0;
  }
  const test::CommandResult json = test::run_command({RRPCP_PCP_RR, "ls", "--json"});
  EXPECT_THAT(json.out, testing::HasSubstr("\"size\": \"" + std::to_string(size) + "\""));
  ::unsetenv("_PCP_RR_TRACE_DIR");
}

TEST(TraceCommands, PackedTraceStillReplaysFromItsCheckpoints) {
  test::TempDir dir;
  const std::string trace = dir.file("tiny");
  fs::copy(versions().at(0) + "/tiny", trace, fs::copy_options::recursive);
  const test::CommandResult packed =
      test::run_command({RRPCP_PCP_RR, "pack", "--profile", "small", trace});
  EXPECT_EQ(packed.code, 0) << packed.err;
  const test::CommandResult valid = test::run_command({RRPCP_PCP_VALIDATE, "--trace", trace});
  EXPECT_EQ(valid.code, 0) << valid.out << valid.err;
  const test::CommandResult late =
      test::run_command({RRPCP_PCP_RR, "replay", "-a", "-g", "30", trace});
  EXPECT_EQ(late.code, 0) << late.err;
  EXPECT_THAT(late.out, testing::EndsWith("end\n"));
}

} // namespace
} // namespace rrpcp
