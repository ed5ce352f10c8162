// Judging what a manifest says: every rule of spec/model.md.
#pragma once

#include "model/findings.h"
#include "model/validate_chunks.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <cstdint>
#include <string_view>
#include <vector>

namespace rrpcp {

// What of the container the rules need.
struct StateRules {
  std::uint32_t page_size = 0;
  std::uint64_t page_count = 0;
  // No newer minor version or feature: an undefined value is an error.
  bool fully_known = true;
};

// Level "semantics". Returns the partly used last pages of memory objects, ordered by page: that
// their rest is zero has to be seen in the page data.
std::vector<PageTail> validate_state(schema::Manifest::Reader manifest, const StateRules& rules,
                                     Findings& findings);

// Whether this release knows the extension (spec/registry.md).
bool is_known_extension(std::string_view id, std::uint32_t version);

} // namespace rrpcp
