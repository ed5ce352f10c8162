// The seal: what it covers, what it notices, and that it outlives a rewriting.

#include "base/bytes.h"
#include "base/scoped_fd.h"
#include "base/sha256.h"
#include "container/seal.h"
#include "rrpcp/reader.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/equal_hashes.h"
#include "support/forge.h"
#include "support/temp_dir.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>

namespace rrpcp {
namespace {

std::vector<std::byte> section(const CheckpointReader& reader, std::uint32_t kind) {
  std::vector<std::byte> bytes;
  reader.read_section(*reader.find_section(kind), [&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

bool has_code(const ValidationReport& report, std::string_view code) {
  for (const Finding& finding : report.findings) {
    if (finding.code == code) {
      return true;
    }
  }
  return false;
}

TEST(Sha256, IsThatOfTheStandard) {
  const char text[] = "abc";
  const Sha256Digest digest = sha256(std::as_bytes(std::span(text, 3)));
  const std::array<std::uint8_t, 8> begin = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
  EXPECT_TRUE(std::equal(begin.begin(), begin.end(), digest.begin()));
  Sha256Stream stream;
  stream.update(std::as_bytes(std::span(text, 1)));
  stream.update(std::as_bytes(std::span(text + 1, 2)));
  EXPECT_EQ(stream.digest(), digest);
}

TEST(Seal, IsTheSameWhateverTheProfileAndThreads) {
  test::TempDir dir;
  const std::vector<std::byte> pages = test::sample_pages(300, 5);
  std::vector<std::byte> first;
  for (Profile profile : {Profile::kRaw, Profile::kFast, Profile::kSmall}) {
    for (unsigned threads : {1u, 4u}) {
      test::write_sample(dir.file("a"), pages,
                         {.profile = profile, .threads = threads, .seal = true});
      const CheckpointReader reader = CheckpointReader::open(dir.file("a"));
      const std::vector<std::byte> seal = section(reader, format::kSectionSeal);
      EXPECT_EQ(seal.size(), format::kSealChunks + 32 * reader.chunk_count());
      first = first.empty() ? seal : first;
      EXPECT_EQ(seal, first);
      const ValidationReport report = validate_file(dir.file("a"));
      EXPECT_TRUE(report.sealed);
      EXPECT_TRUE(report.valid());
    }
  }
}

TEST(Seal, IsNotThereUnlessAskedFor) {
  test::TempDir dir;
  test::write_sample(dir.file("a"), test::sample_pages(3, 5), {});
  EXPECT_EQ(CheckpointReader::open(dir.file("a")).find_section(format::kSectionSeal), nullptr);
  EXPECT_FALSE(validate_file(dir.file("a")).sealed);
}

TEST(Seal, StaysWhenAFileIsRewritten) {
  test::TempDir dir;
  test::write_sample(dir.file("a"), test::sample_pages(300, 5),
                     {.profile = Profile::kDefault, .seal = true});
  const CheckpointReader reader = CheckpointReader::open(dir.file("a"));
  for (bool anew : {false, true}) {
    ScopedFd file(::open(dir.file("b").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Output output(file.get(), "b");
    EXPECT_EQ(rewrite_checkpoint(reader, output, {.profile = Profile::kRaw, .seal = anew}),
              reader.id());
    const CheckpointReader copy = CheckpointReader::open(dir.file("b"));
    EXPECT_EQ(section(copy, format::kSectionSeal), section(reader, format::kSectionSeal));
    EXPECT_TRUE(validate_file(dir.file("b")).valid());
  }
}

// Page contents exchanged for others with the same XXH3: nothing but the seal can notice.
TEST(Seal, NoticesWhatChecksumsCannot) {
  test::TempDir dir;
  const auto [a, b] = test::pages_of_equal_hash();
  test::write_sample(dir.file("a"), a, {.profile = Profile::kRaw, .seal = true});
  std::vector<std::byte> file = test::read_file(dir.file("a"));
  std::memcpy(&file[4096], b.data(), b.size());
  const ValidationReport report = validate_bytes(file, "forged");
  EXPECT_FALSE(report.valid());
  EXPECT_TRUE(has_code(report, "seal.chunk"));
  EXPECT_EQ(report.findings.size(), 1u);
  test::write_sample(dir.file("unsealed"), a, {.profile = Profile::kRaw});
  file = test::read_file(dir.file("unsealed"));
  std::memcpy(&file[4096], b.data(), b.size());
  EXPECT_TRUE(validate_bytes(file, "forged").valid()) << "the pages are not of equal hash";
}

} // namespace
} // namespace rrpcp
