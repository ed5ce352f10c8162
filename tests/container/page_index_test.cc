// The index of stored pages grows with them and then forgets the oldest.

#include "base/bytes.h"
#include "container/page_index.h"

#include <gtest/gtest.h>
#include <span>

namespace rrpcp {
namespace {

Digest128 digest_of(std::uint64_t page) {
  return xxh3_128(std::as_bytes(std::span(&page, 1)));
}

TEST(PageIndex, FindsNothingInAnEmptyOne) {
  const PageIndex index;
  EXPECT_EQ(index.find(digest_of(0)), std::nullopt);
}

TEST(PageIndex, KeepsAllWhileItGrows) {
  constexpr std::uint64_t kPages = 20'000;
  PageIndex index;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    EXPECT_EQ(index.find(digest_of(page)), std::nullopt);
    index.insert(digest_of(page), page);
  }
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_EQ(index.find(digest_of(page)), page);
  }
}

TEST(PageIndex, ForgetsTheOldestWhenItIsFull) {
  constexpr std::uint64_t kPages = 3'000'000; // three times as many as it has room for
  PageIndex index;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    index.insert(digest_of(page), page);
  }
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  constexpr std::uint64_t kLook = 100'000;
  for (std::uint64_t i = 0; i < kLook; ++i) {
    first += index.find(digest_of(i)) ? 1 : 0;
    last += index.find(digest_of(kPages - 1 - i)) == kPages - 1 - i ? 1 : 0;
  }
  EXPECT_LT(first, kLook / 100);
  EXPECT_GT(last, kLook / 100 * 99);
}

} // namespace
} // namespace rrpcp
