#include "support/equal_hashes.h"

#include <cstdint>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace rrpcp::test {

namespace {

// The lane of 8 bytes at `stripe` of the first block of 1024 bytes with the given high half and a
// low half that cancels the secret: stripe n uses the secret from byte 8 n on.
void set_lane(std::vector<std::byte>& page, std::size_t stripe, std::uint32_t high) {
  std::uint32_t low = 0;
  std::memcpy(&low, XXH3_kSecret + 8 * stripe, sizeof low);
  std::memcpy(&page[64 * stripe], &low, sizeof low);
  std::memcpy(&page[64 * stripe + 4], &high, sizeof high);
}

} // namespace

std::array<std::vector<std::byte>, 2> pages_of_equal_hash(unsigned variant) {
  std::vector<std::byte> first(4096);
  for (std::size_t i = 0; i < first.size(); ++i) {
    first[i] = static_cast<std::byte>(i * 5 + variant);
  }
  std::vector<std::byte> second = first;
  set_lane(first, 2, 1000);
  set_lane(first, 7, 5000);
  set_lane(second, 2, 1000 + 17);
  set_lane(second, 7, 5000 - 17);
  return {first, second};
}

} // namespace rrpcp::test
