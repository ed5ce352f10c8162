// Small programs that no two seeds make alike.
#pragma once

#include <cstdint>
#include <string>

namespace rrpcp::test {

struct GeneratedProgram {
  std::string source; // C, with functions f0 to f5 and handler, and the array g
  bool threads = false;
  bool forks = false;
};

GeneratedProgram generate_program(std::uint32_t seed);

} // namespace rrpcp::test
