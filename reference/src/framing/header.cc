#include "framing/header.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rrpcp {

using namespace format;
using std::to_string;

bool Header::fully_known() const {
  return minor <= kMinorVersion && !may_use_reserved();
}

bool Header::may_use_reserved() const {
  return (read_only_compatible & ~kKnownReadOnlyCompat) != 0 ||
         (compatible & ~kKnownCompatible) != 0;
}

namespace framing {

namespace {

constexpr PreambleFormat kCheckpoint = {"checkpoint",         kHeaderMagic,    kHeaderSize,
                                        kMajorVersion,        kMinorVersion,   kKnownIncompatible,
                                        kKnownReadOnlyCompat, kKnownCompatible};

Header decode_fields(std::span<const std::byte> in, const Preamble& preamble) {
  Header header;
  header.major = preamble.major;
  header.minor = preamble.minor;
  header.incompatible = preamble.incompatible;
  header.read_only_compatible = preamble.read_only_compatible;
  header.compatible = preamble.compatible;
  header.checksum = preamble.checksum;
  header.trace_uuid.bytes = load_le<std::array<std::uint8_t, 16>>(in, kHeaderTraceUuid);
  header.event = load_le<std::int64_t>(in, kHeaderEvent);
  header.ticks = load_le<std::int64_t>(in, kHeaderTicks);
  header.mark_event = load_le<std::int64_t>(in, kHeaderMarkEvent);
  header.mark_ticks = load_le<std::int64_t>(in, kHeaderMarkTicks);
  header.order = load_le<std::uint32_t>(in, kHeaderOrder);
  header.instructions = load_le<std::uint64_t>(in, kHeaderInstructions);
  header.current_task = load_le<std::int32_t>(in, kHeaderCurrentTask);
  header.position_kind = load_le<std::uint16_t>(in, kHeaderPositionKind);
  header.machine = load_le<std::uint16_t>(in, kHeaderMachine);
  header.elf_class = load_le<std::uint8_t>(in, kHeaderElfClass);
  header.data_encoding = load_le<std::uint8_t>(in, kHeaderDataEncoding);
  header.digest_algorithm = load_le<std::uint16_t>(in, kHeaderDigestAlgorithm);
  header.page_size = load_le<std::uint32_t>(in, kHeaderPageSize);
  header.chunk_pages = load_le<std::uint32_t>(in, kHeaderChunkPages);
  return header;
}

} // namespace

HeaderBytes encode_header(const HeaderFields& fields, std::uint64_t incompatible,
                          std::span<const std::byte> reserved) {
  HeaderBytes bytes{};
  std::span<std::byte> out(bytes);
  store_le(out, 0, kHeaderMagic);
  store_le<std::uint16_t>(out, kHeaderMajor, kMajorVersion);
  store_le<std::uint16_t>(out, kHeaderMinor, fields.minor);
  store_le<std::uint32_t>(out, kHeaderLength, kHeaderSize);
  store_le<std::uint64_t>(out, kHeaderIncompatible, incompatible);
  store_le<std::uint64_t>(out, kHeaderReadOnlyCompat, 0);
  store_le<std::uint64_t>(out, kHeaderCompatible, fields.compatible);
  store_le(out, kHeaderTraceUuid, fields.trace_uuid.bytes);
  store_le<std::int64_t>(out, kHeaderEvent, fields.event);
  store_le<std::int64_t>(out, kHeaderTicks, fields.ticks);
  store_le<std::int64_t>(out, kHeaderMarkEvent, fields.mark_event);
  store_le<std::int64_t>(out, kHeaderMarkTicks, fields.mark_ticks);
  store_le<std::uint32_t>(out, kHeaderOrder, fields.order);
  store_le<std::uint64_t>(out, kHeaderInstructions, fields.instructions);
  store_le<std::int32_t>(out, kHeaderCurrentTask, fields.current_task);
  store_le<std::uint16_t>(out, kHeaderPositionKind, fields.position_kind);
  store_le<std::uint16_t>(out, kHeaderMachine, fields.machine);
  store_le<std::uint8_t>(out, kHeaderElfClass, fields.elf_class);
  store_le<std::uint8_t>(out, kHeaderDataEncoding, fields.data_encoding);
  store_le<std::uint16_t>(out, kHeaderDigestAlgorithm, kDigestXxh3);
  store_le<std::uint32_t>(out, kHeaderPageSize, fields.page_size);
  store_le<std::uint32_t>(out, kHeaderChunkPages, fields.chunk_pages);
  if (!reserved.empty()) {
    std::memcpy(&out[kHeaderReserved], reserved.data(), kHeaderChecksum - kHeaderReserved);
  }
  store_le<std::uint64_t>(out, kHeaderChecksum, xxh3_64(out.first(kHeaderChecksum)));
  return bytes;
}

HeaderResult check_header(std::span<const std::byte> bytes, Sink& sink) {
  const PreambleResult preamble = check_preamble(bytes, kCheckpoint, sink);
  HeaderResult result;
  result.go_on = preamble.status != PreambleStatus::kStop;
  if (preamble.status != PreambleStatus::kUsable) {
    return result;
  }
  const std::span<const std::byte> in = bytes.first(kHeaderSize);
  const Header header = decode_fields(in, preamble.preamble);
  bool usable = true;
  if (header.digest_algorithm != kDigestXxh3) {
    sink.at("header.digest-algorithm", kHeaderDigestAlgorithm,
            "digest algorithm " + to_string(header.digest_algorithm) + " is not known");
    usable = false;
  }
  const bool page_size_fits = is_page_size(header.page_size);
  if (!page_size_fits) {
    sink.at("header.page-size", kHeaderPageSize,
            "the page size is " + to_string(header.page_size) +
                ", not a power of two from 4096 to 2097152");
    usable = false;
  }
  if (header.chunk_pages == 0 || header.chunk_pages > kMaxChunkPages ||
      (page_size_fits && std::uint64_t{header.chunk_pages} * header.page_size > kMaxChunkLength)) {
    sink.at("header.chunk-pages", kHeaderChunkPages,
            "a chunk of " + to_string(header.chunk_pages) + " pages is out of range");
    usable = false;
  }
  if (header.position_kind > kPositionBetween && header.fully_known()) {
    sink.at("header.position-kind", kHeaderPositionKind,
            "position kind " + to_string(header.position_kind) + " is not defined");
  }
  if (header.event < 0 || header.mark_event < header.event) {
    sink.at("header.event", kHeaderEvent,
            "the event is " + to_string(header.event) + ", the mark's " +
                to_string(header.mark_event));
  }
  if (header.machine == 0) {
    sink.at("header.machine", kHeaderMachine, "the machine is 0");
  }
  if (!header.may_use_reserved() &&
      !is_zero(in.subspan(kHeaderReserved, kHeaderChecksum - kHeaderReserved))) {
    sink.at("header.reserved", kHeaderReserved, "reserved bytes of the header are not zero");
  }
  if (usable) {
    result.header = header;
  }
  return result;
}

} // namespace framing
} // namespace rrpcp
