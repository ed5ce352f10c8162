// The valid files of the conformance suite.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace rrpcp::test {

struct ValidCase {
  std::string name;
  std::vector<std::byte> file;
};

std::vector<ValidCase> valid_cases();

} // namespace rrpcp::test
