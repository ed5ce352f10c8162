// Making a trace independent of other files, and smaller.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <functional>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

struct PackOptions {
  // How the chunks of the event stream are to be stored.
  Profile profile = Profile::kDefault;
  // Called now and then with bytes of the stream that are done and of all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
};

struct PackReport {
  // Kept files that were links to files outside of the trace, and their bytes.
  std::uint64_t copied_files = 0;
  std::uint64_t copied_bytes = 0;
  // Files that nothing refers to any more.
  std::uint64_t removed_files = 0;
  // Bytes of the event stream before and after.
  std::uint64_t stream_before = 0;
  std::uint64_t stream_after = 0;
};

// Turns links to files outside of the trace into copies, checks all kept files against their
// digests, removes what an interrupted recorder left in the folder of kept files, and compresses
// the event stream anew. Events, their numbers and the decoded stream stay as they are; a stream
// that would not become smaller is left alone, and so is one that did not end properly. At every
// instant the trace is whole. Throws Error: kInvalidArgument while it is recorded, kBackingFile
// for a kept file that is missing or changed, kUnsupportedFeature where the trace has a
// read-only-compatible feature that is not known, kNoSpace, ….
PackReport pack_trace(const std::string& directory, const PackOptions& options = {});

} // namespace rrpcp
