// Pages are shared because they are equal, not because a hash of them is.

#include "base/hash.h"
#include "container/page_hash.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"
#include "support/checkpoint_bytes.h"
#include "support/equal_hashes.h"
#include "support/temp_dir.h"

#include <gtest/gtest.h>

namespace rrpcp {
namespace {

TEST(Sharing, PagesOfEqualHashAreMade) {
  for (unsigned variant = 0; variant < 4; ++variant) {
    const auto [a, b] = test::pages_of_equal_hash(variant);
    EXPECT_NE(a, b);
    EXPECT_EQ(xxh3_128(a), xxh3_128(b));
    EXPECT_EQ(xxh3_64(a), xxh3_64(b));
  }
}

TEST(Sharing, TheWritersHashesTellThemApart) {
  const auto [a, b] = test::pages_of_equal_hash();
  for (int i = 0; i < 1000; ++i) {
    const PageHash hash;
    const PageDigest first = hash(a);
    const PageDigest second = hash(b);
    ASSERT_NE(first.low, second.low);
    ASSERT_NE(first.high, second.high);
    ASSERT_EQ(hash(a), first);
  }
  EXPECT_FALSE(PageHash()(a) == PageHash()(a)) << "the secret is always the same";
}

TEST(Sharing, DifferentPagesOfEqualHashAreReadBackAsTheyWere) {
  test::TempDir dir;
  std::vector<std::byte> pages;
  for (unsigned variant = 0; variant < 50; ++variant) {
    for (const auto& page : test::pages_of_equal_hash(variant)) {
      pages.insert(pages.end(), page.begin(), page.end());
    }
  }
  const std::vector<std::byte> once = pages;
  pages.insert(pages.end(), once.begin(), once.end()); // which are shared
  for (Profile profile : {Profile::kRaw, Profile::kDefault}) {
    const std::string path = dir.file(std::string(profile_name(profile)));
    test::write_sample(path, pages, {.profile = profile});
    const CheckpointReader reader = CheckpointReader::open(path);
    EXPECT_EQ(reader.footer().page_count, 100u);
    MemoryView view(reader, 0);
    std::vector<std::byte> bytes(pages.size());
    ASSERT_EQ(view.read(0x10000, bytes), bytes.size());
    EXPECT_EQ(bytes, pages);
  }
}

// The secrets leave no trace in the file.
TEST(Sharing, TheSamePagesGiveTheSameBytes) {
  test::TempDir dir;
  std::vector<std::byte> pages = test::sample_pages(500, 3);
  const std::vector<std::byte> again(pages.begin(), pages.begin() + 200 * 4096);
  pages.insert(pages.end(), again.begin(), again.end());
  test::write_sample(dir.file("first"), pages, {.profile = Profile::kFast});
  for (int i = 0; i < 5; ++i) {
    test::write_sample(dir.file("next"), pages, {.profile = Profile::kFast});
    ASSERT_EQ(test::read_file(dir.file("first")), test::read_file(dir.file("next")));
  }
}

} // namespace
} // namespace rrpcp
