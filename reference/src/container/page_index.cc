#include "container/page_index.h"

#include <algorithm>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace rrpcp {

namespace {

// A checkpoint of few pages shall not pay for a large index.
constexpr std::size_t kFirstBuckets = 1u << 8;
constexpr std::size_t kGrowth = 4;
constexpr std::size_t kMostBuckets = 1u << 18;

} // namespace

PageIndex::Table::Table(std::size_t buckets) : buckets_(buckets) {
  // All pages are wanted soon, and in no order: without MAP_POPULATE, the kernel would give each a
  // page of zeros when it is first looked at and another one when it is first written to.
  void* memory = ::mmap(nullptr, buckets * kWays * sizeof(Entry), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  entries_ = static_cast<Entry*>(memory);
}

PageIndex::Table::Table(Table&& other) noexcept
    : entries_(std::exchange(other.entries_, nullptr)), buckets_(std::exchange(other.buckets_, 0)) {
}

PageIndex::Table& PageIndex::Table::operator=(Table&& other) noexcept {
  std::swap(entries_, other.entries_);
  std::swap(buckets_, other.buckets_);
  return *this;
}

PageIndex::Table::~Table() {
  if (entries_ != nullptr) {
    ::munmap(entries_, buckets_ * kWays * sizeof(Entry));
  }
}

PageIndex::PageIndex() : table_(kFirstBuckets) {}

void PageIndex::prefetch(const Digest128& digest) const {
  const Entry* entries = table_.bucket(digest);
  __builtin_prefetch(entries);
  __builtin_prefetch(entries + kWays - 1);
}

std::optional<std::uint64_t> PageIndex::find(const Digest128& digest) const {
  const Entry* entries = table_.bucket(digest);
  for (std::size_t way = 0; way < kWays; ++way) {
    if (entries[way].index_plus_one != 0 && entries[way].digest == digest) {
      return entries[way].index_plus_one - 1;
    }
  }
  return std::nullopt;
}

void PageIndex::insert(const Digest128& digest, std::uint64_t index) {
  for (;;) {
    Entry* entries = table_.bucket(digest);
    Entry* oldest = std::min_element(entries, entries + kWays, [](const Entry& a, const Entry& b) {
      return a.index_plus_one < b.index_plus_one;
    });
    if (oldest->index_plus_one == 0 || table_.buckets() == kMostBuckets) {
      *oldest = {digest, index + 1};
      return;
    }
    grow();
  }
}

// The entries of one bucket spread over kGrowth new ones, so there is room for all.
void PageIndex::grow() {
  Table larger(std::min(table_.buckets() * kGrowth, kMostBuckets));
  for (const Entry& entry : table_) {
    if (entry.index_plus_one != 0) {
      Entry* entries = larger.bucket(entry.digest);
      *std::find_if(entries, entries + kWays,
                    [](const Entry& candidate) { return candidate.index_plus_one == 0; }) = entry;
    }
  }
  table_ = std::move(larger);
}

} // namespace rrpcp
