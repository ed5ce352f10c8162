// Any bytes as a bundle: a tar archive is taken with and without the compression around it.

#include "rrpcp/error.h"
#include "rrpcp/interop/bundle.h"

#include <cstddef>
#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rrpcp::BundleLimits limits;
  limits.max_bytes = 64 << 20;
  limits.max_manifest_bytes = 1 << 20;
  try {
    rrpcp::check_bundle(std::as_bytes(std::span(data, size)), "bundle", limits);
  } catch (const rrpcp::Error&) {
  }
  return 0;
}
