// Judging a checkpoint file: everything that is wrong with it, not only the first thing.
#pragma once

#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp {

// How deep a validation goes. Each level contains the ones before it.
enum class ValidationLevel {
  // Header, footer, chunk table, padding and manifest as bytes: costs nothing that grows with the
  // page data.
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

// One thing that the validator can say. The code is stable: it is never given another meaning and
// never reused. spec/validation.md has the same list.
struct Diagnostic {
  std::string_view code;
  Severity severity;
  ValidationLevel level;
  // What it means, and what can be done about it; one or two sentences each.
  std::string_view meaning;
  std::string_view cure;
};

// All diagnostics, in the order of spec/validation.md.
std::span<const Diagnostic> diagnostics();
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

struct ValidationReport {
  // Ordered by level, then place. At most ValidateOptions::max_findings_per_code of each code.
  std::vector<Finding> findings;
  // How many more of a code there were than are listed.
  std::map<std::string_view, std::uint64_t> suppressed;
  // The level that was carried out: lower than asked for where damage left nothing to judge.
  ValidationLevel reached = ValidationLevel::kStructure;
  // Bytes of page data whose checksums were computed.
  std::uint64_t checked_bytes = 0;
  std::uint64_t chunks = 0;
  // From the footer, where that could be trusted.
  std::optional<CheckpointId> id;

  // Findings of a severity, suppressed ones included.
  std::uint64_t count(Severity severity) const;
  // No finding is an error.
  bool valid() const { return count(Severity::kError) == 0; }
};

struct ValidateOptions {
  ValidationLevel level = ValidationLevel::kSemantics;
  ReadLimits limits = {};
  // Threads that compute checksums. 0: as many as processors are available. The report does not
  // depend on it.
  unsigned threads = 0;
  std::size_t max_findings_per_code = 20;
  // Called now and then, from any thread but never from two at once, with bytes of page data
  // checked and to be checked in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

// Validates a file. Never throws for what the file contains. Throws Error where the bytes could not
// be had (kNotFound, kPermission, kSystem, kIncomplete for a file that shrinks meanwhile) and
// kLimit where the file exceeds options.limits. Memory: the manifest and the chunk table, and a few
// chunks per thread. Thread-safe.
ValidationReport validate_file(const std::string& path, const ValidateOptions& options = {});
// The same for bytes in memory; `name` is what findings call them. Any alignment.
ValidationReport validate_bytes(std::span<const std::byte> bytes, const std::string& name,
                                const ValidateOptions& options = {});

} // namespace rrpcp
