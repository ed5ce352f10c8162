// The header of a checkpoint: encoding, decoding, and its rules.
#pragma once

#include "framing/preamble.h"
#include "rrpcp/format.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace rrpcp::framing {

using HeaderBytes = std::array<std::byte, format::kHeaderSize>;

// The header with its checksum. `incompatible` are the feature bits to set; `reserved` are the
// bytes of the reserved part, or none: zeros.
HeaderBytes encode_header(const HeaderFields& fields, std::uint64_t incompatible,
                          std::span<const std::byte> reserved = {});

struct HeaderResult {
  // Of a header by which the rest of the file can be read.
  std::optional<Header> header;
  // False: nothing more can be said about the file, not even about its footer.
  bool go_on = false;
};

// Judges the header: `bytes` are the whole file, or at least its first 256 bytes.
HeaderResult check_header(std::span<const std::byte> bytes, Sink& sink);

} // namespace rrpcp::framing
