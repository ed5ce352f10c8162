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
  fields.base_runs = (header.incompatible & format::kIncompatBaseRuns) != 0;
  fields.compatible = (header.compatible & format::kKnownCompatible) | carried_bits(header);
  return fields;
}

CheckpointId rewrite_as(const CheckpointReader& checkpoint, Output& output,
                        const WriterOptions& options, const HeaderFields& fields) {
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
    CheckpointWriter writer(output, fields, options, &carried);
    checkpoint.read_stream(0, checkpoint.footer().page_count,
                           [&](std::span<const std::byte> pages) { writer.append_stream(pages); });
    return writer.finish(message.getRoot<schema::Manifest>());
  });
}

} // namespace

CheckpointId rewrite_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options) {
  return rewrite_as(checkpoint, output, options, fields_of(checkpoint.header()));
}

CheckpointId rewrite_checkpoint(const CheckpointReader& checkpoint, Output& output,
                                const WriterOptions& options, std::uint16_t minor) {
  const Header& header = checkpoint.header();
  if (minor > format::kMinorVersion) {
    throw Error(ErrorCode::kInvalidArgument,
                "version 1." + std::to_string(minor) + " of the format is not known");
  }
  HeaderFields fields = fields_of(header);
  if (!header.fully_known() || (fields.base_runs && minor < format::kMinorOfBaseRuns)) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint has something that version 1." +
                                                  std::to_string(minor) +
                                                  " of the format does not define")
        .in_file(checkpoint.name())
        .with_hint(fields.base_runs ? "flatten it: it takes over pages of other checkpoints"
                                    : "use a newer release");
  }
  fields.minor = minor;
  return rewrite_as(checkpoint, output, options, fields);
}

} // namespace rrpcp
