#include "container/page_index.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace rrpcp {

// calloc: fresh zero pages from the kernel, so that a small checkpoint touches only little of it.
PageIndex::PageIndex()
    : entries_(static_cast<Entry*>(std::calloc(kBuckets * kWays, sizeof(Entry)))) {
  if (entries_ == nullptr) {
    throw std::bad_alloc();
  }
}

void PageIndex::Free::operator()(Entry* entries) const {
  std::free(entries);
}

PageIndex::Entry* PageIndex::bucket(const Digest128& digest) const {
  return &entries_[(digest.low % kBuckets) * kWays];
}

void PageIndex::prefetch(const Digest128& digest) const {
  const Entry* entries = bucket(digest);
  __builtin_prefetch(entries);
  __builtin_prefetch(entries + kWays - 1);
}

std::optional<std::uint64_t> PageIndex::find(const Digest128& digest) const {
  const Entry* entries = bucket(digest);
  for (std::size_t way = 0; way < kWays; ++way) {
    if (entries[way].index_plus_one != 0 && entries[way].digest == digest) {
      return entries[way].index_plus_one - 1;
    }
  }
  return std::nullopt;
}

void PageIndex::insert(const Digest128& digest, std::uint64_t index) {
  Entry* entries = bucket(digest);
  Entry* oldest = std::min_element(entries, entries + kWays, [](const Entry& a, const Entry& b) {
    return a.index_plus_one < b.index_plus_one;
  });
  *oldest = {digest, index + 1};
}

} // namespace rrpcp
