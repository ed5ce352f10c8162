// Valid checkpoints with what the sample states (support/sample_state.h) do not have.
#pragma once

#include "conformance/valid_cases.h"

#include <vector>

namespace rrpcp::test {

std::vector<ValidCase> corner_cases();

} // namespace rrpcp::test
