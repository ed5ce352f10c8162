#include "model/validate_container.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/canonical.h"
#include "container/chunk_table.h"
#include "container/header.h"
#include "container/manifest_bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <kj/exception.h>

namespace rrpcp {

using namespace format;

namespace {

using std::to_string;

std::string bit_list(std::uint64_t bits) {
  std::string text;
  for (; bits != 0; bits &= bits - 1) {
    text += (text.empty() ? "" : ", ") + to_string(std::countr_zero(bits));
  }
  return text;
}

class ContainerCheck {
public:
  ContainerCheck(const ByteSource& source, const ReadLimits& limits, Findings& findings)
      : source_(source), limits_(limits), findings_(findings) {}

  ContainerFacts run() {
    check_header();
    if (stop_) {
      return std::move(facts_);
    }
    check_footer();
    if (facts_.header && facts_.footer) {
      check_chunk_table();
      check_manifest();
    }
    return std::move(facts_);
  }

private:
  void check_header() {
    std::array<std::byte, kHeaderSize> buffer{};
    const std::size_t length = std::min<std::uint64_t>(source_.size(), kHeaderSize);
    source_.read(0, std::span(buffer).first(length));
    std::span<const std::byte> in(buffer);
    const std::size_t magic_length = std::min(length, kHeaderMagic.size());
    if (std::memcmp(buffer.data(), kHeaderMagic.data(), magic_length) != 0) {
      findings_.at("header.magic", 0, "the file does not begin with the magic of a checkpoint");
      // One damaged byte does not make another kind of file of a checkpoint.
      stop_ = length < kHeaderSize || !is_intact_header_but_for_magic(buffer);
      if (stop_) {
        return;
      }
    }
    if (length < kHeaderSize) {
      findings_.at("header.truncated", length,
                   "the file has " + to_string(length) + " bytes, less than a header");
      stop_ = true;
      return;
    }
    const auto checksum = load_le<std::uint64_t>(in, kHeaderChecksum);
    if (checksum != header_checksum(buffer)) {
      findings_.at("header.checksum", kHeaderChecksum,
                   "the header's checksum does not match its bytes");
      return;
    }
    Header header;
    header.checksum = checksum;
    header.major = load_le<std::uint16_t>(in, kHeaderMajor);
    header.minor = load_le<std::uint16_t>(in, kHeaderMinor);
    if (header.major != kMajorVersion) {
      findings_.at("header.version", kHeaderMajor,
                   "the file has format version " + to_string(header.major) + "." +
                       to_string(header.minor) + "; this program knows major version 1");
      stop_ = true;
      return;
    }
    if (header.minor > kMinorVersion) {
      facts_.fully_known = false;
      findings_.at("header.newer-minor", kHeaderMinor,
                   "the file has format version 1." + to_string(header.minor) +
                       "; this program knows 1." + to_string(kMinorVersion));
    }
    if (!check_features(in, header)) {
      stop_ = true;
      return;
    }
    check_header_fields(in, header);
  }

  // The checksum over the bytes as they must have been: with an intact magic.
  static std::uint64_t header_checksum(std::array<std::byte, kHeaderSize> bytes) {
    std::memcpy(bytes.data(), kHeaderMagic.data(), kHeaderMagic.size());
    return xxh3_64(std::span(bytes).first(kHeaderChecksum));
  }

  static bool is_intact_header_but_for_magic(const std::array<std::byte, kHeaderSize>& bytes) {
    return load_le<std::uint64_t>(std::span(bytes), kHeaderChecksum) == header_checksum(bytes);
  }

  bool check_features(std::span<const std::byte> in, Header& header) {
    header.incompatible = load_le<std::uint64_t>(in, kHeaderIncompatible);
    header.read_only_compatible = load_le<std::uint64_t>(in, kHeaderReadOnlyCompat);
    header.compatible = load_le<std::uint64_t>(in, kHeaderCompatible);
    if (std::uint64_t bits = header.read_only_compatible & ~kKnownReadOnlyCompat; bits != 0) {
      facts_.fully_known = false;
      findings_.at("header.read-only-feature", kHeaderReadOnlyCompat,
                   "unknown read-only compatible feature bits: " + bit_list(bits));
    }
    if (std::uint64_t bits = header.compatible & ~kKnownCompatible; bits != 0) {
      facts_.fully_known = false;
      findings_.at("header.compatible-feature", kHeaderCompatible,
                   "unknown compatible feature bits: " + bit_list(bits));
    }
    std::uint64_t bits = header.incompatible & ~kKnownIncompatible;
    if (bits != 0) {
      findings_.at("header.incompatible-feature", kHeaderIncompatible,
                   "unknown incompatible feature bits: " + bit_list(bits));
    }
    return bits == 0;
  }

  bool uses_reserved() const { return facts_.header && may_use_reserved(*facts_.header); }

  void check_header_fields(std::span<const std::byte> in, Header& header) {
    bool usable = true;
    auto length = load_le<std::uint32_t>(in, kHeaderLength);
    if (length != kHeaderSize) {
      findings_.at("header.length", kHeaderLength, "the length field says " + to_string(length));
      usable = false;
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
    bool page_size_fits =
        header.page_size == 4096 || header.page_size == 16384 || header.page_size == 65536;
    if (!page_size_fits) {
      findings_.at("header.page-size", kHeaderPageSize,
                   "the page size is " + to_string(header.page_size));
      usable = false;
    }
    if (header.chunk_pages == 0 || header.chunk_pages > kMaxChunkPages ||
        (page_size_fits &&
         std::uint64_t{header.chunk_pages} * header.page_size > kMaxChunkLength)) {
      findings_.at("header.chunk-pages", kHeaderChunkPages,
                   "a chunk has " + to_string(header.chunk_pages) + " pages");
      usable = false;
    }
    if (header.position_kind > kPositionBetween) {
      findings_.at("header.position-kind", kHeaderPositionKind,
                   "the kind of position is " + to_string(header.position_kind));
    }
    if (header.event < 0 || header.mark_event < header.event) {
      findings_.at("header.event", kHeaderEvent,
                   "the event is " + to_string(header.event) + ", the mark's " +
                       to_string(header.mark_event));
    }
    if (header.machine == 0) {
      findings_.at("header.machine", kHeaderMachine, "the machine is 0");
    }
    if (!may_use_reserved(header) &&
        !is_zero(in.subspan(kHeaderReserved, kHeaderChecksum - kHeaderReserved))) {
      findings_.at("header.reserved", kHeaderReserved, "reserved bytes are not zero");
    }
    if (usable) {
      facts_.header = header;
    }
  }

  void check_footer() {
    const std::uint64_t size = source_.size();
    if (size < kHeaderSize + kFooterSize) {
      findings_.at("footer.missing", size, "the file ends before a footer could be in it");
      return;
    }
    const std::uint64_t start = size - kFooterSize;
    std::array<std::byte, kFooterSize> buffer;
    source_.read(start, buffer);
    std::span<const std::byte> in(buffer);
    const bool magic = load_le<std::array<std::uint8_t, 8>>(in, kFooterEndMagic) == kEndMagic;
    const bool checksum =
        load_le<std::uint64_t>(in, kFooterChecksum) == xxh3_64(in.first(kFooterChecksum));
    if (!magic && !checksum) {
      findings_.at("footer.missing", size, "the file does not end with a footer");
      return;
    }
    if (!magic) {
      findings_.at("footer.magic", start + kFooterEndMagic, "the closing magic is damaged");
    }
    if (!checksum) {
      findings_.at("footer.checksum", start + kFooterChecksum,
                   "the footer's checksum does not match its bytes");
      return;
    }
    const Footer footer = footer_fields(in);
    check_footer_fields(in, footer, start);
  }

  void check_footer_fields(std::span<const std::byte> in, const Footer& footer,
                           std::uint64_t start) {
    bool usable = true;
    auto bad = [&](DiagnosticCode code, std::size_t field, std::string message) {
      findings_.at(code, start + field, std::move(message));
      usable = false;
    };
    if (footer.file_length != source_.size()) {
      bad("footer.file-length", kFooterFileLength,
          "the file has " + to_string(source_.size()) + " bytes, but was written with " +
              to_string(footer.file_length));
    }
    if (facts_.header &&
        load_le<std::uint64_t>(in, kFooterHeaderChecksum) != facts_.header->checksum) {
      bad("footer.header-checksum", kFooterHeaderChecksum,
          "the copy of the header's checksum is not that of this file's header");
    }
    bool entry_size_fits = footer.chunk_entry_size >= kChunkEntrySize &&
                           footer.chunk_entry_size % 8 == 0 && footer.chunk_entry_size <= 4096 &&
                           (!facts_.fully_known || footer.chunk_entry_size == kChunkEntrySize);
    if (!entry_size_fits) {
      bad("footer.chunk-entry-size", kFooterChunkEntrySize,
          "an entry of the chunk table has " + to_string(footer.chunk_entry_size) + " bytes");
    }
    if (footer.page_count > std::uint64_t{1} << 51) {
      bad("footer.page-count", kFooterPageCount,
          "the page stream has " + to_string(footer.page_count) + " pages");
    } else if (facts_.header) {
      const std::uint64_t chunk_pages = facts_.header->chunk_pages;
      if (footer.chunk_count != (footer.page_count + chunk_pages - 1) / chunk_pages) {
        bad("footer.chunk-count", kFooterChunkCount,
            to_string(footer.chunk_count) + " chunks do not make " + to_string(footer.page_count) +
                " pages");
      }
    }
    if (footer.table_offset % 8 != 0 || footer.table_offset < kHeaderSize ||
        footer.table_offset > start ||
        footer.chunk_count > (start - footer.table_offset) / kChunkEntrySize) {
      bad("footer.table-offset", kFooterTableOffset,
          "a chunk table of " + to_string(footer.chunk_count) + " entries cannot lie at byte " +
              to_string(footer.table_offset));
    } else if (entry_size_fits &&
               footer.manifest_offset !=
                   footer.table_offset + footer.chunk_count * footer.chunk_entry_size) {
      bad("footer.manifest-offset", kFooterManifestOffset,
          "the manifest is said to begin at byte " + to_string(footer.manifest_offset));
    }
    if (footer.manifest_offset > start ||
        footer.manifest_length != start - footer.manifest_offset || footer.manifest_length < 16 ||
        footer.manifest_length % 8 != 0) {
      bad("footer.manifest-length", kFooterManifestLength,
          "the manifest is said to have " + to_string(footer.manifest_length) + " bytes");
    }
    if (!uses_reserved() &&
        (!is_zero(in.subspan(kFooterReserved0, 4)) ||
         !is_zero(in.subspan(kFooterReserved, kFooterChecksum - kFooterReserved)))) {
      findings_.at("footer.reserved", start + kFooterReserved0, "reserved bytes are not zero");
    }
    if (usable) {
      facts_.footer = footer;
    }
  }

  void check_chunk_table() {
    const Footer& footer = *facts_.footer;
    if (footer.chunk_count > limits_.max_chunks) {
      throw Error(ErrorCode::kLimit, "the file has " + to_string(footer.chunk_count) +
                                         " chunks, more than the limit of " +
                                         to_string(limits_.max_chunks))
          .in_file(source_.name())
          .at(footer.table_offset);
    }
    // Entries are judged while their bytes are read, piece by piece: the findings count only if the
    // digest of the whole is right, so that a second pass follows.
    if (table_digest() != footer.table_digest) {
      findings_.at("chunk-table.digest", footer.table_offset,
                   "the chunk table's digest does not match its bytes");
      return;
    }
    std::vector<ChunkEntry> chunks;
    chunks.reserve(footer.chunk_count);
    bool usable = true;
    std::uint64_t end = kHeaderSize; // of the parts before
    for_each_table_piece([&](std::span<const std::byte> piece) {
      for (std::size_t i = 0; i * footer.chunk_entry_size < piece.size(); ++i) {
        auto entry = piece.subspan(i * footer.chunk_entry_size, footer.chunk_entry_size);
        ChunkEntry chunk = decode_chunk_entry(piece, footer.chunk_entry_size, i);
        usable = check_entry(chunk, entry, chunks.size(), end) && usable;
        chunks.push_back(chunk);
      }
    });
    const std::uint64_t tail = align_up(end, 8);
    if (!usable) {
      return;
    }
    if (footer.table_offset != tail) {
      findings_.at("footer.table-offset", source_.size() - kFooterSize + kFooterTableOffset,
                   "the chunk table begins at byte " + to_string(footer.table_offset) +
                       " instead of " + to_string(tail));
    } else {
      check_padding(end, tail);
    }
    facts_.chunks = std::move(chunks);
  }

  template <typename Function> void for_each_table_piece(Function&& function) {
    const Footer& footer = *facts_.footer;
    const std::uint64_t batch = std::max<std::uint64_t>(1, (1u << 20) / footer.chunk_entry_size);
    std::vector<std::byte> buffer(std::min(batch, footer.chunk_count) * footer.chunk_entry_size);
    for (std::uint64_t first = 0; first < footer.chunk_count; first += batch) {
      std::uint64_t count = std::min(batch, footer.chunk_count - first);
      function(source_.view(footer.table_offset + first * footer.chunk_entry_size,
                            count * footer.chunk_entry_size, buffer));
    }
  }

  std::array<std::uint8_t, 16> table_digest() {
    Xxh3Stream128 stream;
    for_each_table_piece([&](std::span<const std::byte> piece) { stream.update(piece); });
    return stream.digest().canonical();
  }

  // True where the chunk can be read and decoded. Advances `end` to the end of the chunk.
  bool check_entry(const ChunkEntry& chunk, std::span<const std::byte> entry, std::uint64_t index,
                   std::uint64_t& end) {
    const Header& header = *facts_.header;
    const Footer& footer = *facts_.footer;
    bool usable = true;
    auto bad = [&](DiagnosticCode code, std::size_t field, const std::string& message) {
      findings_.at(code, footer.table_offset + index * footer.chunk_entry_size + field,
                   "chunk " + to_string(index) + ": " + message);
      usable = false;
    };
    const std::uint64_t pages =
        std::min<std::uint64_t>(header.chunk_pages, footer.page_count - index * header.chunk_pages);
    if (chunk.length != pages * header.page_size) {
      bad("chunk.length", kChunkLength,
          to_string(chunk.length) + " bytes are not " + to_string(pages) + " pages");
    }
    switch (chunk.codec) {
    case kCodecRaw:
      if (chunk.stored_length != chunk.length || chunk.stored_checksum != chunk.checksum) {
        bad("chunk.stored-length", kChunkStoredLength,
            "a raw chunk's stored and decoded length or checksum differ");
      }
      break;
    case kCodecZstd:
      if (chunk.stored_length == 0 || chunk.stored_length >= chunk.length) {
        bad("chunk.stored-length", kChunkStoredLength,
            to_string(chunk.stored_length) + " bytes for " + to_string(chunk.length) +
                " decoded ones");
      }
      if ((header.incompatible & kIncompatZstd) == 0) {
        bad("header.feature-unset", kChunkCodec,
            "it is compressed by zstd, but feature bit 0 is not set");
      }
      break;
    default:
      bad("chunk.codec", kChunkCodec, "codec " + to_string(chunk.codec) + " is not defined");
      break;
    }
    if (!uses_reserved() &&
        !is_zero(entry.subspan(kChunkReserved, kChunkEntrySize - kChunkReserved))) {
      findings_.at("chunk.reserved",
                   footer.table_offset + index * footer.chunk_entry_size + kChunkReserved,
                   "chunk " + to_string(index) + ": reserved bytes are not zero");
    }
    const std::uint64_t start = chunk_start(end, chunk.codec, header.page_size);
    if (chunk.offset != start ||
        chunk.stored_length > footer.table_offset - std::min(start, footer.table_offset)) {
      bad("chunk.offset", kChunkOffset,
          "it lies at byte " + to_string(chunk.offset) + " instead of " + to_string(start) +
              ", or reaches into the chunk table");
    } else {
      check_padding(end, start);
    }
    // Whatever the entry says, the next one is judged from where this one claims to end.
    if (chunk.offset <= footer.table_offset) {
      end = chunk.offset +
            std::min<std::uint64_t>(chunk.stored_length, footer.table_offset - chunk.offset);
    }
    return usable;
  }

  void check_padding(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) {
      return;
    }
    padding_.resize(kMaxPageSize);
    auto bytes = source_.view(begin, end - begin, padding_);
    if (!is_zero(bytes)) {
      auto first = std::find_if(bytes.begin(), bytes.end(),
                                [](std::byte byte) { return byte != std::byte{0}; });
      findings_.at("page-data.padding", begin + static_cast<std::uint64_t>(first - bytes.begin()),
                   "bytes " + to_string(begin) + " to " + to_string(end - 1) + " must be zero");
    }
  }

  void check_manifest() {
    const Footer& footer = *facts_.footer;
    if (footer.manifest_length > limits_.max_manifest_bytes) {
      throw Error(ErrorCode::kLimit, "the manifest has " + to_string(footer.manifest_length) +
                                         " bytes, more than the limit of " +
                                         to_string(limits_.max_manifest_bytes))
          .in_file(source_.name())
          .at(footer.manifest_offset);
    }
    facts_.manifest_words =
        kj::heapArray<capnp::word>(footer.manifest_length / sizeof(capnp::word));
    auto bytes = std::as_writable_bytes(
        std::span(facts_.manifest_words.begin(), facts_.manifest_words.size()));
    source_.read(footer.manifest_offset, bytes);
    if (xxh3_128(bytes).canonical() != footer.manifest_digest) {
      findings_.at("manifest.digest", footer.manifest_offset,
                   "the manifest's digest does not match its bytes");
      return;
    }
    if (auto problem = check_layout(bytes)) {
      findings_.at("manifest.layout", footer.manifest_offset + problem->offset, problem->what);
      return;
    }
    // The layout check bounds what a walk can cost; the limit is a second line of defence, far
    // above what the walks of a validation need.
    capnp::ReaderOptions options;
    options.traversalLimitInWords = footer.manifest_length * 16 + (1u << 24);
    options.nestingLimit = 64;
    auto message =
        std::make_unique<capnp::FlatArrayMessageReader>(facts_.manifest_words.asPtr(), options);
    try {
      if (auto problem = find_noncanonical(bytes.subspan(sizeof(capnp::word)))) {
        findings_.at("manifest.canonical",
                     footer.manifest_offset + (problem->word + 1) * sizeof(capnp::word),
                     std::move(problem->what));
      }
      facts_.message = std::move(message);
    } catch (const kj::Exception& exception) {
      findings_.at("manifest.layout", footer.manifest_offset, exception.getDescription().cStr());
    }
  }

  const ByteSource& source_;
  const ReadLimits& limits_;
  Findings& findings_;
  ContainerFacts facts_;
  std::vector<std::byte> padding_;
  bool stop_ = false;
};

} // namespace

ContainerFacts validate_container(const ByteSource& source, const ReadLimits& limits,
                                  Findings& findings) {
  return ContainerCheck(source, limits, findings).run();
}

void validate_agreement(const ContainerFacts& facts, schema::State::Reader state,
                        Findings& findings) {
  const Header& header = *facts.header;
  auto compare = [&](const char* what, const Path& path, std::uint64_t in_header,
                     std::uint64_t in_manifest, std::size_t field) {
    if (in_header != in_manifest) {
      findings.at("header.manifest-mismatch", field,
                  std::string("the header's ") + what + " is " +
                      to_string(static_cast<std::int64_t>(in_header)) + ", but " + path.str() +
                      " makes it " + to_string(static_cast<std::int64_t>(in_manifest)));
    }
  };
  const Path root("state");
  compare("machine", root / "machine", header.machine, state.getMachine(), kHeaderMachine);
  auto geometry = state.getPageStream();
  compare("page size", root / "pageStream", header.page_size, geometry.getPageSize(),
          kHeaderPageSize);
  compare("chunk length", root / "pageStream", header.chunk_pages, geometry.getChunkPages(),
          kHeaderChunkPages);
  if (geometry.getPageCount() != facts.footer->page_count) {
    findings.at("footer.page-count", facts.footer->file_length - kFooterSize + kFooterPageCount,
                "the footer says " + to_string(facts.footer->page_count) + " pages, the manifest " +
                    to_string(geometry.getPageCount()));
  }
  TraceUuid uuid;
  if (state.hasTrace()) {
    auto stored = state.getTrace().getUuid();
    if (stored.size() == uuid.bytes.size()) {
      std::copy(stored.begin(), stored.end(), uuid.bytes.begin());
    }
  }
  if (uuid != header.trace_uuid) {
    findings.at("header.manifest-mismatch", kHeaderTraceUuid,
                "the header's trace uuid is " + header.trace_uuid.to_string() +
                    ", the manifest's " + uuid.to_string());
  }
  std::uint16_t kind = kPositionNone;
  std::int64_t event = 0, ticks = 0, mark_event = 0;
  std::uint32_t order = 0;
  if (state.hasPosition()) {
    auto position = state.getPosition();
    event = mark_event = position.getClone().getEvent();
    ticks = position.getClone().getTicks();
    switch (position.which()) {
    case schema::Position::AT_EVENT:
      kind = kPositionAtEvent;
      break;
    case schema::Position::FORWARD_TO:
      kind = kPositionForwardTo;
      mark_event = position.getForwardTo().getEvent();
      break;
    case schema::Position::BETWEEN:
      kind = kPositionBetween;
      order = position.getBetween().getOrder();
      break;
    default:
      kind = header.position_kind; // judged as an unknown value
      break;
    }
  }
  const Path position = root / "position";
  compare("kind of position", position, header.position_kind, kind, kHeaderPositionKind);
  compare("event", position, static_cast<std::uint64_t>(header.event),
          static_cast<std::uint64_t>(event), kHeaderEvent);
  compare("number of ticks", position, static_cast<std::uint64_t>(header.ticks),
          static_cast<std::uint64_t>(ticks), kHeaderTicks);
  compare("event of the mark", position, static_cast<std::uint64_t>(header.mark_event),
          static_cast<std::uint64_t>(mark_event), kHeaderMarkEvent);
  compare("order", position, header.order, order, kHeaderOrder);
}

} // namespace rrpcp
