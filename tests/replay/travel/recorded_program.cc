#include "replay/travel/recorded_program.h"

#include <cstdlib>
#include <fstream>

namespace rrpcp::test {

void RecordedProgram::SetUp() {
  std::ofstream(dir_.file("program.c")) << source_;
  const std::string command = "cd '" + dir_.path() +
                              "' && cc -O1 -w -no-pie -o program program.c && nm program > "
                              "symbols && '" RRPCP_PCP_RR "' record -q -o trace "
                              "-- ./program > output 2> errors";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream symbols(dir_.file("symbols"));
  for (std::string line; std::getline(symbols, line);) {
    if (line.size() > 19 && line[0] != ' ') { // of the program's own
      symbols_[line.substr(19)] = std::stoull(line, nullptr, 16);
    }
  }
}

BreakpointId RecordedProgram::stop_at(Timeline& timeline, const char* name) const {
  Breakpoint breakpoint;
  breakpoint.address = symbol(name);
  return timeline.add(breakpoint);
}

} // namespace rrpcp::test
