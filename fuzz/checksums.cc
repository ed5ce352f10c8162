#include "checksums.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/hash.h"
#include "container/header.h"
#include "rrpcp/format.h"

namespace rrpcp::fuzz {

using namespace format;

namespace {

void store_digest(std::span<std::byte> out, std::size_t offset, std::span<const std::byte> of) {
  auto digest = xxh3_128(of).canonical();
  std::memcpy(&out[offset], digest.data(), digest.size());
}

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
  std::span<std::byte> footer = file.last(kFooterSize);
  const std::uint64_t start = file.size() - kFooterSize;
  auto table_offset = load_le<std::uint64_t>(footer, kFooterTableOffset);
  auto manifest_offset = load_le<std::uint64_t>(footer, kFooterManifestOffset);
  if (table_offset <= manifest_offset && manifest_offset <= start) {
    std::span<std::byte> table = part(file, table_offset, manifest_offset - table_offset);
    repair_chunks(file, table, load_le<std::uint32_t>(footer, kFooterChunkEntrySize));
    store_digest(footer, kFooterTableDigest, table);
    store_digest(footer, kFooterManifestDigest,
                 part(file, manifest_offset, start - manifest_offset));
  }
  store_le(footer, kFooterHeaderChecksum, header_checksum);
  store_le<std::uint64_t>(footer, kFooterFileLength, file.size());
  store_le(footer, kFooterChecksum, xxh3_64(footer.first(kFooterChecksum)));
}

std::vector<std::byte> file_around(std::span<const std::byte> manifest_words,
                                   std::span<const std::byte> stored, std::uint16_t codec,
                                   std::uint32_t length) {
  HeaderFields fields;
  fields.machine = 62;
  fields.chunk_pages = 64;
  HeaderBytes header = encode_header(fields, kIncompatZstd);
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
  footer.table_offset = file.size();
  file.insert(file.end(), entry.begin(), entry.end());
  footer.manifest_offset = file.size();
  file.resize(file.size() + 8);
  store_le<std::uint32_t>(std::span(file), file.size() - 4,
                          static_cast<std::uint32_t>(manifest_words.size() / 8));
  file.insert(file.end(), manifest_words.begin(), manifest_words.end());
  file.resize(align_up(file.size(), 8));
  footer.manifest_length = file.size() - footer.manifest_offset;
  footer.file_length = file.size() + kFooterSize;
  FooterBytes foot = encode_footer(footer, 0);
  file.insert(file.end(), foot.begin(), foot.end());
  repair_checksums(file);
  return file;
}

} // namespace rrpcp::fuzz
