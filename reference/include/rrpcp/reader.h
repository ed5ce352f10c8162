// Reading a checkpoint in place.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/format.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace rrpcp {

// What a reader is willing to spend on one file.
struct ReadLimits {
  // Bytes of the manifest; larger ones are refused with kLimit.
  std::uint64_t max_manifest_bytes = std::uint64_t{4} << 30;
  // Bytes of one decoded chunk.
  std::uint32_t max_chunk_bytes = format::kMaxChunkLength;
  // Entries of the chunk table.
  std::uint64_t max_chunks = std::uint64_t{1} << 32;
};

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
  std::uint32_t order = 0;
  std::uint16_t position_kind = 0;
  std::uint16_t machine = 0;
  std::uint32_t page_size = 0;
  std::uint32_t chunk_pages = 0;
  std::uint64_t checksum = 0;
};

// The decoded footer (spec/format.md, "Footer").
struct Footer {
  std::uint64_t manifest_offset = 0;
  std::uint64_t manifest_length = 0;
  std::uint64_t table_offset = 0;
  std::uint64_t chunk_count = 0;
  std::uint32_t chunk_entry_size = 0;
  std::array<std::uint8_t, 16> manifest_digest{};
  std::array<std::uint8_t, 16> table_digest{};
  CheckpointId id;
  std::uint64_t page_count = 0;
  std::uint64_t file_length = 0;
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

  // Throws Error(kDamaged) where the message cannot be read.
  schema::Manifest::Reader manifest() const;
  schema::State::Reader state() const;

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
