// Finding pages that were stored before, in bounded memory.
#pragma once

#include "container/page_hash.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rrpcp {

// Remembers the digests of the last 2^20 pages of the stream. What it remembers depends on nothing
// but the order of the pages, so that equal input gives equal output although the digests, and with
// them the places in its table, depend on the writer's secrets.
class PageIndex {
public:
  PageIndex();
  PageIndex(const PageIndex&) = delete;
  PageIndex& operator=(const PageIndex&) = delete;
  ~PageIndex();

  // Tells the processor that this digest is about to be looked up.
  void prefetch(const PageDigest& digest) const {
    __builtin_prefetch(&slots_[digest.low & (slots_.size() - 1)]);
  }
  // Stream index of one of the remembered pages with this digest.
  std::optional<std::uint64_t> find(const PageDigest& digest) const;
  // Remembers that page `index` has this digest. Indices must grow from call to call; pages between
  // them that are not told of take the place of older ones all the same.
  void insert(const PageDigest& digest, std::uint64_t index);

  static constexpr std::uint64_t kRemembered = 1u << 20;

private:
  // A slot has the low 20 bits of a page's stream index and 12 bits of its digest, so that looking
  // at other pages' digests is seldom needed. Slots of pages that are forgotten stay until the
  // table is made anew: the digest at their place is another one.
  using Slot = std::uint32_t;
  static constexpr Slot kEmpty = UINT32_MAX;

  static Slot slot_of(const PageDigest& digest, std::uint64_t index);
  bool remembers(std::uint64_t index) const;
  void place(const PageDigest& digest, std::uint64_t index);
  // Makes a table of `slots` slots with the pages that are remembered.
  void rebuild(std::size_t slots);

  // By index modulo kRemembered; fresh memory of the kernel, which costs nothing until it is used.
  PageDigest* entries_;
  // Which of the entries are those of pages that were told of.
  std::vector<bool> told_;
  std::vector<Slot> slots_; // a power of two
  std::size_t used_ = 0;    // slots
  std::uint64_t end_ = 0;   // the last index and one
};

} // namespace rrpcp
