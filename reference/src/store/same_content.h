// Whether a file holds what another one does.
#pragma once

#include "rrpcp/reader.h"

#include <string>

namespace rrpcp {

enum class ContentComparison {
  kSame,     // it is intact and holds the same
  kOther,    // it is intact and holds something else
  kUnusable, // it is damaged, cut, no checkpoint, or gone
};

// Compares the file at `path` with the intact checkpoint `checkpoint`: every byte of the state and
// of the page stream, and of all sections but chunk table and manifest. How chunks are stored, and
// who wrote the file when, does not count. Throws Error where `checkpoint` or the disk cannot be
// read.
ContentComparison compare_content(const std::string& path, const CheckpointReader& checkpoint);

} // namespace rrpcp
