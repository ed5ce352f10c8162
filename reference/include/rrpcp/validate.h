// Judging a checkpoint file: everything that is wrong with it, not only the first thing.
#pragma once

#include "rrpcp/diagnostic.h"
#include "rrpcp/export.h"
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

namespace RRPCP_PUBLIC rrpcp {

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
  // Whether the file has a seal and it was compared.
  bool sealed = false;
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
// The same for an open descriptor of a regular file, which stays the caller's.
ValidationReport validate_fd(int fd, const std::string& name, const ValidateOptions& options = {});
// For writers: judges by all rules what is to get the name `name`. Throws Error(kUnsupportedState)
// with the first finding that is an error, and what validate_fd() throws.
void require_valid(int fd, const std::string& name);
// Like validate_file() for bytes in memory; `name` is what findings call them. Any alignment.
ValidationReport validate_bytes(std::span<const std::byte> bytes, const std::string& name,
                                const ValidateOptions& options = {});

} // namespace rrpcp
