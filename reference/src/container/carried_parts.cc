#include "container/carried_parts.h"

#include "base/bytes.h"
#include "base/hash.h"

namespace rrpcp {

using namespace format;

namespace {

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> bytes_at(const CheckpointReader& source, std::uint64_t offset,
                                std::size_t length) {
  std::vector<std::byte> bytes(length);
  source.read_bytes(offset, bytes);
  return bytes;
}

} // namespace

std::uint64_t carried_bits(const Header& header) {
  const std::uint64_t unknown = header.compatible & ~kKnownCompatible;
  // Nobody can tell which reserved byte belongs to which bit, so one bit that is not safe to copy
  // takes all with it.
  return (unknown & ~kSafeToCopyCompatible) != 0 ? 0 : unknown;
}

CarriedParts carried_parts(const CheckpointReader& source) {
  CarriedParts parts;
  parts.source = &source;
  const Header& header = source.header();
  const Footer& footer = source.footer();
  const bool unsafe_bits =
      (header.compatible & ~kKnownCompatible) != 0 && carried_bits(header) == 0;
  if (header.fully_known() || unsafe_bits) {
    return parts;
  }
  parts.header_reserved = bytes_at(source, kHeaderReserved, kHeaderChecksum - kHeaderReserved);
  parts.chunk_entry_size = footer.chunk_entry_size;
  const Section& table = *source.find_section(kSectionChunkTable);
  std::vector<std::byte> entries;
  source.read_section(table, [&](std::span<const std::byte> piece) {
    entries.insert(entries.end(), piece.begin(), piece.end());
  });
  for (std::size_t at = 0; at < entries.size(); at += footer.chunk_entry_size) {
    parts.chunk_entry_rests.insert(
        parts.chunk_entry_rests.end(),
        entries.begin() + static_cast<std::ptrdiff_t>(at + kChunkReserved),
        entries.begin() + static_cast<std::ptrdiff_t>(at + footer.chunk_entry_size));
  }
  parts.section_entry_size = footer.section_entry_size;
  parts.section_rests = true;
  const std::vector<std::byte> foot =
      bytes_at(source, footer.file_length - footer.length, footer.length);
  const std::span<const std::byte> in(foot);
  parts.footer_reserved =
      copy_of(in.subspan(kFooterReserved0, kFooterHeaderChecksum - kFooterReserved0));
  const auto rest_of_fields =
      in.subspan(kFooterReserved, kFooterSize - kFooterEndSize - kFooterReserved);
  parts.footer_reserved.insert(parts.footer_reserved.end(), rest_of_fields.begin(),
                               rest_of_fields.end());
  parts.footer_rest =
      copy_of(in.subspan(kFooterSize - kFooterEndSize, footer.length - kFooterSize));
  return parts;
}

void SectionWriter::begin(std::uint32_t kind, std::uint32_t flags) {
  output_.pad_to(kSectionAlignment);
  Section section;
  section.kind = kind;
  section.flags = flags;
  section.offset = output_.offset();
  sections_.push_back(section);
}

std::span<const std::byte> SectionWriter::source_entry_at(std::size_t index) const {
  const std::size_t size = carried_->source->footer().section_entry_size;
  return carried_->source->section_directory().subspan(index * size, size);
}

std::span<const std::byte> SectionWriter::source_entry(std::uint32_t kind) const {
  if (carried_ != nullptr && carried_->section_rests) {
    const std::vector<Section>& all = carried_->source->sections();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].kind == kind) {
        return source_entry_at(i);
      }
    }
  }
  return {};
}

void SectionWriter::add(std::uint32_t kind, std::span<const std::byte> bytes) {
  begin(kind, framing::flags_of_kind(kind).value());
  output_.write(bytes);
  sections_.back().length = bytes.size();
  sections_.back().digest = framing::digest_of(bytes);
  source_entries_.push_back(source_entry(kind));
}

void SectionWriter::add_carried(bool new_seal) {
  if (carried_ == nullptr) {
    return;
  }
  const std::vector<Section>& all = carried_->source->sections();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Section& section = all[i];
    if (!section.safe_to_copy() || (section.kind == kSectionSeal && new_seal)) {
      continue;
    }
    begin(section.kind, section.flags);
    carried_->source->read_section(section,
                                   [&](std::span<const std::byte> piece) { output_.write(piece); });
    sections_.back().length = section.length;
    sections_.back().digest = section.digest;
    source_entries_.push_back(carried_->section_rests ? source_entry_at(i)
                                                      : std::span<const std::byte>());
  }
}

void SectionWriter::finish(Footer& footer, std::uint64_t header_checksum) {
  output_.pad_to(kSectionAlignment);
  footer.section_count = static_cast<std::uint32_t>(sections_.size());
  footer.section_entry_size =
      carried_ != nullptr ? carried_->section_entry_size : kSectionEntrySize;
  footer.directory_offset = output_.offset();
  std::vector<std::byte> directory;
  for (std::size_t i = 0; i < sections_.size(); ++i) {
    const std::span<const std::byte> kept = source_entries_[i];
    const std::vector<std::byte> entry =
        kept.empty() ? framing::encode_section(sections_[i], footer.section_entry_size)
                     : framing::encode_section(
                           sections_[i], footer.section_entry_size,
                           kept.subspan(kSectionReserved, kSectionDigest - kSectionReserved),
                           kept.subspan(kSectionEntrySize));
    directory.insert(directory.end(), entry.begin(), entry.end());
  }
  footer.directory_digest = framing::digest_of(directory);
  output_.write(directory);
  footer.length = kFooterSize;
  std::span<const std::byte> reserved, rest;
  if (carried_ != nullptr) {
    footer.length += static_cast<std::uint32_t>(carried_->footer_rest.size());
    reserved = carried_->footer_reserved;
    rest = carried_->footer_rest;
  }
  footer.file_length = output_.offset() + footer.length;
  output_.write(framing::encode_footer(footer, header_checksum, reserved, rest));
}

} // namespace rrpcp
