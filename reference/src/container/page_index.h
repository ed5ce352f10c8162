// Finding pages that were stored before, in bounded memory.
#pragma once

#include "base/hash.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace rrpcp {

// Remembers stored pages by their XXH3-128: all of them while they are few, about a million of the
// last ones when they are many. What it forgets depends only on the order of the pages, so equal
// input gives equal output.
class PageIndex {
public:
  PageIndex();

  // Tells the processor that this digest is about to be looked up.
  void prefetch(const Digest128& digest) const;
  // Stream index of a stored page with this digest.
  std::optional<std::uint64_t> find(const Digest128& digest) const;
  // Remembers that page `index` has this digest. Where its bucket is full, the index grows, or
  // forgets the oldest of the bucket once it has its full size.
  void insert(const Digest128& digest, std::uint64_t index);

private:
  static constexpr std::size_t kWays = 4;

  struct Entry {
    Digest128 digest;
    std::uint64_t index_plus_one; // 0: empty
  };

  // Entries from the kernel: fresh pages, all zero.
  class Table {
  public:
    explicit Table(std::size_t buckets);
    Table(Table&& other) noexcept;
    Table& operator=(Table&& other) noexcept;
    ~Table();

    std::size_t buckets() const { return buckets_; }
    Entry* bucket(const Digest128& digest) const {
      return entries_ + (digest.low & (buckets_ - 1)) * kWays;
    }
    Entry* begin() const { return entries_; }
    Entry* end() const { return entries_ + buckets_ * kWays; }

  private:
    Entry* entries_;
    std::size_t buckets_; // a power of two
  };

  void grow();

  Table table_;
};

} // namespace rrpcp
