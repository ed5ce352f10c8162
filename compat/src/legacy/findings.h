// Lists of findings.
#pragma once

#include "base/diagnostics.h"

#include <string>
#include <vector>

namespace rrpcp::compat {

bool has_error(const std::vector<Finding>& findings);

// "0x7f…" as people and rr write addresses.
std::string hex(std::uint64_t value);

} // namespace rrpcp::compat
