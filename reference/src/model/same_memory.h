// Whether two checkpoints say the same, however their pages are stored.
#pragma once

#include "rrpcp/reader.h"

#include <optional>
#include <string>

namespace rrpcp {

// Compares the states, but for how memory is stored, and every byte of memory that either has
// stored. Returns the first thing that differs; nothing: they say the same. Throws Error where one
// of them, or a base of it, cannot be read.
std::optional<std::string> different_content(const CheckpointReader& a, const CheckpointReader& b);

} // namespace rrpcp
