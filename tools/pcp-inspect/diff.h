// The differences between two checkpoints, found.
#pragma once

#include "common/console.h"
#include "pcp-inspect/diff_report.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"

#include <cstdint>

namespace rrpcp::tools {

struct DiffOptions {
  BackingFiles files;
  std::uint64_t max_ranges = 0; // per mapping
  bool names = true;
  bool provenance = false;
};

// Compares the states of two checkpoints and tells `report`. Shows its progress on `console`.
// Throws Error, and kj::Exception for malformed messages.
void compare_checkpoints(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
                         const DiffOptions& options, Console& console);

} // namespace rrpcp::tools
