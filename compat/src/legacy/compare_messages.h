// Comparing two of rr's messages field by field.
#pragma once

#include "rrpcp/legacy/rr_2025.capnp.h"

#include <string>

namespace rrpcp::compat {

// The first field that differs, as "cloneCompletion.addressSpaces[0].auxv"; empty where none does.
// Of the paths of page files only the last component counts. Fields that are not set count as
// their default.
std::string first_difference(legacy::rr2025::CheckpointInfo::Reader left,
                             legacy::rr2025::CheckpointInfo::Reader right);

} // namespace rrpcp::compat
