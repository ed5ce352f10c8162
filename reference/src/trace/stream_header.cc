#include "trace/stream_header.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace rrpcp {

using namespace trace_format;

StreamHeaderBytes encode_stream_header(const TraceStreamHeader& header) {
  StreamHeaderBytes bytes{};
  std::span<std::byte> out(bytes);
  store_le(out, 0, kHeaderMagic);
  store_le<std::uint16_t>(out, kHeaderMajor, kMajorVersion);
  store_le<std::uint16_t>(out, kHeaderMinor, std::max(header.minor, kMinorVersion));
  store_le<std::uint32_t>(out, kHeaderLength, kHeaderSize);
  store_le<std::uint64_t>(out, kHeaderIncompatible, header.incompatible);
  store_le<std::uint64_t>(out, kHeaderReadOnlyCompat, header.read_only_compatible);
  store_le<std::uint64_t>(out, kHeaderCompatible, header.compatible);
  store_le(out, kHeaderUuid, header.uuid.bytes);
  store_le<std::uint16_t>(out, kHeaderMachine, header.machine);
  store_le<std::uint64_t>(out, kHeaderChecksum, xxh3_64(out.first(kHeaderChecksum)));
  return bytes;
}

TraceStreamHeader decode_stream_header(std::span<const std::byte> bytes, const std::string& name) {
  auto damaged = [&](const std::string& what, std::size_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at);
  };
  if (bytes.size() < kHeaderMagic.size() ||
      load_le<std::array<std::uint8_t, 8>>(bytes, 0) != kHeaderMagic) {
    throw Error(ErrorCode::kNotACheckpoint, "this is no trace of pcp-rr: the magic is missing")
        .in_file(name)
        .at(0);
  }
  if (bytes.size() < kHeaderSize) {
    throw Error(ErrorCode::kIncomplete, "the file ends inside the header")
        .in_file(name)
        .at(bytes.size());
  }
  std::span<const std::byte> in = bytes.first(kHeaderSize);
  TraceStreamHeader header;
  header.checksum = load_le<std::uint64_t>(in, kHeaderChecksum);
  if (header.checksum != xxh3_64(in.first(kHeaderChecksum))) {
    throw damaged("the header's checksum does not match its bytes", kHeaderChecksum);
  }
  header.major = load_le<std::uint16_t>(in, kHeaderMajor);
  header.minor = load_le<std::uint16_t>(in, kHeaderMinor);
  const std::string version = std::to_string(header.major) + "." + std::to_string(header.minor);
  if (header.major != kMajorVersion) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the trace has format version " + version + "; this program reads version 1")
        .in_file(name)
        .at(kHeaderMajor)
        .with_hint("use a newer release of this program");
  }
  header.incompatible = load_le<std::uint64_t>(in, kHeaderIncompatible);
  header.read_only_compatible = load_le<std::uint64_t>(in, kHeaderReadOnlyCompat);
  header.compatible = load_le<std::uint64_t>(in, kHeaderCompatible);
  if (const std::uint64_t unknown = header.incompatible & ~kKnownIncompatible; unknown != 0) {
    throw Error(ErrorCode::kUnsupportedFeature,
                "the trace needs a feature that this program does not know: bit " +
                    std::to_string(std::countr_zero(unknown)))
        .in_file(name)
        .at(kHeaderIncompatible)
        .with_hint("trace format version " + version +
                   " was used to write it: a program of that version or later can read it");
  }
  if (load_le<std::uint32_t>(in, kHeaderLength) != kHeaderSize) {
    throw damaged("the length of the header is wrong", kHeaderLength);
  }
  header.uuid.bytes = load_le<std::array<std::uint8_t, 16>>(in, kHeaderUuid);
  if (header.uuid.is_nil()) {
    throw damaged("the trace has no uuid", kHeaderUuid);
  }
  header.machine = load_le<std::uint16_t>(in, kHeaderMachine);
  if (!is_zero(in.subspan(kHeaderReserved, kHeaderChecksum - kHeaderReserved))) {
    throw damaged("reserved bytes of the header are not zero", kHeaderReserved);
  }
  return header;
}

StreamFooterBytes encode_stream_footer(const StreamFooter& footer, std::uint64_t stream) {
  StreamFooterBytes bytes{};
  std::span<std::byte> out(bytes);
  store_le<std::uint64_t>(out, kFooterIndexOffset, footer.index_offset);
  store_le<std::uint64_t>(out, kFooterChunkCount, footer.chunk_count);
  store_le<std::uint32_t>(out, kFooterEntrySize, footer.entry_size);
  store_le(out, kFooterIndexDigest, footer.index_digest);
  store_le<std::int64_t>(out, kFooterEventCount, footer.event_count);
  store_le<std::uint64_t>(out, kFooterStream, stream);
  store_le<std::uint64_t>(out, kFooterFileLength, footer.file_length);
  store_le<std::uint64_t>(out, kFooterChecksum, xxh3_64(out.first(kFooterChecksum)));
  store_le(out, kFooterEndMagic, kEndMagic);
  return bytes;
}

bool has_stream_footer(std::span<const std::byte> bytes) {
  return bytes.size() == kFooterSize &&
         load_le<std::array<std::uint8_t, 8>>(bytes, kFooterEndMagic) == kEndMagic;
}

StreamFooter decode_stream_footer(std::span<const std::byte> bytes, const TraceStreamHeader& header,
                                  std::uint64_t file_size, const std::string& name) {
  std::span<const std::byte> in = bytes.first(kFooterSize);
  const std::uint64_t start = file_size - kFooterSize;
  auto damaged = [&](const std::string& what, std::size_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(start + at);
  };
  if (load_le<std::uint64_t>(in, kFooterChecksum) != xxh3_64(in.first(kFooterChecksum))) {
    throw damaged("the footer's checksum does not match its bytes", kFooterChecksum);
  }
  StreamFooter footer;
  footer.index_offset = load_le<std::uint64_t>(in, kFooterIndexOffset);
  footer.chunk_count = load_le<std::uint64_t>(in, kFooterChunkCount);
  footer.entry_size = load_le<std::uint32_t>(in, kFooterEntrySize);
  footer.index_digest = load_le<std::array<std::uint8_t, 16>>(in, kFooterIndexDigest);
  footer.event_count = load_le<std::int64_t>(in, kFooterEventCount);
  footer.file_length = load_le<std::uint64_t>(in, kFooterFileLength);
  if (footer.file_length != file_size) {
    throw damaged("the file has " + std::to_string(file_size) + " bytes, but was written with " +
                      std::to_string(footer.file_length),
                  kFooterFileLength);
  }
  if (load_le<std::uint64_t>(in, kFooterStream) != header.checksum) {
    throw damaged("header and footer are of different files", kFooterStream);
  }
  if (footer.entry_size < kIndexEntrySize || footer.entry_size % 8 != 0 ||
      footer.entry_size > 4096) {
    throw damaged("the size of an index entry is " + std::to_string(footer.entry_size),
                  kFooterEntrySize);
  }
  if (footer.index_offset % 8 != 0 || footer.index_offset < kHeaderSize ||
      footer.index_offset > start || footer.chunk_count == 0 ||
      footer.chunk_count > start / kIndexEntrySize ||
      footer.chunk_count * footer.entry_size != start - footer.index_offset) {
    throw damaged("the index does not reach to the footer", kFooterIndexOffset);
  }
  if (!is_zero(in.subspan(kFooterReserved, kFooterChecksum - kFooterReserved)) ||
      !is_zero(in.subspan(kFooterReserved0, 4))) {
    throw damaged("reserved bytes of the footer are not zero", kFooterReserved);
  }
  return footer;
}

} // namespace rrpcp
