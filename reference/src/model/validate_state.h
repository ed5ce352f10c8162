// Judging what a manifest says: every rule of spec/model.md.
#pragma once

#include "model/findings.h"
#include "model/validate_chunks.h"
#include "rrpcp/checkpoint_id.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace rrpcp {

// What of the container the rules need.
struct StateRules {
  std::uint32_t page_size = 0;
  std::uint64_t page_count = 0;
  // Of the file: what a later one brought is undefined in it.
  std::uint16_t minor = 0;
  // Whether the feature bit of base runs is set.
  bool base_runs = false;
  CheckpointId id;
  // No newer minor version or feature: an undefined value is an error.
  bool fully_known = true;
};

// What of the container the rules need, of a file.
StateRules state_rules(const Header& header, const Footer& footer);

// Partly used last pages of memory objects: that their rest is zero has to be seen in the page
// data.
struct PageTails {
  std::vector<PageTail> own; // of this file's stream, ordered by page
  // Of the stream of a base, by its index.
  std::vector<std::pair<std::uint32_t, PageTail>> of_bases;
};

// Level "semantics".
PageTails validate_state(schema::Manifest::Reader manifest, const StateRules& rules,
                         Findings& findings);

// Whether this release knows the extension (spec/registry.md).
bool is_known_extension(std::string_view id, std::uint32_t version);

} // namespace rrpcp
