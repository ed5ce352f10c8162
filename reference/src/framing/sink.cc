#include "framing/sink.h"

#include "rrpcp/error.h"

#include <string_view>

namespace rrpcp::framing {

namespace {

ErrorCode error_code_of(std::string_view code) {
  if (code == "header.magic") {
    return ErrorCode::kNotACheckpoint;
  }
  if (code == "header.truncated" || code == "footer.missing") {
    return ErrorCode::kIncomplete;
  }
  for (const std::string_view newer :
       {"header.version", "header.incompatible-feature", "header.digest-algorithm",
        "footer.version", "section.must-understand", "chunk.codec"}) {
    if (code == newer) {
      return ErrorCode::kUnsupportedFeature;
    }
  }
  return ErrorCode::kDamaged;
}

} // namespace

void ThrowingSink::at(DiagnosticCode code, std::uint64_t offset, std::string message) {
  const Diagnostic& diagnostic = code.diagnostic();
  if (diagnostic.severity != Severity::kError) {
    return;
  }
  const ErrorCode kind = error_code_of(diagnostic.code);
  Error error = Error(kind, std::move(message)).in_file(file_).at(offset);
  if (kind == ErrorCode::kUnsupportedFeature) {
    error = error.with_hint("use a newer release of this program");
  } else if (kind == ErrorCode::kIncomplete) {
    error = error.with_hint(
        "its writer was interrupted or the file was cut; make the checkpoint again");
  }
  throw codes_ == Codes::kGiven ? error.with_diagnostic(diagnostic.code) : error;
}

} // namespace rrpcp::framing
