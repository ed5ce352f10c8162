// One crafted file for every diagnostic.
#pragma once

#include "support/forge.h"

#include <cstddef>
#include <string>
#include <vector>

namespace rrpcp::test {

struct InvalidCase {
  // The diagnostic that the case is about; the file's name.
  std::string code;
  // What the validator must find, in all: codes, each once, ordered.
  std::vector<std::string> codes;
  std::vector<std::byte> file;
};

std::vector<InvalidCase> invalid_cases();

} // namespace rrpcp::test
