// What a loaded checkpoint of an older generation consists of.
#pragma once

#include "legacy/legacy_message.h"
#include "rrpcp/compat/legacy.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace rrpcp {

// The trace and what was found in it.
struct LegacyTrace::Impl {
  explicit Impl(RrTrace opened) : trace(std::move(opened)) {}

  RrTrace trace;
  std::vector<LegacyEntry> entries;
  std::vector<Finding> findings;

  // The records of "mmaps", read at the first use; empty where they cannot be read.
  const std::vector<RrTraceMapping>& mappings() const;
  // The place in the trace of each entry's event, computed for all of them at the first use. Throws
  // Error where the streams cannot be read so far.
  RrTraceCursor cursor(std::int64_t event) const;

private:
  mutable std::once_flag mappings_once_;
  mutable std::vector<RrTraceMapping> mappings_;
  mutable std::once_flag cursors_once_;
  mutable std::vector<std::pair<std::int64_t, std::optional<RrTraceCursor>>> cursors_;
};

// One page file, by mapping.
struct LegacyPageFile {
  // Last component of the path in the message; empty for a mapping without page file.
  std::string name;
  // Where it was found.
  std::string path;
};

struct LegacyCheckpoint::Impl {
  std::shared_ptr<const LegacyTrace::Impl> context;
  LegacyEntry entry;
  compat::LegacyMessage message;
  // Per address space and mapping, in the order of the message.
  std::vector<std::vector<LegacyPageFile>> page_files;
  // Directory that the message names.
  std::string original_directory;
  std::uint64_t stored_bytes = 0;
  std::vector<Finding> findings;

  // Reads the message of an entry of `context` and finds its page files. Throws Error as
  // LegacyTrace::load.
  static LegacyCheckpoint load(std::shared_ptr<const LegacyTrace::Impl> context,
                               const LegacyEntry& entry);
};

} // namespace rrpcp
