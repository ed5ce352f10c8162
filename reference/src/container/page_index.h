// Finding pages that were stored before, in bounded memory.
#pragma once

#include "base/hash.h"

#include <cstdint>
#include <memory>
#include <optional>

namespace rrpcp {

// Remembers about a million stored pages by their XXH3-128. What it forgets depends only on the
// order of the pages, so equal input gives equal output.
class PageIndex {
public:
  PageIndex();

  // Tells the processor that this digest is about to be looked up.
  void prefetch(const Digest128& digest) const;
  // Stream index of a stored page with this digest.
  std::optional<std::uint64_t> find(const Digest128& digest) const;
  // Remembers that page `index` has this digest; forgets the oldest of its bucket if it is full.
  void insert(const Digest128& digest, std::uint64_t index);

private:
  static constexpr std::size_t kBuckets = 1u << 18;
  static constexpr std::size_t kWays = 4;

  struct Entry {
    Digest128 digest;
    std::uint64_t index_plus_one; // 0: empty
  };
  struct Free {
    void operator()(Entry* entries) const;
  };

  Entry* bucket(const Digest128& digest) const;

  std::unique_ptr<Entry[], Free> entries_;
};

} // namespace rrpcp
