// Telling pages apart by digests that nobody can foresee.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rrpcp {

struct PageDigest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  bool operator==(const PageDigest&) const = default;
};

// Two XXH3-64 by two secrets, drawn anew for each object. XXH3 with a known secret is no identity:
// different pages with equal digests can be written down without any search. With a secret that is
// drawn after the pages were made, the best that their maker can do is a chance of 2^-32 for each
// pair of pages, because some products are of 32 bits; with two independent ones it is 2^-64.
// Digests of two objects have nothing to do with each other and are never stored.
class PageHash {
public:
  // Throws Error(kSystem) where the kernel has no random bytes.
  PageHash();

  PageDigest operator()(std::span<const std::byte> page) const;

private:
  // XXH3 wants 136 bytes at least and uses 192.
  using Secret = std::array<std::byte, 192>;

  std::array<Secret, 2> secrets_;
};

} // namespace rrpcp
