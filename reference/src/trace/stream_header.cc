#include "trace/stream_header.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "framing/preamble.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>

namespace rrpcp::trace {

using namespace trace_format;

StreamHeaderBytes encode_stream_header(const TraceHeader& header) {
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

TraceHeader decode_stream_header(std::span<const std::byte> bytes, const std::string& name) {
  // The same rules, in the same order, as a checkpoint's.
  static constexpr framing::PreambleFormat kTrace = {
      "trace of pcp-rr", kHeaderMagic,       kHeaderSize,          kMajorVersion,
      kMinorVersion,     kKnownIncompatible, kKnownReadOnlyCompat, kKnownCompatible};
  framing::ThrowingSink sink(name, framing::ThrowingSink::Codes::kNone);
  const framing::Preamble preamble = framing::check_preamble(bytes, kTrace, sink).preamble;
  const std::span<const std::byte> in = bytes.first(kHeaderSize);
  auto damaged = [&](const std::string& what, std::size_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at);
  };
  TraceHeader header;
  header.checksum = preamble.checksum;
  header.major = preamble.major;
  header.minor = preamble.minor;
  header.incompatible = preamble.incompatible;
  header.read_only_compatible = preamble.read_only_compatible;
  header.compatible = preamble.compatible;
  header.uuid.bytes = load_le<std::array<std::uint8_t, 16>>(in, kHeaderUuid);
  if (header.uuid.is_nil()) {
    throw damaged("the trace has no uuid", kHeaderUuid);
  }
  header.machine = load_le<std::uint16_t>(in, kHeaderMachine);
  if (!may_use_reserved(header) &&
      !is_zero(in.subspan(kHeaderReserved, kHeaderChecksum - kHeaderReserved))) {
    throw damaged("reserved bytes of the header are not zero", kHeaderReserved);
  }
  return header;
}

bool may_use_reserved(const TraceHeader& header) {
  return (header.read_only_compatible & ~kKnownReadOnlyCompat) != 0 ||
         (header.compatible & ~kKnownCompatible) != 0;
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

StreamFooter decode_stream_footer(std::span<const std::byte> bytes, const TraceHeader& header,
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
  if (!may_use_reserved(header) &&
      (!is_zero(in.subspan(kFooterReserved, kFooterChecksum - kFooterReserved)) ||
       !is_zero(in.subspan(kFooterReserved0, 4)))) {
    throw damaged("reserved bytes of the footer are not zero", kFooterReserved);
  }
  return footer;
}

} // namespace rrpcp::trace
