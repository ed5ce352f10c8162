// Writing a checkpoint again: with another codec, or as a file of this release's version.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

namespace RRPCP_PUBLIC rrpcp {

// Writes `checkpoint` to `output` as `options` say. The one way in which a file is copied: it keeps
// the manifest with all fields that this release does not know, the minor version, sections and
// feature bits that are safe to copy with the reserved bytes and longer entries that go with them,
// and the seal (spec/compatibility.md, "What rewriting keeps"). The page stream is read and
// verified on the way. Returns the id, which is the checkpoint's own.
//
// Throws Error: kUnsupportedFeature for a file with an unknown read-only compatible feature bit,
// which may be read but not written again; kDamaged for damaged page data or sections.
CheckpointId rewrite_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options);

} // namespace rrpcp
