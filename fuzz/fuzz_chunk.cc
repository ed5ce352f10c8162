// Any bytes as a compressed chunk: decoding makes exactly the pages asked for or fails.

#include <cstring>
#include <vector>

#include "container/chunk_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static rrpcp::ChunkDecoder decoder; // as a reader keeps it between chunks
  std::vector<std::byte> stored(size);
  if (size != 0) {
    std::memcpy(stored.data(), data, size);
  }
  for (std::size_t length : {std::size_t{4096}, std::size_t{65536}, std::size_t{262144}}) {
    std::vector<std::byte> out(length);
    decoder.decode(stored, out);
  }
  return 0;
}
