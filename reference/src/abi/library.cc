#include "base/hash.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "rrpcp/rrpcp.h"

#include <cstdlib>
#include <string>

using namespace rrpcp;

const char* rrpcp_version(void) {
  return RRPCP_VERSION;
}

const char* rrpcp_format_version(void) {
  static const std::string text =
      std::to_string(format::kMajorVersion) + "." + std::to_string(format::kMinorVersion);
  return text.c_str();
}

void rrpcp_free(void* memory) {
  std::free(memory);
}

const char* rrpcp_status_name(rrpcp_status status) {
  if (status == RRPCP_OK) {
    return "ok";
  }
  if (status == RRPCP_NO_MEMORY) {
    return "no-memory";
  }
  return error_code_name(static_cast<ErrorCode>(status)).data(); // literals
}

void rrpcp_digest(const void* bytes, size_t size, uint64_t* high, uint64_t* low) {
  const Digest128 digest = xxh3_128({static_cast<const std::byte*>(bytes), size});
  *high = digest.high;
  *low = digest.low;
}
