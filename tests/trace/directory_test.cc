// Names and places of traces.

#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"
#include "support/temp_dir.h"
#include "trace/sample_trace.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

// Sets a variable of the environment, and puts it back.
class Variable {
public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) {
      before_ = before;
    }
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  }
  ~Variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(TraceDirectory, RootComesFromTheEnvironment) {
  const Variable home("HOME", "/home/me");
  const Variable data("XDG_DATA_HOME", nullptr);
  const Variable own("_PCP_RR_TRACE_DIR", nullptr);
  EXPECT_EQ(trace_root(), "/home/me/.local/share/pcp-rr");
  {
    const Variable set("XDG_DATA_HOME", "/data/");
    EXPECT_EQ(trace_root(), "/data/pcp-rr");
    const Variable closer("_PCP_RR_TRACE_DIR", "/traces");
    EXPECT_EQ(trace_root(), "/traces");
  }
  const Variable none("HOME", nullptr);
  EXPECT_THROW(trace_root(), Error);
}

TEST(TraceDirectory, NumbersGoOnPerProgram) {
  test::TempDir dir;
  const std::string root = dir.file("deep/root");
  EXPECT_EQ(make_trace_directory(root, "/usr/bin/ls"), root + "/ls-0");
  EXPECT_EQ(make_trace_directory(root, "ls"), root + "/ls-1");
  EXPECT_EQ(make_trace_directory(root, "my-tool"), root + "/my-tool-0");
  fs::remove(root + "/ls-0");
  EXPECT_EQ(make_trace_directory(root, "ls"), root + "/ls-2") << "numbers are not used again";
  fs::create_directory(root + "/ls-old");
  EXPECT_EQ(make_trace_directory(root, "ls"), root + "/ls-3");
  EXPECT_EQ(make_trace_directory(root, "/"), root + "/trace-0");
}

TEST(TraceDirectory, RecordersAtOnceGetDifferentOnes) {
  test::TempDir dir;
  constexpr int kRecorders = 8;
  constexpr int kTraces = 20;
  std::vector<pid_t> children;
  for (int i = 0; i < kRecorders; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = 0;
      for (int n = 0; n < kTraces; ++n) {
        try {
          const std::string made = make_trace_directory(dir.path(), "program");
          test::make_trace(made, test::usual_events(3));
          set_latest_trace(made);
          // At every instant the link names some whole trace.
          const std::string latest = dir.file("latest-trace");
          status |= is_pcp_trace(latest) ? 0 : 1;
        } catch (const Error&) {
          status = 2;
        }
      }
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  const std::vector<std::string> traces = list_traces(dir.path());
  EXPECT_EQ(traces.size(), std::size_t{kRecorders * kTraces});
  EXPECT_EQ(traces.front(), "program-0");
  EXPECT_EQ(traces.back(), "program-" + std::to_string(kRecorders * kTraces - 1));
  std::set<std::string> uuids;
  for (const std::string& trace : traces) {
    uuids.insert(TraceReader::open(dir.file(trace)).uuid().to_string());
  }
  EXPECT_EQ(uuids.size(), traces.size());
}

TEST(TraceDirectory, ChosenPlaceMustBeFree) {
  test::TempDir dir;
  const std::string chosen = dir.file("chosen");
  make_trace_directory_at(chosen);
  make_trace_directory_at(chosen); // still empty
  test::make_trace(chosen, {});
  EXPECT_THROW(make_trace_directory_at(chosen), Error);
  std::ofstream(dir.file("file")) << "x";
  EXPECT_THROW(make_trace_directory_at(dir.file("file")), Error);
  EXPECT_THROW(make_trace_directory_at(dir.file("no/such")), Error);
}

TEST(TraceDirectory, LatestTraceFollowsAMovedRoot) {
  test::TempDir dir;
  const std::string made = make_trace_directory(dir.file("root"), "ls");
  test::make_trace(made, {});
  set_latest_trace(made + "/");
  EXPECT_TRUE(is_pcp_trace(dir.file("root/latest-trace")));
  fs::rename(dir.file("root"), dir.file("moved"));
  EXPECT_TRUE(is_pcp_trace(dir.file("moved/latest-trace")));
  fs::remove(dir.file("moved/latest-trace"));
  fs::create_directory(dir.file("moved/latest-trace"));
  EXPECT_THROW(set_latest_trace(dir.file("moved/ls-0")), Error) << "a directory is left alone";
}

TEST(TraceDirectory, NamesOfUsersAreFound) {
  test::TempDir dir;
  const Variable own("_PCP_RR_TRACE_DIR", dir.path().c_str());
  fs::create_directory(dir.file("ls-0"));
  EXPECT_EQ(find_trace(""), dir.file("latest-trace"));
  EXPECT_EQ(find_trace("ls-0"), dir.file("ls-0"));
  EXPECT_EQ(find_trace("ls-7"), "ls-7");
  EXPECT_EQ(find_trace("./ls-0/"), "./ls-0");
  EXPECT_EQ(find_trace("."), ".");
}

TEST(TraceDirectory, ListHoldsTracesOnly) {
  test::TempDir dir;
  for (const char* name : {"b-10", "b-9", "a-0", "notes"}) {
    fs::create_directory(dir.file(name));
  }
  for (const char* name : {"b-10", "b-9", "a-0"}) {
    test::make_trace(dir.file(name), {});
  }
  set_latest_trace(dir.file("b-10"));
  EXPECT_THAT(list_traces(dir.path()), testing::ElementsAre("a-0", "b-9", "b-10"));
  EXPECT_THAT(list_traces(dir.file("missing")), testing::IsEmpty());
}

} // namespace
} // namespace rrpcp
