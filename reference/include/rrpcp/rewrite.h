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

// The same with another minor version in the header. Throws Error: kInvalidArgument for one that
// this release does not know, kUnsupportedState where the file has something that it does not
// define.
CheckpointId rewrite_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options, std::uint16_t minor);

// Writes a checkpoint that takes over pages of others (spec/series.md) as one that needs no other
// file: the same state and the same memory, all pages in its own stream, and so another id. Of a
// checkpoint without bases the same in a stream without unused and repeated pages. Provenance and
// extensions are kept, a seal is made anew, sections that this release does not know are left out.
// Throws Error as rewrite_checkpoint() and CheckpointReader::base() do, and kUnsupportedFeature for
// a file that is newer than this release, whose runs may say more than it knows.
CheckpointId flatten_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options);

} // namespace rrpcp
