// Encoding and decoding of the two fixed structures, header and footer.
#pragma once

#include "rrpcp/format.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace rrpcp {

using HeaderBytes = std::array<std::byte, format::kHeaderSize>;
using FooterBytes = std::array<std::byte, format::kFooterSize>;

// The header with its checksum. `incompatible` are the feature bits to set.
HeaderBytes encode_header(const HeaderFields& fields, std::uint64_t incompatible);

// Decodes and checks everything about a header that can be checked without the rest of the file:
// magic, checksum, version, features, ranges, reserved bytes. `name` is for errors.
Header decode_header(std::span<const std::byte> bytes, const std::string& name);

// Whether bytes that are reserved today may hold something: a newer release uses them behind a
// feature bit only (spec/compatibility.md).
bool may_use_reserved(const Header& header);

// The footer with its checksum. `header_checksum` is the copy of the header's.
FooterBytes encode_footer(const Footer& footer, std::uint64_t header_checksum);

// What the fields of a footer say, without any check. `bytes` are the last kFooterSize bytes of the
// file.
Footer footer_fields(std::span<const std::byte> bytes);

// Decodes and checks a footer against the header and the real length of the file.
// `bytes` are the last kFooterSize bytes of the file.
Footer decode_footer(std::span<const std::byte> bytes, const Header& header,
                     std::uint64_t file_size, const std::string& name);

} // namespace rrpcp
