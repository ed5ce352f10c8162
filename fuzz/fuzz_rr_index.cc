// Any bytes as an index file of rr-2022 or rr-2024 and as the file of its checkpoint 7: the first
// two bytes say how long the index is. Page files of one and two pages are there.

#include "legacy_trace_directory.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const rrpcp::fuzz::TraceDirectory trace;
  static const bool kPageFiles = [] {
    trace.write("checkpoint-77/1-a", std::string(4096, 'a'));
    trace.write("checkpoint-77/1-b", std::string(8192, '\0'));
    return true;
  }();
  static_cast<void>(kPageFiles);
  if (size < 2) {
    return 0;
  }
  const std::size_t length =
      std::min<std::size_t>(data[0] | static_cast<std::size_t>(data[1]) << 8, size - 2);
  trace.write("checkpoints", std::span(data + 2, length));
  trace.write("checkpoint-7", std::span(data + 2 + length, size - 2 - length));
  rrpcp::fuzz::import_all(trace.path());
  return 0;
}
