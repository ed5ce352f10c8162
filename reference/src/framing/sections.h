// The end of a checkpoint: footer and section directory, and the chunk table's entries.
#pragma once

#include "framing/sink.h"
#include "rrpcp/format.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace rrpcp::framing {

// The digest of some bytes by algorithm 1: XXH3-128, then zeros.
DigestBytes digest_of(std::span<const std::byte> bytes);
DigestBytes digest_of(const std::array<std::uint8_t, 16>& xxh3_128);

// The flags that a known kind must have; nothing for other kinds.
std::optional<std::uint32_t> flags_of_kind(std::uint32_t kind);

// The footer, `footer.length` bytes, with its checksum. `rest` is what lies between the fields of
// version 1.0 and the last 24 bytes, `reserved` the bytes at kFooterReserved0 and kFooterReserved:
// both as in a file that is copied; none: zeros.
std::vector<std::byte> encode_footer(const Footer& footer, std::uint64_t header_checksum,
                                     std::span<const std::byte> reserved = {},
                                     std::span<const std::byte> rest = {});

// One entry of the directory, `entry_size` bytes; `rest` is what follows the fields of version 1.0.
std::vector<std::byte> encode_section(const Section& section, std::uint32_t entry_size,
                                      std::span<const std::byte> reserved = {},
                                      std::span<const std::byte> rest = {});

// What the fields say, without any check.
Footer footer_fields(std::span<const std::byte> footer);
Section section_fields(std::span<const std::byte> entry);

// Reads bytes [offset, offset + out.size()) of the file.
using ReadBytes = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;

// Judges the footer of a file of `file_size` bytes. `header` is absent where it is not usable:
// then only what stands by itself is judged, and nothing is returned. Nothing: the rest of the file
// cannot be found by it.
std::optional<Footer> check_footer(const ReadBytes& read, std::uint64_t file_size,
                                   const std::optional<Header>& header, Sink& sink);

// The sections of a file in which all that is needed can be found.
struct Sections {
  std::vector<Section> all; // in the order of their places
  Section chunk_table;
  Section manifest;
  std::optional<Section> seal;
  // The directory as it lies in the file.
  std::vector<std::byte> directory;
};

// Judges the directory of a usable footer, and the zero bytes between the sections.
std::optional<Sections> check_directory(const ReadBytes& read, const Header& header,
                                        const Footer& footer, Sink& sink);

} // namespace rrpcp::framing
