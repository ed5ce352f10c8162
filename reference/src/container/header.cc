#include "container/header.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace rrpcp {

using namespace format;

namespace {

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

template <std::size_t N>
bool has_magic(std::span<const std::byte> in, std::size_t offset,
               const std::array<std::uint8_t, N>& magic) {
  return in.size() >= offset + N && load_le<std::array<std::uint8_t, N>>(in, offset) == magic;
}

// What a transfer in text mode makes of the magic.
bool looks_like_text_mode_damage(std::span<const std::byte> bytes) {
  using namespace std::string_view_literals;
  static constexpr std::string_view kVariants[] = {
      "\x89PCP\n\x1a\n"sv,     // CR LF became LF
      "\x89PCP\r\n\x1a\r\n"sv, // LF became CR LF
      "\x89PCP\r\r\n\x1a"sv,   // the same, after a CR
      "\x09PCP\r\n\x1a\n"sv,   // high bits cleared
  };
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return std::any_of(std::begin(kVariants), std::end(kVariants),
                     [&](std::string_view variant) { return text.starts_with(variant); });
}

Error not_a_checkpoint(std::span<const std::byte> bytes, const std::string& name) {
  Error error(ErrorCode::kNotACheckpoint, "this is not a checkpoint: the magic is missing");
  if (looks_like_text_mode_damage(bytes)) {
    error = Error(ErrorCode::kDamaged,
                  "this was a checkpoint, but a transfer in text mode has changed its bytes")
                .with_hint("copy the original again in binary mode");
  }
  return error.in_file(name).at(0).with_diagnostic("header.magic");
}

} // namespace

HeaderBytes encode_header(const HeaderFields& fields, std::uint64_t incompatible) {
  HeaderBytes bytes{};
  std::span<std::byte> out(bytes);
  store_le(out, 0, kHeaderMagic);
  store_le<std::uint16_t>(out, kHeaderMajor, kMajorVersion);
  store_le<std::uint16_t>(out, kHeaderMinor, std::max(fields.minor, kMinorVersion));
  store_le<std::uint32_t>(out, kHeaderLength, kHeaderSize);
  store_le<std::uint64_t>(out, kHeaderIncompatible, incompatible);
  store_le<std::uint64_t>(out, kHeaderReadOnlyCompat, 0);
  store_le<std::uint64_t>(out, kHeaderCompatible, fields.compatible);
  store_le(out, kHeaderTraceUuid, fields.trace_uuid.bytes);
  store_le<std::int64_t>(out, kHeaderEvent, fields.event);
  store_le<std::int64_t>(out, kHeaderTicks, fields.ticks);
  store_le<std::int64_t>(out, kHeaderMarkEvent, fields.mark_event);
  store_le<std::uint32_t>(out, kHeaderOrder, fields.order);
  store_le<std::uint16_t>(out, kHeaderPositionKind, fields.position_kind);
  store_le<std::uint16_t>(out, kHeaderMachine, fields.machine);
  store_le<std::uint32_t>(out, kHeaderPageSize, fields.page_size);
  store_le<std::uint32_t>(out, kHeaderChunkPages, fields.chunk_pages);
  store_le<std::uint64_t>(out, kHeaderChecksum, xxh3_64(out.first(kHeaderChecksum)));
  return bytes;
}

Header decode_header(std::span<const std::byte> bytes, const std::string& name) {
  if (!has_magic(bytes, 0, kHeaderMagic)) {
    throw not_a_checkpoint(bytes, name);
  }
  auto damaged = [&](const std::string& what, std::size_t at, std::string_view diagnostic) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at).with_diagnostic(diagnostic);
  };
  if (bytes.size() < kHeaderSize) {
    throw Error(ErrorCode::kIncomplete, "the file ends inside the header")
        .in_file(name)
        .at(bytes.size())
        .with_diagnostic("header.truncated");
  }
  std::span<const std::byte> in = bytes.first(kHeaderSize);
  Header header;
  header.checksum = load_le<std::uint64_t>(in, kHeaderChecksum);
  if (header.checksum != xxh3_64(in.first(kHeaderChecksum))) {
    throw damaged("the header's checksum does not match its bytes", kHeaderChecksum,
                  "header.checksum");
  }
  header.major = load_le<std::uint16_t>(in, kHeaderMajor);
  header.minor = load_le<std::uint16_t>(in, kHeaderMinor);
  if (header.major != kMajorVersion) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the file has format version " + std::to_string(header.major) + "." +
                    std::to_string(header.minor) + "; this program reads version 1")
        .in_file(name)
        .at(kHeaderMajor)
        .with_hint("use a newer release of this program")
        .with_diagnostic("header.version");
  }
  header.incompatible = load_le<std::uint64_t>(in, kHeaderIncompatible);
  header.read_only_compatible = load_le<std::uint64_t>(in, kHeaderReadOnlyCompat);
  header.compatible = load_le<std::uint64_t>(in, kHeaderCompatible);
  if (std::uint64_t unknown = header.incompatible & ~kKnownIncompatible; unknown != 0) {
    int bit = std::countr_zero(unknown);
    std::string feature =
        bit == 1 ? "base-runs (bit 1, known from release 1.1 on)" : "bit " + std::to_string(bit);
    throw Error(ErrorCode::kUnsupportedFeature,
                "the file needs a feature that this program does not know: " + feature)
        .in_file(name)
        .at(kHeaderIncompatible)
        .with_hint("format version " + std::to_string(header.major) + "." +
                   std::to_string(header.minor) +
                   " wrote it; use a release that reads that version")
        .with_diagnostic("header.incompatible-feature");
  }
  if (std::uint32_t length = load_le<std::uint32_t>(in, kHeaderLength); length != kHeaderSize) {
    throw damaged("the header's length is " + std::to_string(length) + " instead of 256",
                  kHeaderLength, "header.length");
  }
  header.trace_uuid.bytes = load_le<std::array<std::uint8_t, 16>>(in, kHeaderTraceUuid);
  header.event = load_le<std::int64_t>(in, kHeaderEvent);
  header.ticks = load_le<std::int64_t>(in, kHeaderTicks);
  header.mark_event = load_le<std::int64_t>(in, kHeaderMarkEvent);
  header.order = load_le<std::uint32_t>(in, kHeaderOrder);
  header.position_kind = load_le<std::uint16_t>(in, kHeaderPositionKind);
  header.machine = load_le<std::uint16_t>(in, kHeaderMachine);
  header.page_size = load_le<std::uint32_t>(in, kHeaderPageSize);
  header.chunk_pages = load_le<std::uint32_t>(in, kHeaderChunkPages);
  if (header.page_size != 4096 && header.page_size != 16384 && header.page_size != 65536) {
    throw damaged("the page size is " + std::to_string(header.page_size) +
                      " instead of 4096, 16384 or 65536",
                  kHeaderPageSize, "header.page-size");
  }
  if (header.chunk_pages == 0 || header.chunk_pages > kMaxChunkPages ||
      std::uint64_t{header.chunk_pages} * header.page_size > kMaxChunkLength) {
    throw damaged("a chunk of " + std::to_string(header.chunk_pages) + " pages is out of range",
                  kHeaderChunkPages, "header.chunk-pages");
  }
  if (header.position_kind > kPositionBetween) {
    throw damaged("position kind " + std::to_string(header.position_kind) + " is not defined",
                  kHeaderPositionKind, "header.position-kind");
  }
  if (header.event < 0 || header.mark_event < header.event) {
    throw damaged("the event numbers are out of range", kHeaderEvent, "header.event");
  }
  if (!may_use_reserved(header) &&
      !is_zero(in.subspan(kHeaderReserved, kHeaderChecksum - kHeaderReserved))) {
    throw damaged("reserved bytes of the header are not zero", kHeaderReserved, "header.reserved");
  }
  return header;
}

bool may_use_reserved(const Header& header) {
  return (header.read_only_compatible & ~kKnownReadOnlyCompat) != 0 ||
         (header.compatible & ~kKnownCompatible) != 0;
}

FooterBytes encode_footer(const Footer& footer, std::uint64_t header_checksum) {
  FooterBytes bytes{};
  std::span<std::byte> out(bytes);
  store_le<std::uint64_t>(out, kFooterManifestOffset, footer.manifest_offset);
  store_le<std::uint64_t>(out, kFooterManifestLength, footer.manifest_length);
  store_le(out, kFooterManifestDigest, footer.manifest_digest);
  store_le<std::uint64_t>(out, kFooterTableOffset, footer.table_offset);
  store_le<std::uint64_t>(out, kFooterChunkCount, footer.chunk_count);
  store_le<std::uint32_t>(out, kFooterChunkEntrySize, footer.chunk_entry_size);
  store_le(out, kFooterTableDigest, footer.table_digest);
  store_le(out, kFooterCheckpointId, footer.id.bytes);
  store_le<std::uint64_t>(out, kFooterPageCount, footer.page_count);
  store_le<std::uint64_t>(out, kFooterHeaderChecksum, header_checksum);
  store_le<std::uint64_t>(out, kFooterFileLength, footer.file_length);
  store_le<std::uint64_t>(out, kFooterChecksum, xxh3_64(out.first(kFooterChecksum)));
  store_le(out, kFooterEndMagic, kEndMagic);
  return bytes;
}

Footer footer_fields(std::span<const std::byte> in) {
  Footer footer;
  footer.manifest_offset = load_le<std::uint64_t>(in, kFooterManifestOffset);
  footer.manifest_length = load_le<std::uint64_t>(in, kFooterManifestLength);
  footer.manifest_digest = load_le<std::array<std::uint8_t, 16>>(in, kFooterManifestDigest);
  footer.table_offset = load_le<std::uint64_t>(in, kFooterTableOffset);
  footer.chunk_count = load_le<std::uint64_t>(in, kFooterChunkCount);
  footer.chunk_entry_size = load_le<std::uint32_t>(in, kFooterChunkEntrySize);
  footer.table_digest = load_le<std::array<std::uint8_t, 16>>(in, kFooterTableDigest);
  footer.id.bytes = load_le<std::array<std::uint8_t, 16>>(in, kFooterCheckpointId);
  footer.page_count = load_le<std::uint64_t>(in, kFooterPageCount);
  footer.file_length = load_le<std::uint64_t>(in, kFooterFileLength);
  return footer;
}

Footer decode_footer(std::span<const std::byte> in, const Header& header, std::uint64_t file_size,
                     const std::string& name) {
  std::uint64_t start = file_size - kFooterSize;
  if (!has_magic(in, kFooterEndMagic, kEndMagic)) {
    throw Error(ErrorCode::kIncomplete,
                "the checkpoint is incomplete: it does not end with a footer")
        .in_file(name)
        .at(file_size)
        .with_hint("its writer was interrupted or the file was cut; make the checkpoint again")
        .with_diagnostic("footer.missing");
  }
  auto damaged = [&](const std::string& what, std::size_t at, std::string_view diagnostic) {
    return Error(ErrorCode::kDamaged, what)
        .in_file(name)
        .at(start + at)
        .with_diagnostic(diagnostic);
  };
  if (load_le<std::uint64_t>(in, kFooterChecksum) != xxh3_64(in.first(kFooterChecksum))) {
    throw damaged("the footer's checksum does not match its bytes", kFooterChecksum,
                  "footer.checksum");
  }
  const Footer footer = footer_fields(in);
  if (footer.file_length != file_size) {
    throw damaged("the file has " + std::to_string(file_size) + " bytes, but was written with " +
                      std::to_string(footer.file_length),
                  kFooterFileLength, "footer.file-length");
  }
  if (load_le<std::uint64_t>(in, kFooterHeaderChecksum) != header.checksum) {
    throw damaged("header and footer are of different files", kFooterHeaderChecksum,
                  "footer.header-checksum");
  }
  if (footer.chunk_entry_size < kChunkEntrySize || footer.chunk_entry_size % 8 != 0 ||
      footer.chunk_entry_size > 4096) {
    throw damaged("the size of a chunk-table entry is " + hex(footer.chunk_entry_size),
                  kFooterChunkEntrySize, "footer.chunk-entry-size");
  }
  std::uint64_t chunk_pages = header.chunk_pages;
  if (footer.page_count > std::uint64_t{1} << 51 ||
      footer.chunk_count != (footer.page_count + chunk_pages - 1) / chunk_pages) {
    throw damaged("the number of chunks, " + std::to_string(footer.chunk_count) +
                      ", does not fit " + std::to_string(footer.page_count) + " pages",
                  kFooterChunkCount, "footer.chunk-count");
  }
  // Table, manifest and footer follow each other without a gap; every product is below 2^63.
  std::uint64_t table_length = footer.chunk_count * footer.chunk_entry_size;
  if (footer.chunk_count > start / kChunkEntrySize || footer.table_offset % 8 != 0 ||
      footer.table_offset < kHeaderSize || footer.table_offset > start ||
      table_length > start - footer.table_offset) {
    throw damaged("the chunk table lies outside of the file", kFooterTableOffset,
                  "footer.table-offset");
  }
  if (footer.manifest_offset != footer.table_offset + table_length) {
    throw damaged("the manifest does not follow the chunk table", kFooterManifestOffset,
                  "footer.manifest-offset");
  }
  if (footer.manifest_length != start - footer.manifest_offset) {
    throw damaged("the manifest does not reach to the footer", kFooterManifestLength,
                  "footer.manifest-length");
  }
  if (footer.manifest_length < 16 || footer.manifest_length % 8 != 0) {
    throw damaged("a manifest of " + std::to_string(footer.manifest_length) +
                      " bytes is no message",
                  kFooterManifestLength, "footer.manifest-length");
  }
  if (!may_use_reserved(header) &&
      (!is_zero(in.subspan(kFooterReserved, kFooterChecksum - kFooterReserved)) ||
       !is_zero(in.subspan(kFooterReserved0, 4)))) {
    throw damaged("reserved bytes of the footer are not zero", kFooterReserved, "footer.reserved");
  }
  return footer;
}

} // namespace rrpcp
