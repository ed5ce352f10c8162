#include "rrpcp/rewrite.h"

#include "container/carried_parts.h"
#include "container/kj_errors.h"
#include "framing/preamble.h"
#include "rrpcp/error.h"

#include <capnp/message.h>

namespace rrpcp {

namespace {

// The header as it is: all that it says of the state stays true.
HeaderFields fields_of(const Header& header) {
  HeaderFields fields;
  fields.trace_uuid = header.trace_uuid;
  fields.event = header.event;
  fields.ticks = header.ticks;
  fields.mark_event = header.mark_event;
  fields.mark_ticks = header.mark_ticks;
  fields.order = header.order;
  fields.instructions = header.instructions;
  fields.current_task = header.current_task;
  fields.position_kind = header.position_kind;
  fields.machine = header.machine;
  fields.elf_class = header.elf_class;
  fields.data_encoding = header.data_encoding;
  fields.page_size = header.page_size;
  fields.chunk_pages = header.chunk_pages;
  fields.minor = header.minor;
  fields.compatible = (header.compatible & format::kKnownCompatible) | carried_bits(header);
  return fields;
}

} // namespace

CheckpointId rewrite_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options) {
  const Header& header = checkpoint.header();
  if (std::uint64_t bits = header.read_only_compatible & ~format::kKnownReadOnlyCompat; bits != 0) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the checkpoint uses a feature that this release may read but not write again: "
                "read-only compatible bit " +
                    framing::bit_list(bits))
        .in_file(checkpoint.name())
        .with_hint("use a newer release");
  }
  return with_kj_errors(checkpoint.name(), [&] {
    // As a message, not field by field: fields that this release does not know come along.
    capnp::MallocMessageBuilder message;
    message.setRoot(checkpoint.manifest());
    const CarriedParts carried = carried_parts(checkpoint);
    CheckpointWriter writer(output, fields_of(header), options, &carried);
    checkpoint.read_stream(0, checkpoint.footer().page_count,
                           [&](std::span<const std::byte> pages) { writer.append_stream(pages); });
    return writer.finish(message.getRoot<schema::Manifest>());
  });
}

} // namespace rrpcp
