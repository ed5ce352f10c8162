// Counts that a test prints, for tests/trust-figures.sh to add up.
#pragma once

#include <cstdint>
#include <cstdio>
#include <gtest/gtest.h>
#include <string>

namespace rrpcp::test {

// Prints "figure: WHAT: COUNT" unless the test has failed already.
inline void print_figure(const std::string& what, std::uint64_t count) {
  if (!testing::Test::HasFailure()) {
    std::printf("figure: %s: %llu\n", what.c_str(), static_cast<unsigned long long>(count));
  }
}

} // namespace rrpcp::test
