#include "checksums.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "framing/header.h"
#include "framing/sections.h"
#include "rrpcp/format.h"

#include <algorithm>
#include <cstring>

namespace rrpcp::fuzz {

using namespace format;

namespace {

// [offset, offset + length) of `file`, or nothing where that is not inside.
std::span<std::byte> part(std::span<std::byte> file, std::uint64_t offset, std::uint64_t length) {
  if (offset > file.size() || length > file.size() - offset) {
    return {};
  }
  return file.subspan(offset, length);
}

void repair_chunks(std::span<std::byte> file, std::span<std::byte> table, std::uint32_t size) {
  for (std::size_t at = 0; size >= kChunkEntrySize && at + size <= table.size(); at += size) {
    std::span<std::byte> entry = table.subspan(at, size);
    std::span<std::byte> stored = part(file, load_le<std::uint64_t>(entry, kChunkOffset),
                                       load_le<std::uint32_t>(entry, kChunkStoredLength));
    std::uint64_t checksum = xxh3_64(stored);
    store_le(entry, kChunkStoredChecksum, checksum);
    if (load_le<std::uint16_t>(entry, kChunkCodec) == kCodecRaw) {
      store_le(entry, kChunkChecksum, checksum);
    }
  }
}

} // namespace

void repair_checksums(std::span<std::byte> file) {
  if (file.size() < kHeaderSize + kFooterSize) {
    return;
  }
  std::span<std::byte> header = file.first(kHeaderSize);
  std::uint64_t header_checksum = xxh3_64(header.first(kHeaderChecksum));
  store_le(header, kHeaderChecksum, header_checksum);
  const auto said = load_le<std::uint32_t>(file.last(kFooterEndSize), kFooterEndLength);
  const bool fits = said >= kFooterSize && said <= kMaxFooterSize && said % 8 == 0 &&
                    said <= file.size() - kHeaderSize;
  std::span<std::byte> footer = file.last(fits ? said : kFooterSize);
  const auto entry_size = load_le<std::uint32_t>(footer, kFooterSectionEntrySize);
  const auto count = load_le<std::uint32_t>(footer, kFooterSectionCount);
  std::span<std::byte> directory =
      part(file, load_le<std::uint64_t>(footer, kFooterDirectoryOffset),
           std::uint64_t{entry_size} * count);
  for (std::size_t at = 0; entry_size >= kSectionEntrySize && at + entry_size <= directory.size();
       at += entry_size) {
    std::span<std::byte> entry = directory.subspan(at, entry_size);
    std::span<std::byte> section = part(file, load_le<std::uint64_t>(entry, kSectionOffset),
                                        load_le<std::uint64_t>(entry, kSectionLength));
    if (load_le<std::uint32_t>(entry, kSectionKind) == kSectionChunkTable) {
      repair_chunks(file, section, load_le<std::uint32_t>(footer, kFooterChunkEntrySize));
    }
    store_le(entry, kSectionDigest, framing::digest_of(section));
  }
  store_le(footer, kFooterDirectoryDigest, framing::digest_of(directory));
  store_le(footer, kFooterHeaderChecksum, header_checksum);
  store_le<std::uint64_t>(footer, kFooterFileLength, file.size());
  const std::size_t end = footer.size() - kFooterEndSize;
  store_le<std::uint32_t>(footer, end + kFooterEndLength,
                          static_cast<std::uint32_t>(footer.size()));
  store_le(footer, end + kFooterEndChecksum, xxh3_64(footer.first(end + kFooterEndChecksum)));
}

std::vector<std::byte> file_around(std::span<const std::byte> manifest_words,
                                   std::span<const std::byte> stored, std::uint16_t codec,
                                   std::uint32_t length) {
  HeaderFields fields;
  fields.machine = 62;
  fields.elf_class = 2;
  fields.data_encoding = 1;
  fields.chunk_pages = 64;
  const framing::HeaderBytes header = framing::encode_header(fields, kIncompatZstd);
  std::vector<std::byte> file(header.begin(), header.end());
  Footer footer;
  std::vector<std::byte> entry;
  if (!stored.empty()) {
    file.resize(codec == kCodecRaw ? align_up(file.size(), 4096) : file.size());
    entry.resize(kChunkEntrySize);
    store_le<std::uint64_t>(entry, kChunkOffset, file.size());
    store_le<std::uint32_t>(entry, kChunkStoredLength, static_cast<std::uint32_t>(stored.size()));
    store_le<std::uint32_t>(entry, kChunkLength, length);
    store_le<std::uint16_t>(entry, kChunkCodec, codec);
    file.insert(file.end(), stored.begin(), stored.end());
    file.resize(align_up(file.size(), 8));
    footer.chunk_count = 1;
    footer.page_count = length / 4096;
  }
  footer.chunk_entry_size = kChunkEntrySize;
  Section table{.kind = kSectionChunkTable,
                .flags = kSectionMustUnderstand,
                .offset = file.size(),
                .length = entry.size(),
                .digest = {}};
  file.insert(file.end(), entry.begin(), entry.end());
  Section manifest{.kind = kSectionManifest,
                   .flags = kSectionMustUnderstand,
                   .offset = file.size(),
                   .length = 0,
                   .digest = {}};
  file.resize(file.size() + 8);
  store_le<std::uint32_t>(std::span(file), file.size() - 4,
                          static_cast<std::uint32_t>(manifest_words.size() / 8));
  file.insert(file.end(), manifest_words.begin(), manifest_words.end());
  file.resize(align_up(file.size(), 8));
  manifest.length = file.size() - manifest.offset;
  footer.directory_offset = file.size();
  footer.section_count = 2;
  footer.section_entry_size = kSectionEntrySize;
  for (const Section& section : {table, manifest}) {
    const std::vector<std::byte> line = framing::encode_section(section, kSectionEntrySize);
    file.insert(file.end(), line.begin(), line.end());
  }
  footer.length = kFooterSize;
  footer.file_length = file.size() + kFooterSize;
  const std::vector<std::byte> foot = framing::encode_footer(footer, 0);
  file.insert(file.end(), foot.begin(), foot.end());
  repair_checksums(file);
  return file;
}

} // namespace rrpcp::fuzz
