// Whether two page streams are equal.
#pragma once

#include "rrpcp/reader.h"

namespace rrpcp {

// Byte by byte, in equal chunks, whatever their codecs. Reads both whole unless they differ before
// the end, so that checksums are compared on the way. Throws Error: kDamaged, kSystem.
bool same_stream(const CheckpointReader& a, const CheckpointReader& b);

} // namespace rrpcp
