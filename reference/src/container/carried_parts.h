// What a copy of a file keeps of it without knowing what it is, and the end of every file that is
// written: sections, directory, footer.
#pragma once

#include "framing/sections.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp {

struct CarriedParts {
  // The file that is copied.
  const CheckpointReader* source = nullptr;
  // The rest is what its unknown compatible bits may mean; zeros and the lengths of this version
  // where one of them is not safe to copy.
  std::vector<std::byte> header_reserved;
  std::uint32_t chunk_entry_size = format::kChunkEntrySize;
  std::vector<std::byte> chunk_entry_rests; // for each chunk, its entry from kChunkReserved on
  std::uint32_t section_entry_size = format::kSectionEntrySize;
  bool section_rests = false; // whether directory entries keep reserved bytes and what follows
  std::vector<std::byte> footer_reserved;
  std::vector<std::byte> footer_rest;
};

// Gathers what a copy of `source` keeps. Throws Error(kDamaged) for a damaged chunk table.
CarriedParts carried_parts(const CheckpointReader& source);
// The unknown compatible bits that a copy of `source` keeps.
std::uint64_t carried_bits(const Header& header);

// Writes the sections one after the other, then directory and footer.
class SectionWriter {
public:
  // `carried` may be null.
  SectionWriter(Output& output, const CarriedParts* carried) : output_(output), carried_(carried) {}

  void add(std::uint32_t kind, std::span<const std::byte> bytes);
  // The sections of the source that are safe to copy; its seal only where there is no `new_seal`.
  void add_carried(bool new_seal);
  // `footer` has id, page and chunk count and chunk entry size.
  void finish(Footer& footer, std::uint64_t header_checksum);

private:
  void begin(std::uint32_t kind, std::uint32_t flags);
  // Where the source's directory has the section: its entry; empty: none or nothing to keep.
  std::span<const std::byte> source_entry(std::uint32_t kind) const;
  std::span<const std::byte> source_entry_at(std::size_t index) const;

  Output& output_;
  const CarriedParts* carried_;
  std::vector<Section> sections_;
  std::vector<std::span<const std::byte>> source_entries_;
};

} // namespace rrpcp
