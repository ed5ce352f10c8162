// Comparing two of rr's messages field by field.
#pragma once

#include "rrpcp/legacy/rr_2025.capnp.h"

#include <string>
#include <vector>

namespace rrpcp::compat {

// The first field that differs, as "cloneCompletion.addressSpaces[0].auxv"; empty where none does.
// Of the paths of page files only the last component counts. A field that is null differs from one
// that is there without content.
std::string first_difference(legacy::rr2025::CheckpointInfo::Reader left,
                             legacy::rr2025::CheckpointInfo::Reader right);

// Fields of pointers that are null in one message and not in the other.
std::vector<std::string> presence_differences(legacy::rr2025::CheckpointInfo::Reader left,
                                              legacy::rr2025::CheckpointInfo::Reader right);

} // namespace rrpcp::compat
