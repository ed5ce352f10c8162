// Any words as the manifest of an otherwise perfect file: reading and judging it ends well.

#include <cstring>
#include <vector>

#include "checksums.h"
#include "rrpcp/error.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> words(size & ~std::size_t{7});
  if (!words.empty()) {
    std::memcpy(words.data(), data, words.size());
  }
  std::vector<std::byte> page(4096, std::byte{0x5a});
  std::vector<std::byte> file =
      rrpcp::fuzz::file_around(words, page, rrpcp::format::kCodecRaw, 4096);
  rrpcp::validate_bytes(file, "input", {.threads = 1});
  try {
    rrpcp::CheckpointReader reader = rrpcp::CheckpointReader::open_bytes(file, "input");
    rrpcp::MemoryView view(reader, 0);
    std::vector<std::byte> out(8192);
    view.read(0x10000, out);
  } catch (const rrpcp::Error&) {
  }
  return 0;
}
