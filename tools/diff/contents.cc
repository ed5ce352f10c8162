#include "diff/contents.h"

#include "common/json.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <xxhash.h>

namespace rrpcp::tools {
namespace {

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

} // namespace

bool all_zero(std::span<const std::byte> bytes) {
  // A first zero byte, and every byte equal to the one before it.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

ContentDigest digest_contents(StreamPages& stream, const std::vector<Segment>& segments,
                              std::uint64_t page_size) {
  const std::unique_ptr<XXH3_state_t, FreeHash> hash(XXH3_createState());
  if (hash == nullptr) {
    throw std::bad_alloc();
  }
  XXH3_128bits_reset(hash.get());
  ContentDigest result;
  for (const Segment& segment : segments) {
    for (std::uint64_t done = 0; segment.source == Source::kStream && done < segment.pages;) {
      std::span<const std::byte> bytes =
          stream.pages(segment.base, segment.first + done, segment.pages - done);
      for (; !bytes.empty(); bytes = bytes.subspan(page_size), ++done) {
        const auto page = bytes.first(page_size);
        if (all_zero(page)) {
          continue;
        }
        std::array<std::uint8_t, 8> number;
        for (std::size_t i = 0; i < number.size(); ++i) {
          number[i] = static_cast<std::uint8_t>((segment.page + done) >> (8 * i));
        }
        XXH3_128bits_update(hash.get(), number.data(), number.size());
        XXH3_128bits_update(hash.get(), page.data(), page.size());
        ++result.pages;
      }
    }
  }
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash.get()));
  result.digest = hex(std::span<const std::uint8_t>(canonical.digest));
  return result;
}

} // namespace rrpcp::tools
