// Judging the container: header, footer, chunk table, padding, and the manifest as a message.
#pragma once

#include "container/seal.h"
#include "framing/sections.h"
#include "model/byte_source.h"
#include "model/findings.h"
#include "rrpcp/reader.h"

#include <capnp/serialize.h>
#include <memory>
#include <optional>
#include <vector>

namespace rrpcp {

// What is known of a file so far. Parts that damage has made unusable are absent; nothing is
// guessed from bytes whose checksum is wrong.
struct ContainerFacts {
  std::optional<Header> header;
  std::optional<Footer> footer;
  std::optional<framing::Sections> sections;
  // Every entry is safe to read and decode. Absent where the table or one entry is not.
  std::optional<std::vector<ChunkEntry>> chunks;
  kj::Array<capnp::word> manifest_words;
  // Absent where the message is damaged; safe to walk otherwise.
  std::unique_ptr<capnp::FlatArrayMessageReader> message;
  // Absent where there is none, or none that can be compared.
  std::optional<Seal> seal;
};

// Throws Error(kLimit) where `bytes` are more than ReadLimits::max_decoded_bytes says, by which the
// work for a small file is bounded: compressed chunks and holes of a file can have any number of
// bytes.
void limit_work(const ByteSource& source, const ReadLimits& limits, std::uint64_t bytes);

// Level "structure". Throws Error for what ByteSource cannot read and kLimit.
ContainerFacts validate_container(const ByteSource& source, const ReadLimits& limits,
                                  Findings& findings);

// Compares the header and footer with what the manifest says.
void validate_agreement(const ContainerFacts& facts, schema::State::Reader state,
                        Findings& findings);

} // namespace rrpcp
