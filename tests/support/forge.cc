#include "support/forge.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/manifest_bytes.h"
#include "framing/chunk_table.h"
#include "framing/header.h"
#include "framing/sections.h"
#include "rrpcp/format.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstring>

namespace rrpcp::test {

using namespace format;

namespace {

capnp::ReaderOptions unlimited() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = UINT64_MAX;
  return options;
}

kj::Array<capnp::word> words_of(std::span<const std::byte> bytes) {
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), bytes.data(), bytes.size());
  return words;
}

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

} // namespace

Forge::Forge(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> aligned((bytes.size() + 7) / 8);
  std::memcpy(aligned.data(), bytes.data(), bytes.size());
  auto copy = std::as_bytes(std::span(aligned)).first(bytes.size());
  CheckpointReader reader = CheckpointReader::open_bytes(copy, "forge");
  header.assign(copy.begin(), copy.begin() + kHeaderSize);
  for (const Section& section : reader.sections()) {
    const auto at = copy.subspan(section.offset, section.length);
    if (section.kind == kSectionManifest) {
      manifest.assign(at.begin(), at.end());
    } else if (section.kind != kSectionChunkTable) {
      sections.push_back({section.kind, section.flags, {at.begin(), at.end()}});
    }
  }
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    Chunk chunk;
    chunk.entry = reader.chunk(i);
    auto stored = copy.subspan(chunk.entry.offset, chunk.entry.stored_length);
    chunk.stored.assign(stored.begin(), stored.end());
    chunks.push_back(std::move(chunk));
  }
}

void Forge::change(const std::function<void(schema::Manifest::Builder)>& edit) {
  kj::Array<capnp::word> words = words_of(manifest);
  capnp::FlatArrayMessageReader reader(words.asPtr(), unlimited());
  capnp::MallocMessageBuilder message;
  message.setRoot(reader.getRoot<schema::Manifest>());
  auto root = message.getRoot<schema::Manifest>();
  edit(root);
  sync_header(root.getState().asReader());
  const kj::Array<capnp::word> changed = manifest_message(root.asReader());
  auto bytes = std::as_bytes(std::span(changed.begin(), changed.size()));
  manifest.assign(bytes.begin(), bytes.end());
}

void Forge::sync_header(schema::State::Reader state) {
  std::span<std::byte> out(header);
  store_le<std::uint16_t>(out, kHeaderMachine, state.getMachine());
  store_le<std::uint8_t>(out, kHeaderElfClass, state.getElfClass());
  store_le<std::uint8_t>(out, kHeaderDataEncoding, state.getDataEncoding());
  std::int64_t event = 0, ticks = 0, mark = 0, mark_ticks = 0;
  std::uint32_t order = 0;
  std::uint64_t instructions = 0;
  std::int32_t task = 0;
  std::uint16_t kind = kPositionNone;
  if (state.hasPosition()) {
    auto position = state.getPosition();
    event = mark = position.getClone().getEvent();
    ticks = mark_ticks = position.getClone().getTicks();
    task = position.getClone().getTask();
    kind = kPositionAtEvent;
    if (position.isForwardTo()) {
      kind = kPositionForwardTo;
      mark = position.getForwardTo().getEvent();
      mark_ticks = position.getForwardTo().getTicks();
    } else if (position.isBetween()) {
      kind = kPositionBetween;
      order = position.getBetween().getOrder();
      instructions = position.getBetween().getInstructions();
    }
  }
  store_le(out, kHeaderEvent, event);
  store_le(out, kHeaderTicks, ticks);
  store_le(out, kHeaderMarkEvent, mark);
  store_le(out, kHeaderMarkTicks, mark_ticks);
  store_le(out, kHeaderOrder, order);
  store_le(out, kHeaderInstructions, instructions);
  store_le(out, kHeaderCurrentTask, task);
  store_le(out, kHeaderPositionKind, kind);
  std::fill_n(out.begin() + kHeaderTraceUuid, 16, std::byte{0});
  if (state.hasTrace() && state.getTrace().getUuid().size() == 16) {
    std::memcpy(&out[kHeaderTraceUuid], state.getTrace().getUuid().begin(), 16);
  }
}

void Forge::change_pages(const std::function<void(std::span<std::byte>)>& edit) {
  std::vector<std::byte> stream;
  for (Chunk& chunk : chunks) {
    if (chunk.entry.codec != kCodecRaw) {
      throw std::logic_error("change_pages works on raw chunks");
    }
    append(stream, chunk.stored);
  }
  edit(stream);
  std::size_t at = 0;
  for (Chunk& chunk : chunks) {
    std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(at), chunk.stored.size(),
                chunk.stored.begin());
    at += chunk.stored.size();
    chunk.entry.checksum = chunk.entry.stored_checksum = xxh3_64(chunk.stored);
  }
}

std::vector<std::byte> Forge::assemble() const {
  std::vector<std::byte> out = header;
  if (edit_header) {
    edit_header(out);
  }
  store_le<std::uint64_t>(std::span(out), kHeaderChecksum,
                          xxh3_64(std::span(out).first(kHeaderChecksum)));
  const auto header_checksum = load_le<std::uint64_t>(out, kHeaderChecksum);
  const auto page_size = load_le<std::uint32_t>(header, kHeaderPageSize);
  Footer footer;
  std::vector<ChunkEntry> entries;
  std::uint64_t stream_bytes = 0;
  for (const Chunk& chunk : chunks) {
    ChunkEntry entry = chunk.entry;
    const std::uint64_t start = framing::chunk_start(out.size(), entry.codec, page_size);
    if (!chunk.padding.empty()) {
      append(out, chunk.padding);
    }
    out.resize(std::max<std::size_t>(out.size(), start));
    if (!keep_offsets) {
      entry.offset = out.size();
    }
    append(out, chunk.stored);
    entries.push_back(entry);
    stream_bytes += entry.length;
  }
  const auto padded = [&] { out.resize(align_up(out.size(), kSectionAlignment)); };
  const auto chunk_entry_size =
      static_cast<std::uint32_t>(kChunkEntrySize + longer_chunk_entries.size());
  std::vector<std::byte> rests;
  for (std::size_t i = 0; i < entries.size() && !longer_chunk_entries.empty(); ++i) {
    rests.resize(rests.size() + kChunkEntrySize - kChunkReserved);
    append(rests, longer_chunk_entries);
  }
  std::vector<std::byte> table = framing::encode_chunk_table(entries, chunk_entry_size, rests);
  if (edit_table) {
    edit_table(table);
  }
  std::vector<std::byte> message = manifest;
  if (edit_manifest) {
    edit_manifest(message);
  }
  std::vector<Extra> all = {{kSectionChunkTable, kSectionMustUnderstand, table},
                            {kSectionManifest, kSectionMustUnderstand, message}};
  all.insert(all.end(), sections.begin(), sections.end());
  const auto section_entry_size =
      static_cast<std::uint32_t>(kSectionEntrySize + longer_section_entries.size());
  std::vector<std::byte> directory;
  for (const Extra& extra : all) {
    padded();
    append(directory, framing::encode_section({.kind = extra.kind,
                                               .flags = extra.flags,
                                               .offset = out.size(),
                                               .length = extra.bytes.size(),
                                               .digest = framing::digest_of(extra.bytes)},
                                              section_entry_size, {}, longer_section_entries));
    append(out, extra.bytes);
  }
  padded();
  if (edit_directory) {
    edit_directory(directory);
  }
  footer.directory_offset = out.size();
  footer.section_count = static_cast<std::uint32_t>(all.size());
  footer.section_entry_size = section_entry_size;
  footer.directory_digest = framing::digest_of(directory);
  append(out, directory);
  footer.chunk_count = entries.size();
  footer.chunk_entry_size = chunk_entry_size;
  footer.page_count = stream_bytes / page_size;
  footer.length = static_cast<std::uint32_t>(kFooterSize + longer_footer.size());
  footer.file_length = out.size() + footer.length;
  // An id of a manifest that cannot be read does not exist.
  if (!check_layout(message)) {
    kj::Array<capnp::word> words = words_of(message);
    capnp::FlatArrayMessageReader reader(words.asPtr(), unlimited());
    // From the table as it is in the file.
    std::vector<ChunkEntry> stored;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      stored.push_back(framing::decode_chunk_entry(table, chunk_entry_size, i));
    }
    footer.id = checkpoint_id(reader.getRoot<schema::Manifest>().getState(), stored);
  }
  std::vector<std::byte> foot = framing::encode_footer(footer, header_checksum, {}, longer_footer);
  if (edit_footer) {
    edit_footer(foot);
    const std::size_t end = foot.size() - kFooterEndSize;
    store_le<std::uint64_t>(std::span<std::byte>(foot), end + kFooterEndChecksum,
                            xxh3_64(std::span(foot).first(end + kFooterEndChecksum)));
  }
  append(out, foot);
  return out;
}

} // namespace rrpcp::test
