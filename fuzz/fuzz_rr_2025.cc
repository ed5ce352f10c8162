// Any bytes as the metadata of an rr-2025 checkpoint, beside page files of one and two pages that
// its mappings may name.

#include "legacy_trace_directory.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const rrpcp::fuzz::TraceDirectory trace;
  static const bool kPageFiles = [] {
    trace.write("checkpoint-7/1-a", std::string(4096, 'a'));
    trace.write("checkpoint-7/1-b", std::string(8192, '\0'));
    return true;
  }();
  static_cast<void>(kPageFiles);
  trace.write("checkpoint-7/metadata", std::span(data, size));
  rrpcp::fuzz::import_all(trace.path());
  return 0;
}
