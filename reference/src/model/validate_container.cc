#include "model/validate_container.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/canonical.h"
#include "container/manifest_bytes.h"
#include "container/seal.h"
#include "framing/chunk_table.h"
#include "framing/header.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <kj/exception.h>

namespace rrpcp {

using namespace format;

namespace {

using std::to_string;

class ContainerCheck {
public:
  ContainerCheck(const ByteSource& source, const ReadLimits& limits, Findings& findings)
      : source_(source), limits_(limits), findings_(findings) {}

  ContainerFacts run() {
    const framing::ReadBytes read = [this](std::uint64_t offset, std::span<std::byte> out) {
      source_.read(offset, out);
    };
    framing::HeaderBytes buffer{};
    const auto head =
        std::span<std::byte>(buffer).first(std::min<std::uint64_t>(source_.size(), kHeaderSize));
    source_.read(0, head);
    const framing::HeaderResult result = framing::check_header(head, findings_);
    if (!result.go_on) {
      return std::move(facts_);
    }
    facts_.header = result.header;
    facts_.footer = framing::check_footer(read, source_.size(), facts_.header, findings_);
    if (facts_.footer) {
      facts_.sections = framing::check_directory(read, *facts_.header, *facts_.footer, findings_);
    }
    if (facts_.sections) {
      limit_work(source_, limits_,
                 facts_.footer->directory_offset - facts_.sections->all[0].offset);
      check_chunk_table();
      check_manifest();
      check_other_sections();
    }
    return std::move(facts_);
  }

private:
  void check_chunk_table() {
    const Footer& footer = *facts_.footer;
    const Section& table = facts_.sections->chunk_table;
    if (footer.chunk_count > limits_.max_chunks) {
      throw Error(ErrorCode::kLimit, "the file has " + to_string(footer.chunk_count) +
                                         " chunks, more than the limit of " +
                                         to_string(limits_.max_chunks))
          .in_file(source_.name())
          .at(table.offset);
    }
    // Entries are judged while their bytes are read, piece by piece: the findings count only if the
    // digest of the whole is right, so that a second pass follows.
    if (digest_of(table) != table.digest) {
      findings_.at("chunk-table.digest", table.offset,
                   "the chunk table's digest does not match its bytes");
      return;
    }
    std::vector<ChunkEntry> chunks;
    chunks.reserve(std::min<std::uint64_t>(footer.chunk_count, 1u << 16));
    const std::uint64_t data_end = facts_.sections->all[0].offset;
    const framing::ChunkContext context = {*facts_.header, footer, table.offset, data_end};
    bool usable = true;
    std::uint64_t end = kHeaderSize; // of the parts before
    std::uint64_t index = 0;
    for_each_piece(table, [&](std::span<const std::byte> piece) {
      for (std::size_t i = 0; i * footer.chunk_entry_size < piece.size(); ++i, ++index) {
        const auto entry = piece.subspan(i * footer.chunk_entry_size, footer.chunk_entry_size);
        const ChunkEntry chunk = framing::decode_chunk_entry(piece, footer.chunk_entry_size, i);
        if (!usable) {
          // Behind an entry that is not to be trusted nobody knows where a chunk should lie.
          framing::check_chunk_entry(context, chunk, entry, index, findings_);
          continue;
        }
        usable = framing::check_chunk_entry(context, chunk, entry, index, findings_) &&
                 framing::check_chunk_place(context, chunk, index, end, findings_);
        if (usable) {
          check_padding(end, chunk.offset);
          end = chunk.offset + chunk.stored_length;
          chunks.push_back(chunk);
        }
      }
    });
    if (!usable) {
      return;
    }
    const std::uint64_t first_section = align_up(end, kSectionAlignment);
    if (data_end != first_section) {
      findings_.at("section.offset", footer.directory_offset + kSectionOffset,
                   "the first section begins at byte " + to_string(data_end) + " instead of " +
                       to_string(first_section) + ", where the page data ends");
    } else {
      check_padding(end, first_section);
    }
    facts_.chunks = std::move(chunks);
  }

  // Pieces of about 1 MiB that are whole entries of the chunk table.
  template <typename Function> void for_each_piece(const Section& section, Function&& function) {
    const std::uint64_t entry = facts_.footer->chunk_entry_size;
    const std::uint64_t batch = std::max<std::uint64_t>(1, (1u << 20) / entry) * entry;
    std::vector<std::byte> buffer(std::min(batch, section.length));
    for (std::uint64_t done = 0; done < section.length; done += batch) {
      const std::uint64_t length = std::min(batch, section.length - done);
      function(source_.view(section.offset + done, length, buffer));
    }
  }

  DigestBytes digest_of(const Section& section) {
    Xxh3Stream128 stream;
    for_each_piece(section, [&](std::span<const std::byte> piece) { stream.update(piece); });
    return framing::digest_of(stream.digest().canonical());
  }

  void check_padding(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) {
      return;
    }
    padding_.resize(std::max<std::size_t>(padding_.size(), end - begin));
    auto bytes = source_.view(begin, end - begin, padding_);
    if (!is_zero(bytes)) {
      auto first = std::find_if(bytes.begin(), bytes.end(),
                                [](std::byte byte) { return byte != std::byte{0}; });
      findings_.at("page-data.padding", begin + static_cast<std::uint64_t>(first - bytes.begin()),
                   "bytes " + to_string(begin) + " to " + to_string(end - 1) + " must be zero");
    }
  }

  void check_manifest() {
    const Section& section = facts_.sections->manifest;
    if (section.length > limits_.max_manifest_bytes) {
      throw Error(ErrorCode::kLimit, "the manifest has " + to_string(section.length) +
                                         " bytes, more than the limit of " +
                                         to_string(limits_.max_manifest_bytes))
          .in_file(source_.name())
          .at(section.offset);
    }
    facts_.manifest_words = kj::heapArray<capnp::word>(section.length / sizeof(capnp::word));
    auto bytes = std::as_writable_bytes(
        std::span(facts_.manifest_words.begin(), facts_.manifest_words.size()));
    source_.read(section.offset, bytes);
    if (framing::digest_of(bytes) != section.digest) {
      findings_.at("manifest.digest", section.offset,
                   "the manifest's digest does not match its bytes");
      return;
    }
    if (auto problem = check_layout(bytes)) {
      findings_.at("manifest.layout", section.offset + problem->offset, problem->what);
      return;
    }
    // The layout check bounds what a walk can cost; the limit is a second line of defence, far
    // above what the walks of a validation need.
    capnp::ReaderOptions options;
    options.traversalLimitInWords = section.length * 16 + (1u << 24);
    options.nestingLimit = 256; // the layout check allows 64 levels; a list of structs takes two
    auto message =
        std::make_unique<capnp::FlatArrayMessageReader>(facts_.manifest_words.asPtr(), options);
    try {
      if (auto problem = find_noncanonical(bytes.subspan(sizeof(capnp::word)))) {
        findings_.at("manifest.canonical",
                     section.offset + (problem->word + 1) * sizeof(capnp::word),
                     std::move(problem->what));
      }
      facts_.message = std::move(message);
    } catch (const kj::Exception& exception) {
      findings_.at("manifest.layout", section.offset, exception.getDescription().cStr());
    }
  }

  // Sections that are not needed to read the file: their digests, and the form of the seal.
  void check_other_sections() {
    for (const Section& section : facts_.sections->all) {
      if (section.kind == kSectionChunkTable || section.kind == kSectionManifest) {
        continue;
      }
      if (digest_of(section) != section.digest) {
        findings_.at("section.digest", section.offset,
                     "the digest of section kind " + to_string(section.kind) +
                         " does not match its bytes");
      } else if (section.kind == kSectionSeal) {
        read_seal(section);
      }
    }
  }

  void read_seal(const Section& section) {
    const std::uint64_t chunk_count = facts_.footer->chunk_count;
    if (section.length < kSealReserved) {
      findings_.at("seal.form", section.offset, "the seal is too short");
      return;
    }
    std::array<std::byte, kSealReserved> head;
    source_.read(section.offset, head);
    if (const auto algorithm = load_le<std::uint32_t>(head, kSealAlgorithm);
        algorithm != kSealSha256) {
      findings_.at("seal.algorithm", section.offset,
                   "the seal has algorithm " + to_string(algorithm));
      return;
    }
    // The length is looked at before anything of that length is allocated.
    if (section.length % sizeof(Sha256Digest) == kSealChunks % sizeof(Sha256Digest) &&
        section.length / sizeof(Sha256Digest) == chunk_count + kSealChunks / sizeof(Sha256Digest)) {
      std::vector<std::byte> bytes(section.length);
      source_.read(section.offset, bytes);
      facts_.seal = decode_seal(bytes, chunk_count);
    }
    if (!facts_.seal) {
      findings_.at("seal.form", section.offset,
                   "a seal of " + to_string(section.length) + " bytes is none of " +
                       to_string(chunk_count) + " chunks");
    }
  }

  const ByteSource& source_;
  const ReadLimits& limits_;
  Findings& findings_;
  ContainerFacts facts_;
  std::vector<std::byte> padding_;
};

} // namespace

void limit_work(const ByteSource& source, const ReadLimits& limits, std::uint64_t bytes) {
  const std::uint64_t limit = limits.max_decoded_bytes != 0
                                  ? limits.max_decoded_bytes
                                  : (std::uint64_t{16} << 30) + 256 * source.stored_size();
  if (bytes > limit) {
    throw Error(ErrorCode::kLimit, "there are " + to_string(bytes) + " bytes to look at in " +
                                       to_string(source.stored_size()) +
                                       " stored ones, more than the limit of " + to_string(limit))
        .in_file(source.name())
        .with_hint("raise the limit (--max-decoded) if the file is from somebody you trust");
  }
}

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
  compare("ELF class", root / "elfClass", header.elf_class, state.getElfClass(), kHeaderElfClass);
  compare("data encoding", root / "dataEncoding", header.data_encoding, state.getDataEncoding(),
          kHeaderDataEncoding);
  auto geometry = state.getPageStream();
  compare("page size", root / "pageStream", header.page_size, geometry.getPageSize(),
          kHeaderPageSize);
  compare("chunk length", root / "pageStream", header.chunk_pages, geometry.getChunkPages(),
          kHeaderChunkPages);
  if (geometry.getPageCount() != facts.footer->page_count) {
    findings.at("footer.page-count",
                facts.footer->file_length - facts.footer->length + kFooterPageCount,
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
  std::int64_t event = 0, ticks = 0, mark_event = 0, mark_ticks = 0;
  std::uint32_t order = 0;
  std::uint64_t instructions = 0;
  std::int32_t task = 0;
  if (state.hasPosition()) {
    auto position = state.getPosition();
    event = mark_event = position.getClone().getEvent();
    ticks = mark_ticks = position.getClone().getTicks();
    task = position.getClone().getTask();
    switch (position.which()) {
    case schema::Position::AT_EVENT:
      kind = kPositionAtEvent;
      break;
    case schema::Position::FORWARD_TO:
      kind = kPositionForwardTo;
      mark_event = position.getForwardTo().getEvent();
      mark_ticks = position.getForwardTo().getTicks();
      break;
    case schema::Position::BETWEEN:
      kind = kPositionBetween;
      order = position.getBetween().getOrder();
      instructions = position.getBetween().getInstructions();
      break;
    default: // judged as an unknown value
      kind = header.position_kind;
      mark_event = header.mark_event;
      mark_ticks = header.mark_ticks;
      order = header.order;
      instructions = header.instructions;
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
  compare("number of ticks at the mark", position, static_cast<std::uint64_t>(header.mark_ticks),
          static_cast<std::uint64_t>(mark_ticks), kHeaderMarkTicks);
  compare("order", position, header.order, order, kHeaderOrder);
  compare("current task", position, static_cast<std::uint64_t>(std::int64_t{header.current_task}),
          static_cast<std::uint64_t>(std::int64_t{task}), kHeaderCurrentTask);
  compare("number of instructions", position, header.instructions, instructions,
          kHeaderInstructions);
}

} // namespace rrpcp
