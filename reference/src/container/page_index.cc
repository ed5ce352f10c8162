#include "container/page_index.h"

#include <algorithm>
#include <new>
#include <sys/mman.h>

namespace rrpcp {

namespace {

// A checkpoint of few pages shall not pay for a large index.
constexpr std::size_t kFirstSlots = 1u << 10;
constexpr std::size_t kGrowth = 4;
constexpr std::size_t kMostSlots = 1u << 21;

constexpr std::uint32_t kIndexMask = PageIndex::kRemembered - 1;

} // namespace

PageIndex::PageIndex()
    : entries_(static_cast<PageDigest*>(
          ::mmap(nullptr, kRemembered * sizeof(PageDigest), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
      told_(kRemembered), slots_(kFirstSlots, kEmpty) {
  if (entries_ == MAP_FAILED) {
    throw std::bad_alloc();
  }
}

PageIndex::~PageIndex() {
  ::munmap(entries_, kRemembered * sizeof(PageDigest));
}

PageIndex::Slot PageIndex::slot_of(const PageDigest& digest, std::uint64_t index) {
  // 0xfff with the last index would be an empty slot.
  const Slot tag = std::min<Slot>(static_cast<Slot>(digest.high >> 52), 0xffe);
  return tag << 20 | (static_cast<Slot>(index) & kIndexMask);
}

bool PageIndex::remembers(std::uint64_t index) const {
  return told_[index & kIndexMask];
}

std::optional<std::uint64_t> PageIndex::find(const PageDigest& digest) const {
  const std::size_t mask = slots_.size() - 1;
  const Slot tag = slot_of(digest, 0);
  for (std::size_t at = digest.low & mask; slots_[at] != kEmpty; at = (at + 1) & mask) {
    const Slot slot = slots_[at];
    if ((slot & ~kIndexMask) == tag && remembers(slot) && entries_[slot & kIndexMask] == digest) {
      // The one index below end_ with these low bits that is not forgotten.
      const std::uint64_t last = end_ - 1;
      return last - ((last - slot) & kIndexMask);
    }
  }
  return std::nullopt;
}

void PageIndex::insert(const PageDigest& digest, std::uint64_t index) {
  // Pages that were passed over.
  for (std::uint64_t i = std::max(end_, index - std::min(index, kRemembered - 1)); i < index; ++i) {
    told_[i & kIndexMask] = false;
  }
  end_ = index + 1;
  entries_[index & kIndexMask] = digest;
  told_[index & kIndexMask] = true;
  if (used_ >= slots_.size() / 4 * 3) {
    rebuild(std::min(slots_.size() * kGrowth, kMostSlots));
  } else {
    place(digest, index);
  }
}

void PageIndex::place(const PageDigest& digest, std::uint64_t index) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = digest.low & mask;
  while (slots_[at] != kEmpty) {
    at = (at + 1) & mask;
  }
  slots_[at] = slot_of(digest, index);
  ++used_;
}

void PageIndex::rebuild(std::size_t slots) {
  slots_.assign(slots, kEmpty);
  used_ = 0;
  constexpr std::uint64_t kAhead = 16; // arrive meanwhile
  for (std::uint64_t i = end_ - std::min(end_, kRemembered); i < end_; ++i) {
    if (i + kAhead < end_) {
      prefetch(entries_[(i + kAhead) & kIndexMask]);
    }
    if (remembers(i)) {
      place(entries_[i & kIndexMask], i);
    }
  }
}

} // namespace rrpcp
