#include "base/diagnostics.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <utility>

namespace rrpcp {

std::string_view validation_level_name(ValidationLevel level) {
  switch (level) {
  case ValidationLevel::kStructure:
    return "structure";
  case ValidationLevel::kChecksums:
    return "checksums";
  case ValidationLevel::kSemantics:
    return "semantics";
  }
  return "unknown";
}

ValidationLevel parse_validation_level(std::string_view name) {
  for (auto level :
       {ValidationLevel::kStructure, ValidationLevel::kChecksums, ValidationLevel::kSemantics}) {
    if (validation_level_name(level) == name) {
      return level;
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "'" + std::string(name) + "' is not a validation level")
      .with_hint("use structure, checksums or semantics");
}

std::string_view severity_name(Severity severity) {
  switch (severity) {
  case Severity::kInfo:
    return "info";
  case Severity::kWarning:
    return "warning";
  case Severity::kError:
    return "error";
  }
  return "unknown";
}

std::span<const Diagnostic> diagnostics() {
  return kDiagnostics;
}

std::span<const Diagnostic> diagnostics(DiagnosticGroup group) {
  auto is_of_group = [&](const Diagnostic& diagnostic) { return diagnostic.group == group; };
  const auto begin = std::find_if(kDiagnostics.begin(), kDiagnostics.end(), is_of_group);
  const auto end = std::find_if_not(begin, kDiagnostics.end(), is_of_group);
  return {begin, end};
}

const Diagnostic* find_diagnostic(std::string_view code) {
  auto found = std::find_if(kDiagnostics.begin(), kDiagnostics.end(),
                            [&](const Diagnostic& diagnostic) { return diagnostic.code == code; });
  return found == kDiagnostics.end() ? nullptr : &*found;
}

Finding finding_of(const Diagnostic& diagnostic, std::string file, std::string message,
                   std::string path) {
  Finding finding;
  finding.code = diagnostic.code;
  finding.severity = diagnostic.severity;
  finding.file = std::move(file);
  finding.path = std::move(path);
  finding.message = std::move(message);
  finding.hint = diagnostic.cure;
  return finding;
}

Finding finding_of(std::string_view code, std::string file, std::string message, std::string path) {
  const Diagnostic* diagnostic = find_diagnostic(code);
  if (diagnostic == nullptr) {
    throw Error(ErrorCode::kInternal, "no diagnostic is called " + std::string(code));
  }
  return finding_of(*diagnostic, std::move(file), std::move(message), std::move(path));
}

} // namespace rrpcp
