// The validator as a whole, on any bytes, with their checksums wrong and right.

#include "checksums.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"

#include <cstring>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes(size);
  if (size != 0) {
    std::memcpy(bytes.data(), data, size);
  }
  for (int pass = 0; pass < 2; ++pass) {
    rrpcp::ValidationReport report;
    try {
      rrpcp::ValidateOptions options;
      options.threads = 1;
      options.limits.max_decoded_bytes = 64 << 20;
      report = rrpcp::validate_bytes(bytes, "input", options);
    } catch (const rrpcp::Error& error) {
      if (error.code() != rrpcp::ErrorCode::kLimit) {
        throw;
      }
      break;
    }
    bool opens = true;
    try {
      rrpcp::CheckpointReader::open_bytes(bytes, "input");
    } catch (const rrpcp::Error&) {
      opens = false;
    }
    // What is valid can be opened.
    if (report.valid() && !opens) {
      __builtin_trap();
    }
    rrpcp::fuzz::repair_checksums(bytes);
  }
  return 0;
}
