#include "legacy/findings.h"

#include <algorithm>

namespace rrpcp::compat {

bool has_error(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

} // namespace rrpcp::compat
