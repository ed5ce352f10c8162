// The files of the conformance suite that version 1.1 brought: series of checkpoints.
#pragma once

#include "conformance/invalid_cases.h"
#include "conformance/valid_cases.h"

#include <vector>

namespace rrpcp::test {

// Three of a replay, each of which takes over pages of those before it, and two of a live process
// with seals.
std::vector<ValidCase> valid_series();

// One for each diagnostic about bases. They lie in one directory with companions().
std::vector<InvalidCase> invalid_series();

// Valid files to which those of invalid_series() refer. Their names have no dot, as codes have.
std::vector<ValidCase> companions();

} // namespace rrpcp::test
