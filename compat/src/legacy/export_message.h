// From the model to rr's message.
#pragma once

#include "rrpcp/legacy/rr_2025.capnp.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rrpcp::compat {

struct ExportPlan {
  // Names of the page files, per space and mapping of the model; empty for one without contents.
  std::vector<std::vector<std::string>> page_files;
  // What the generation rr-2025 has no place for and a replay can do without.
  std::vector<std::string> losses;
};

// Fills rr-2025's message from a state. Page files are named in `page_directory`. Throws
// Error(kUnsupportedState) listing everything that the message cannot say and a replay needs, and
// Error(kDamaged) for a state that contradicts itself.
ExportPlan build_message(schema::State::Reader state, const std::string& page_directory,
                         legacy::rr2025::CheckpointInfo::Builder out);

} // namespace rrpcp::compat
