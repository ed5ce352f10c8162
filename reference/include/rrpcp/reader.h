// Reading a checkpoint in place.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/format.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// What a reader is willing to spend on one file.
struct ReadLimits {
  // Bytes of the manifest; larger ones are refused with kLimit.
  std::uint64_t max_manifest_bytes = std::uint64_t{4} << 30;
  // Bytes of one decoded chunk.
  std::uint32_t max_chunk_bytes = format::kMaxChunkLength;
  // Entries of the chunk table.
  std::uint64_t max_chunks = std::uint64_t{1} << 32;
  // Decoded bytes of all chunks together that a validation looks at. 0: 16 GiB and 256 times the
  // length of the file, which is more than a writer that stores equal pages once comes to.
  std::uint64_t max_decoded_bytes = 0;
};

// Room for a digest; what the algorithm does not need is zero.
using DigestBytes = std::array<std::uint8_t, format::kDigestSize>;

// The decoded header (spec/format.md, "Header").
struct Header {
  std::uint16_t major = 0;
  std::uint16_t minor = 0;
  std::uint64_t incompatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t compatible = 0;
  TraceUuid trace_uuid;
  std::int64_t event = 0;
  std::int64_t ticks = 0;
  std::int64_t mark_event = 0;
  std::int64_t mark_ticks = 0;
  std::uint32_t order = 0;
  std::uint64_t instructions = 0;
  std::int32_t current_task = 0;
  std::uint16_t position_kind = 0;
  std::uint16_t machine = 0;
  std::uint8_t elf_class = 0;
  std::uint8_t data_encoding = 0;
  std::uint16_t digest_algorithm = 0;
  std::uint32_t page_size = 0;
  std::uint32_t chunk_pages = 0;
  std::uint64_t checksum = 0;

  // Whether this release knows everything that the file may have: no newer minor version, no
  // unknown feature bit. Only then is something undefined an error.
  bool fully_known() const;
  // Whether bytes that are reserved today may hold something: a newer release uses them behind a
  // feature bit only (spec/compatibility.md).
  bool may_use_reserved() const;
};

// The decoded footer (spec/format.md, "Footer").
struct Footer {
  std::uint64_t directory_offset = 0;
  std::uint32_t section_count = 0;
  std::uint32_t section_entry_size = 0;
  DigestBytes directory_digest{};
  CheckpointId id;
  std::uint64_t page_count = 0;
  std::uint64_t chunk_count = 0;
  std::uint32_t chunk_entry_size = 0;
  std::uint64_t file_length = 0;
  // Bytes of the footer itself.
  std::uint32_t length = 0;
};

// One entry of the section directory.
struct Section {
  std::uint32_t kind = 0;
  std::uint32_t flags = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  DigestBytes digest{};

  bool must_understand() const { return (flags & format::kSectionMustUnderstand) != 0; }
  bool safe_to_copy() const { return (flags & format::kSectionSafeToCopy) != 0; }
};

// One entry of the chunk table.
struct ChunkEntry {
  std::uint64_t offset = 0;
  std::uint32_t stored_length = 0;
  std::uint32_t length = 0;
  std::uint64_t checksum = 0;
  std::uint64_t stored_checksum = 0;
  std::uint16_t codec = 0;
};

// An open checkpoint file. Opening checks header, footer and the manifest's digest and reads no
// page data. Immutable after construction: every method is const and may be called from several
// threads at once. The file is kept mapped; what manifest() returns lives as long as the reader.
class CheckpointReader {
public:
  // Throws Error: kNotFound, kPermission, kNotACheckpoint, kIncomplete, kDamaged,
  // kUnsupportedFeature, kLimit.
  static CheckpointReader open(const std::string& path, const ReadLimits& limits = {});
  // The same for an open descriptor, which is taken over; `name` is what errors call it.
  static CheckpointReader open_fd(int fd, std::string name, const ReadLimits& limits = {});
  // The same for bytes in memory, which must outlive the reader and be 8-byte aligned.
  static CheckpointReader open_bytes(std::span<const std::byte> bytes, std::string name,
                                     const ReadLimits& limits = {});

  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;
  ~CheckpointReader();

  const std::string& name() const;
  // The open descriptor, or -1 for bytes in memory. Owned by the reader.
  int fd() const;
  std::uint64_t file_size() const;
  const Header& header() const;
  const Footer& footer() const;
  CheckpointId id() const { return footer().id; }
  // In the order of their places in the file.
  const std::vector<Section>& sections() const;
  // The section of a kind; null where there is none.
  const Section* find_section(std::uint32_t kind) const;
  // Calls `sink` with consecutive pieces of a section's bytes, each valid only during the call, and
  // then compares the section's digest: throws Error(kDamaged) where it is another one.
  void read_section(const Section& section,
                    const std::function<void(std::span<const std::byte>)>& sink) const;

  // Throws Error(kDamaged) where the message cannot be read.
  schema::Manifest::Reader manifest() const;
  schema::State::Reader state() const;

  // Checkpoints to whose page streams runs of this one refer (State.bases); mostly 0.
  std::size_t base_count() const;
  // One of them. It is looked for beside this file (the directory in which the open file lies) and
  // verified when it is first asked for: trace, geometry, and its id, computed anew. Lives as long
  // as the reader. Throws Error: kNotFound [base.missing], kDamaged and others [base.unusable],
  // kDamaged [base.ambiguous], [run.base] where there is no such base.
  const CheckpointReader& base(std::size_t index) const;
  // The same for all of them, for whoever wants to know before anything is done.
  void open_bases() const;
  // The checkpoint whose page stream a run of kind STREAM or BASE refers to.
  const CheckpointReader& source(schema::PageRun::Reader run) const;

  // SHA-256 of the seal, which stands for the whole content (spec/format.md, "Seal"); nothing where
  // the file has none. Says what the file says: only validate_file() compares the content.
  std::optional<std::array<std::uint8_t, 32>> seal_digest() const;
  // The section directory as it lies in the file, entries of footer().section_entry_size bytes.
  std::span<const std::byte> section_directory() const;
  // Bytes of the file as they are, for what has no structure. Throws Error, kInvalidArgument beyond
  // the end.
  void read_bytes(std::uint64_t offset, std::span<std::byte> out) const;

  std::uint64_t chunk_count() const;
  // Entry `index`, checked against the file's and the format's limits. The first call verifies the
  // table's digest. Throws Error(kDamaged), kInvalidArgument beyond the end.
  ChunkEntry chunk(std::uint64_t index) const;
  // Decodes chunk `index` into `out`, which has chunk(index).length bytes, and verifies both
  // checksums.
  void read_chunk(std::uint64_t index, std::span<std::byte> out) const;
  // Calls `sink` with consecutive pieces of the stream's pages [first, first + count), each
  // verified before it is shown and valid only during the call.
  void read_stream(std::uint64_t first, std::uint64_t count,
                   const std::function<void(std::span<const std::byte>)>& sink) const;

private:
  struct Impl;
  explicit CheckpointReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
