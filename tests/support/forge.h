// Taking a checkpoint apart, changing anything, and sealing it again with right checksums: for
// files that break exactly one rule.
#pragma once

#include "rrpcp/reader.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <kj/array.h>
#include <span>
#include <vector>

namespace rrpcp::test {

class Forge {
public:
  // `bytes` must be a valid checkpoint.
  explicit Forge(std::span<const std::byte> bytes);

  struct Chunk {
    ChunkEntry entry;
    std::vector<std::byte> stored;
    std::vector<std::byte> padding; // before it, replacing the zeros where not empty
  };
  std::vector<Chunk> chunks;
  std::vector<std::byte> header;   // checksum made new by assemble()
  std::vector<std::byte> manifest; // framed

  // Sections behind the manifest. Those of a sealed file are here; assemble() makes the digests.
  struct Extra {
    std::uint32_t kind;
    std::uint32_t flags;
    std::vector<std::byte> bytes;
  };
  std::vector<Extra> sections;
  // Bytes behind the known fields of every entry of the chunk table, of the directory, and of the
  // footer, as a later version may have them.
  std::vector<std::byte> longer_chunk_entries;
  std::vector<std::byte> longer_section_entries;
  std::vector<std::byte> longer_footer;

  // Changes the manifest and makes the header agree with it.
  void change(const std::function<void(schema::Manifest::Builder)>& edit);
  // Replaces the decoded bytes of the stream's pages from `first` on; the chunks become raw.
  void change_pages(const std::function<void(std::span<std::byte> stream)>& edit);

  // Called while the file is put together, just before the checksum over the bytes is computed.
  std::function<void(std::span<std::byte>)> edit_header;
  std::function<void(std::span<std::byte>)> edit_table;
  std::function<void(std::span<std::byte>)> edit_manifest;
  std::function<void(std::span<std::byte>)> edit_footer;
  std::function<void(std::span<std::byte>)> edit_directory;
  // Keep offsets of the entries as they are instead of computing them.
  bool keep_offsets = false;

  // The file, with every checksum right for its bytes.
  std::vector<std::byte> assemble() const;

private:
  void sync_header(schema::State::Reader state);
};

} // namespace rrpcp::test
