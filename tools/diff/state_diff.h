// The differences between two checkpoints, found.
#pragma once

#include "common/console.h"
#include "diff/diff_report.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"

#include <cstdint>

namespace rrpcp::tools {

struct DiffOptions {
  BackingFiles files;
  std::uint64_t max_ranges = 0; // per mapping
  bool names = true;
  bool provenance = false;
  // Both are of replays of one trace: what tells of the machine on which each was made (devices,
  // inodes, times and owners of files, the processor, hard limits), where in the file of the trace
  // it is, and which ranges of kept files have digests because pages are not stored, is no
  // difference. Memory is compared byte by byte, whether it is stored or in a kept file.
  bool of_replays = false;
};

// Compares the states of two checkpoints and tells `report`. Shows its progress on `console`.
// Throws Error, and kj::Exception for malformed messages.
void compare_checkpoints(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
                         const DiffOptions& options, Console& console);

} // namespace rrpcp::tools
