// What a validator can say, and one thing that it said.
#pragma once

#include "rrpcp/export.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace RRPCP_PUBLIC rrpcp {

// How deep a validation goes. Each level contains the ones before it.
enum class ValidationLevel {
  // Header, footer, sections, chunk table, padding and manifest as bytes: costs nothing that grows
  // with the page data.
  kStructure,
  // Every stored byte: the checksums of all chunks, as stored and as decoded, and the checkpoint
  // id.
  kChecksums,
  // Every rule of spec/model.md about what the manifest says.
  kSemantics,
};

// "structure", "checksums", "semantics".
std::string_view validation_level_name(ValidationLevel level);
// Throws Error(kInvalidArgument) for any other text, naming the three.
ValidationLevel parse_validation_level(std::string_view name);

enum class Severity {
  kInfo,    // worth knowing; says nothing against the file
  kWarning, // the file can be used, but something about it is not as it should be
  kError,   // the file breaks a rule of the format
};

// "info", "warning", "error".
std::string_view severity_name(Severity severity);

// What a diagnostic is about.
enum class DiagnosticGroup {
  kCheckpoint,  // a checkpoint file
  kLegacy,      // a checkpoint of one of rr's own generations: "legacy.…"
  kRrTrace,     // a checkpoint beside a trace of rr: "rr-trace.…"
  kReplayTrace, // a checkpoint beside a trace of pcp-rr: "pcp-trace.…"
};

// One thing that the validator can say. The code is stable: it is never given another meaning and
// never reused. The pages of the spec have the same list.
struct Diagnostic {
  std::string_view code;
  Severity severity;
  ValidationLevel level;
  // What it means, and what can be done about it; one or two sentences each.
  std::string_view meaning;
  std::string_view cure;
  DiagnosticGroup group;
  // Where the spec lists it: file name of the page, and the section's title.
  std::string_view page;
  std::string_view section;
};

// All diagnostics, in the order of the spec; those of a group lie together.
std::span<const Diagnostic> diagnostics();
std::span<const Diagnostic> diagnostics(DiagnosticGroup group);
// Null for a code that does not exist.
const Diagnostic* find_diagnostic(std::string_view code);

// One thing that was found in one file.
struct Finding {
  // Points into diagnostics().
  std::string_view code;
  Severity severity = Severity::kError;
  std::string file;
  // Byte of the file, where the finding is about bytes.
  std::optional<std::uint64_t> offset;
  // Place in the manifest, as "state.addressSpaces[0].mappings[3].runs[1]"; else empty.
  std::string path;
  // What exactly was found: one sentence without a final period.
  std::string message;
  // What to do: the diagnostic's cure.
  std::string_view hint;
};

} // namespace rrpcp
