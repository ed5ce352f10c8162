// Any bytes as a file: opening, listing, reading every chunk and some memory ends well or with
// Error.

#include <cstring>
#include <vector>

#include "checksums.h"
#include "rrpcp/error.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"

namespace {

void read_all(std::span<const std::byte> bytes) {
  using namespace rrpcp;
  ReadLimits limits;
  limits.max_chunk_bytes = 1 << 20;
  try {
    CheckpointReader reader = CheckpointReader::open_bytes(bytes, "input", limits);
    std::vector<std::byte> chunk;
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(reader.chunk_count(), 64); ++i) {
      try {
        chunk.resize(reader.chunk(i).length);
        reader.read_chunk(i, chunk);
      } catch (const Error&) {
      }
    }
    BackingFiles files;
    files.trace_directory = "/nonexistent";
    for (std::size_t space = 0; space < 4; ++space) {
      MemoryView view(reader, space, files);
      std::vector<std::byte> out(8192);
      for (std::uint64_t address :
           {std::uint64_t{0x10000}, std::uint64_t{0x400000}, ~std::uint64_t{4095}}) {
        try {
          view.read(address, out);
        } catch (const Error&) {
        }
      }
    }
  } catch (const Error&) {
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) {
    std::memcpy(bytes.data(), data, size);
  }
  read_all(bytes);
  rrpcp::fuzz::repair_checksums(bytes);
  read_all(bytes);
  return 0;
}
