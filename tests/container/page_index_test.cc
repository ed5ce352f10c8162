// The index of stored pages grows with them and then forgets the oldest.

#include "base/bytes.h"
#include "container/page_index.h"

#include <gtest/gtest.h>
#include <span>

namespace rrpcp {
namespace {

PageDigest digest_of(std::uint64_t page) {
  static const PageHash hash;
  return hash(std::as_bytes(std::span(&page, 1)));
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

// Whatever the secret is.
TEST(PageIndex, RemembersExactlyTheLastPages) {
  constexpr std::uint64_t kPages = 2'500'000;
  PageIndex index;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    index.insert(digest_of(page), page);
  }
  for (std::uint64_t page = kPages - PageIndex::kRemembered - 100'000; page < kPages; page += 7) {
    const bool remembered = page >= kPages - PageIndex::kRemembered;
    ASSERT_EQ(index.find(digest_of(page)), remembered ? std::optional(page) : std::nullopt) << page;
  }
}

TEST(PageIndex, PagesThatItIsNotToldOfPushOutOlderOnes) {
  PageIndex index;
  index.insert(digest_of(0), 0);
  index.insert(digest_of(1), PageIndex::kRemembered - 1);
  EXPECT_EQ(index.find(digest_of(0)), 0u);
  index.insert(digest_of(2), PageIndex::kRemembered + 5);
  EXPECT_EQ(index.find(digest_of(0)), std::nullopt);
  EXPECT_EQ(index.find(digest_of(1)), PageIndex::kRemembered - 1);
  index.insert(digest_of(3), 10 * PageIndex::kRemembered);
  EXPECT_EQ(index.find(digest_of(2)), std::nullopt);
  EXPECT_EQ(index.find(digest_of(3)), 10 * PageIndex::kRemembered);
}

} // namespace
} // namespace rrpcp
