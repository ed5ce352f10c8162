#include "framing/sections.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace rrpcp::framing {

using namespace format;
using std::to_string;

namespace {

constexpr std::size_t kReserved0Size = kFooterHeaderChecksum - kFooterReserved0;
constexpr std::size_t kFooterFieldsSize = kFooterSize - kFooterEndSize;
constexpr std::size_t kReservedSize = kFooterFieldsSize - kFooterReserved;

// The last bytes of a file, which say how long the footer is.
struct FooterEnd {
  std::uint64_t length = 0;
  std::uint16_t version = 0;
  bool magic = false;
  bool checksum = false;
};

// Whether an entry of a table may have this size: later versions may lengthen it.
bool entry_size_fits(std::uint32_t size, std::size_t known, bool fully_known) {
  return size >= known && size % 8 == 0 && size <= kMaxEntrySize && (!fully_known || size == known);
}

} // namespace

DigestBytes digest_of(const std::array<std::uint8_t, 16>& xxh3_128) {
  DigestBytes digest{};
  std::copy(xxh3_128.begin(), xxh3_128.end(), digest.begin());
  return digest;
}

DigestBytes digest_of(std::span<const std::byte> bytes) {
  return digest_of(xxh3_128(bytes).canonical());
}

std::optional<std::uint32_t> flags_of_kind(std::uint32_t kind) {
  switch (kind) {
  case kSectionChunkTable:
  case kSectionManifest:
    return kSectionMustUnderstand;
  case kSectionSeal:
    return kSectionSafeToCopy;
  default:
    return std::nullopt;
  }
}

std::vector<std::byte> encode_footer(const Footer& footer, std::uint64_t header_checksum,
                                     std::span<const std::byte> reserved,
                                     std::span<const std::byte> rest) {
  std::vector<std::byte> bytes(footer.length);
  std::span<std::byte> out(bytes);
  store_le(out, kFooterDirectoryOffset, footer.directory_offset);
  store_le(out, kFooterSectionCount, footer.section_count);
  store_le(out, kFooterSectionEntrySize, footer.section_entry_size);
  store_le(out, kFooterDirectoryDigest, footer.directory_digest);
  store_le(out, kFooterCheckpointId, digest_of(footer.id.bytes));
  store_le(out, kFooterPageCount, footer.page_count);
  store_le(out, kFooterChunkCount, footer.chunk_count);
  store_le(out, kFooterChunkEntrySize, footer.chunk_entry_size);
  store_le(out, kFooterHeaderChecksum, header_checksum);
  store_le(out, kFooterFileLength, footer.file_length);
  if (!reserved.empty()) {
    std::memcpy(&out[kFooterReserved0], reserved.data(), kReserved0Size);
    std::memcpy(&out[kFooterReserved], &reserved[kReserved0Size], kReservedSize);
  }
  if (!rest.empty()) {
    std::memcpy(&out[kFooterFieldsSize], rest.data(), rest.size());
  }
  const std::span<std::byte> end = out.last(kFooterEndSize);
  store_le<std::uint32_t>(end, kFooterEndLength, footer.length);
  store_le<std::uint16_t>(end, kFooterEndVersion, kFooterVersion);
  store_le(end, kFooterEndMagic, kEndMagic);
  store_le<std::uint64_t>(end, kFooterEndChecksum,
                          xxh3_64(out.first(out.size() - kFooterEndSize + kFooterEndChecksum)));
  return bytes;
}

std::vector<std::byte> encode_section(const Section& section, std::uint32_t entry_size,
                                      std::span<const std::byte> reserved,
                                      std::span<const std::byte> rest) {
  std::vector<std::byte> bytes(entry_size);
  std::span<std::byte> out(bytes);
  store_le(out, kSectionKind, section.kind);
  store_le(out, kSectionFlags, section.flags);
  store_le(out, kSectionOffset, section.offset);
  store_le(out, kSectionLength, section.length);
  store_le(out, kSectionDigest, section.digest);
  if (!reserved.empty()) {
    std::memcpy(&out[kSectionReserved], reserved.data(), kSectionDigest - kSectionReserved);
  }
  if (!rest.empty()) {
    std::memcpy(&out[kSectionEntrySize], rest.data(), rest.size());
  }
  return bytes;
}

Footer footer_fields(std::span<const std::byte> in) {
  Footer footer;
  footer.directory_offset = load_le<std::uint64_t>(in, kFooterDirectoryOffset);
  footer.section_count = load_le<std::uint32_t>(in, kFooterSectionCount);
  footer.section_entry_size = load_le<std::uint32_t>(in, kFooterSectionEntrySize);
  footer.directory_digest = load_le<DigestBytes>(in, kFooterDirectoryDigest);
  footer.id.bytes = load_le<std::array<std::uint8_t, 16>>(in, kFooterCheckpointId);
  footer.page_count = load_le<std::uint64_t>(in, kFooterPageCount);
  footer.chunk_count = load_le<std::uint64_t>(in, kFooterChunkCount);
  footer.chunk_entry_size = load_le<std::uint32_t>(in, kFooterChunkEntrySize);
  footer.file_length = load_le<std::uint64_t>(in, kFooterFileLength);
  footer.length = static_cast<std::uint32_t>(in.size());
  return footer;
}

Section section_fields(std::span<const std::byte> in) {
  Section section;
  section.kind = load_le<std::uint32_t>(in, kSectionKind);
  section.flags = load_le<std::uint32_t>(in, kSectionFlags);
  section.offset = load_le<std::uint64_t>(in, kSectionOffset);
  section.length = load_le<std::uint64_t>(in, kSectionLength);
  section.digest = load_le<DigestBytes>(in, kSectionDigest);
  return section;
}

std::optional<Footer> check_footer(const ReadBytes& read, std::uint64_t file_size,
                                   const std::optional<Header>& header, Sink& sink) {
  if (file_size < kHeaderSize + kFooterSize) {
    sink.at("footer.missing", file_size,
            "the checkpoint is incomplete: it ends before a footer could be in it");
    return std::nullopt;
  }
  std::array<std::byte, kMaxFooterSize> buffer;
  const std::uint64_t most = std::min<std::uint64_t>(file_size - kHeaderSize, kMaxFooterSize);
  // Usually the footer has the length of this version.
  std::span<std::byte> in(buffer.data(), kFooterSize);
  read(file_size - in.size(), in);
  FooterEnd found;
  const auto end = in.last(kFooterEndSize);
  found.length = load_le<std::uint32_t>(end, kFooterEndLength);
  found.version = load_le<std::uint16_t>(end, kFooterEndVersion);
  found.magic = load_le<std::array<std::uint8_t, 8>>(end, kFooterEndMagic) == kEndMagic;
  const auto checksum = load_le<std::uint64_t>(end, kFooterEndChecksum);
  const bool length_fits =
      found.length >= kFooterSize && found.length <= most && found.length % 8 == 0;
  if (length_fits) {
    if (found.length != in.size()) {
      in = std::span(buffer).first(found.length);
      read(file_size - in.size(), in);
    }
    found.checksum = checksum == xxh3_64(in.first(in.size() - kFooterEndSize + kFooterEndChecksum));
  }
  if (!found.magic && !found.checksum) {
    sink.at("footer.missing", file_size,
            "the checkpoint is incomplete: it does not end with a footer");
    return std::nullopt;
  }
  const std::uint64_t start = file_size - in.size();
  const std::uint64_t end_start = file_size - kFooterEndSize;
  if (!found.magic) {
    sink.at("footer.magic", end_start + kFooterEndMagic,
            "the closing magic is damaged, while the rest of the footer is intact");
  }
  if (!found.checksum) {
    sink.at("footer.checksum", end_start + kFooterEndChecksum,
            "the footer's checksum does not match its bytes");
    return std::nullopt;
  }
  if (found.version != kFooterVersion) {
    sink.at("footer.version", end_start + kFooterEndVersion,
            "the footer has version " + to_string(found.version) + "; this program knows version " +
                to_string(kFooterVersion));
    return std::nullopt;
  }
  const Footer footer = footer_fields(in);
  bool usable = true;
  auto bad = [&](DiagnosticCode code, std::size_t field, std::string message) {
    sink.at(code, start + field, std::move(message));
    usable = false;
  };
  if (footer.file_length != file_size) {
    bad("footer.file-length", kFooterFileLength,
        "the file has " + to_string(file_size) + " bytes, but was written with " +
            to_string(footer.file_length));
  }
  if (!header) {
    return std::nullopt;
  }
  if (load_le<std::uint64_t>(in, kFooterHeaderChecksum) != header->checksum) {
    // Nothing that the two say together can be judged.
    bad("footer.header-checksum", kFooterHeaderChecksum,
        "header and footer are of different files");
    return std::nullopt;
  }
  const bool fully_known = header->fully_known();
  if (fully_known && footer.length != kFooterSize) {
    sink.at("footer.length", end_start + kFooterEndLength,
            "the footer has " + to_string(footer.length) + " bytes");
  }
  if (footer.page_count > kMaxStreamBytes / header->page_size) {
    bad("footer.page-count", kFooterPageCount,
        "the page stream has " + to_string(footer.page_count) + " pages");
  } else if (footer.chunk_count !=
             (footer.page_count + header->chunk_pages - 1) / header->chunk_pages) {
    bad("footer.chunk-count", kFooterChunkCount,
        "the number of chunks, " + to_string(footer.chunk_count) + ", does not fit " +
            to_string(footer.page_count) + " pages");
  }
  if (!entry_size_fits(footer.chunk_entry_size, kChunkEntrySize, fully_known)) {
    bad("footer.chunk-entry-size", kFooterChunkEntrySize,
        "an entry of the chunk table has " + to_string(footer.chunk_entry_size) + " bytes");
  }
  if (!entry_size_fits(footer.section_entry_size, kSectionEntrySize, fully_known)) {
    bad("footer.section-entry-size", kFooterSectionEntrySize,
        "an entry of the section directory has " + to_string(footer.section_entry_size) + " bytes");
  } else if (footer.section_count == 0 || footer.section_count > kMaxSections ||
             footer.directory_offset % kSectionAlignment != 0 ||
             footer.directory_offset < kHeaderSize || footer.directory_offset > start ||
             std::uint64_t{footer.section_count} * footer.section_entry_size !=
                 start - footer.directory_offset) {
    bad("footer.directory", kFooterDirectoryOffset,
        "a directory of " + to_string(footer.section_count) + " sections cannot lie at byte " +
            to_string(footer.directory_offset));
  }
  if (!header->may_use_reserved() && (!is_zero(in.subspan(kFooterReserved0, kReserved0Size)) ||
                                      !is_zero(in.subspan(kFooterReserved, kReservedSize)) ||
                                      !is_zero(end.subspan(kFooterEndReserved, 2)))) {
    sink.at("footer.reserved", start + kFooterReserved0,
            "reserved bytes of the footer are not zero");
  }
  return usable ? std::optional(footer) : std::nullopt;
}

namespace {

class DirectoryCheck {
public:
  DirectoryCheck(const ReadBytes& read, const Header& header, const Footer& footer, Sink& sink)
      : read_(read), header_(header), footer_(footer), sink_(sink) {}

  std::optional<Sections> run() {
    sections_.directory.resize(std::size_t{footer_.section_count} * footer_.section_entry_size);
    read_(footer_.directory_offset, sections_.directory);
    if (digest_of(sections_.directory) != footer_.directory_digest) {
      sink_.at("directory.digest", footer_.directory_offset,
               "the section directory's digest does not match its bytes");
      return std::nullopt;
    }
    for (std::uint32_t i = 0; i < footer_.section_count; ++i) {
      const auto entry =
          std::span<const std::byte>(sections_.directory)
              .subspan(std::size_t{i} * footer_.section_entry_size, footer_.section_entry_size);
      sections_.all.push_back(section_fields(entry));
      check_entry(i, entry);
    }
    check_places();
    check_known();
    return usable_ ? std::optional(std::move(sections_)) : std::nullopt;
  }

private:
  std::uint64_t place(std::size_t index, std::size_t field) const {
    return footer_.directory_offset + index * footer_.section_entry_size + field;
  }

  void bad(DiagnosticCode code, std::size_t index, std::size_t field, const std::string& message) {
    sink_.at(code, place(index, field), "section " + to_string(index) + ": " + message);
    usable_ = false;
  }

  void check_entry(std::size_t index, std::span<const std::byte> entry) {
    const Section& section = sections_.all[index];
    const std::optional<std::uint32_t> flags = flags_of_kind(section.kind);
    if (section.kind == 0) {
      bad("section.kind", index, kSectionKind, "its kind is 0");
      return;
    }
    const bool flags_fit =
        flags
            ? (header_.fully_known() ? section.flags : section.flags & kKnownSectionFlags) == *flags
            : !header_.fully_known() || (section.flags & ~kKnownSectionFlags) == 0;
    if (!flags_fit) {
      sink_.at("section.flags", place(index, kSectionFlags),
               "section " + to_string(index) + ": kind " + to_string(section.kind) +
                   " has the flags " + to_string(section.flags));
    }
    if (!flags) {
      const std::string what = "section " + to_string(index) + ": kind " + to_string(section.kind);
      if (section.must_understand()) {
        bad("section.must-understand", index, kSectionKind,
            "kind " + to_string(section.kind) + " is needed to read the file, and not known");
      } else {
        sink_.at("section.unknown", place(index, kSectionKind), what + " is not known");
      }
    }
    if (!header_.may_use_reserved() &&
        !is_zero(entry.subspan(kSectionReserved, kSectionDigest - kSectionReserved))) {
      sink_.at("section.reserved", place(index, kSectionReserved),
               "section " + to_string(index) + ": reserved bytes are not zero");
    }
  }

  // The sections lie one behind the other up to the directory, the first anywhere behind the
  // header.
  void check_places() {
    std::uint64_t end = 0;
    for (std::size_t i = 0; i < sections_.all.size(); ++i) {
      const Section& section = sections_.all[i];
      const bool fits = section.offset <= footer_.directory_offset &&
                        section.length <= footer_.directory_offset - section.offset &&
                        section.offset % kSectionAlignment == 0 &&
                        (i == 0 ? section.offset >= kHeaderSize
                                : section.offset == align_up(end, kSectionAlignment));
      if (!fits) {
        bad("section.offset", i, kSectionOffset,
            "it cannot have " + to_string(section.length) + " bytes from byte " +
                to_string(section.offset) + " on");
        return;
      }
      if (i != 0) {
        check_padding(end, section.offset);
      }
      end = section.offset + section.length;
    }
    if (align_up(end, kSectionAlignment) != footer_.directory_offset) {
      bad("section.offset", sections_.all.size() - 1, kSectionLength,
          "it ends at byte " + to_string(end) + ", but the directory begins at byte " +
              to_string(footer_.directory_offset));
      return;
    }
    check_padding(end, footer_.directory_offset);
  }

  // At most 7 bytes.
  void check_padding(std::uint64_t begin, std::uint64_t end) {
    std::array<std::byte, kSectionAlignment> buffer;
    const auto bytes = std::span(buffer).first(end - begin);
    if (!bytes.empty()) {
      read_(begin, bytes);
    }
    if (!is_zero(bytes)) {
      sink_.at("page-data.padding", begin,
               "bytes " + to_string(begin) + " to " + to_string(end - 1) + " must be zero");
    }
  }

  void check_known() {
    std::optional<std::size_t> table, manifest, seal;
    for (std::size_t i = 0; i < sections_.all.size(); ++i) {
      std::optional<std::size_t>* known = nullptr;
      switch (sections_.all[i].kind) {
      case kSectionChunkTable:
        known = &table;
        break;
      case kSectionManifest:
        known = &manifest;
        break;
      case kSectionSeal:
        known = &seal;
        break;
      default:
        continue;
      }
      if (known->has_value()) {
        bad("section.duplicate", i, kSectionKind,
            "there is another one of kind " + to_string(sections_.all[i].kind));
        return;
      }
      *known = i;
    }
    if (!table || !manifest) {
      sink_.at("section.missing", footer_.directory_offset,
               table ? "there is no manifest" : "there is no chunk table");
      usable_ = false;
      return;
    }
    sections_.chunk_table = sections_.all[*table];
    sections_.manifest = sections_.all[*manifest];
    if (seal) {
      sections_.seal = sections_.all[*seal];
    }
    if (sections_.chunk_table.length / footer_.chunk_entry_size != footer_.chunk_count ||
        sections_.chunk_table.length % footer_.chunk_entry_size != 0) {
      bad("section.length", *table, kSectionLength,
          to_string(sections_.chunk_table.length) + " bytes are not " +
              to_string(footer_.chunk_count) + " entries of the chunk table");
    }
    const std::uint64_t length = sections_.manifest.length;
    if (length < 16 || length % 8 != 0 || length > kMaxManifestLength) {
      bad("section.length", *manifest, kSectionLength,
          "a manifest of " + to_string(length) + " bytes is no message");
    }
  }

  const ReadBytes& read_;
  const Header& header_;
  const Footer& footer_;
  Sink& sink_;
  Sections sections_;
  bool usable_ = true;
};

} // namespace

std::optional<Sections> check_directory(const ReadBytes& read, const Header& header,
                                        const Footer& footer, Sink& sink) {
  return DirectoryCheck(read, header, footer, sink).run();
}

} // namespace rrpcp::framing
