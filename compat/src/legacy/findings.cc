#include "legacy/findings.h"

#include <algorithm>
#include <charconv>

namespace rrpcp::compat {

bool has_error(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

std::string hex(std::uint64_t value) {
  char digits[16];
  const auto [end, status] = std::to_chars(std::begin(digits), std::end(digits), value, 16);
  return "0x" + std::string(digits, end);
}

} // namespace rrpcp::compat
