// Making findings from the table of diagnostics.
#pragma once

#include "rrpcp/validate.h"

#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::compat {

// The finding of a code of compat_diagnostics().
Finding make_finding(std::string_view code, std::string file, std::string message,
                     std::string path = {});

bool has_error(const std::vector<Finding>& findings);

// "0x7f…" as people and rr write addresses.
std::string hex(std::uint64_t value);

} // namespace rrpcp::compat
