#include "legacy/findings.h"

#include "model/findings.h"
#include "rrpcp/compat.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <charconv>

namespace rrpcp::compat {

Finding make_finding(std::string_view code, std::string file, std::string message,
                     std::string path) {
  const Diagnostic* diagnostic = find_compat_diagnostic(code);
  if (diagnostic == nullptr) {
    throw Error(ErrorCode::kInternal, "no diagnostic is called " + std::string(code));
  }
  return finding_of(*diagnostic, std::move(file), std::move(message), std::move(path));
}

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
