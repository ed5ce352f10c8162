// A program of C that a test brings along, compiled and recorded.
#pragma once

#include "rrpcp/replay/timeline.h"
#include "support/temp_dir.h"

#include <cstdint>
#include <gtest/gtest.h>
#include <map>
#include <string>

namespace rrpcp::test {

// Each test has a recording of its own, made by the command pcp-rr.
class RecordedProgram : public testing::Test {
protected:
  // `source` must outlive the test.
  explicit RecordedProgram(const char* source) : source_(source) {}

  void SetUp() override;

  // The directory of the trace.
  std::string trace() const { return dir_.file("trace"); }
  // The address of a function or variable. Throws std::out_of_range for one that is not there.
  std::uint64_t symbol(const char* name) const { return symbols_.at(name); }
  // A breakpoint at the function `name`.
  BreakpointId stop_at(Timeline& timeline, const char* name) const;

private:
  const char* source_;
  TempDir dir_;
  std::map<std::string, std::uint64_t> symbols_;
};

} // namespace rrpcp::test
