// Lists of findings.
#pragma once

#include "base/diagnostics.h"

#include <string>
#include <vector>

namespace rrpcp::compat {

bool has_error(const std::vector<Finding>& findings);

} // namespace rrpcp::compat
