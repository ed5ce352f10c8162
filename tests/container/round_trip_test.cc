// A file that was written is read back equal, whatever the profile, the threads and the way.

#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/reader.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"

#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <random>
#include <thread>
#include <unistd.h>

namespace rrpcp {
namespace {

using test::sample_pages;
using test::TempDir;
using test::write_sample;

constexpr Profile kProfiles[] = {Profile::kRaw, Profile::kFast, Profile::kDefault, Profile::kSmall};

std::vector<std::byte> memory_of(const CheckpointReader& reader) {
  MemoryView view(reader, 0);
  auto mapping = reader.state().getAddressSpaces()[0].getMappings()[0];
  std::vector<std::byte> bytes(mapping.getEnd() - mapping.getStart());
  EXPECT_EQ(view.read(mapping.getStart(), bytes), bytes.size());
  return bytes;
}

TEST(RoundTrip, EveryProfileGivesTheSameMemoryAndId) {
  TempDir dir;
  std::vector<std::byte> pages = sample_pages(300, 1);
  std::fill(pages.begin() + 40960, pages.begin() + 81920, std::byte{0});
  std::copy(pages.begin(), pages.begin() + 8192, pages.begin() + 409600);
  CheckpointId first;
  for (Profile profile : kProfiles) {
    std::string path = dir.file(std::string(profile_name(profile)));
    CheckpointId id = write_sample(path, pages, {.profile = profile});
    if (profile == Profile::kRaw) {
      first = id;
    }
    EXPECT_EQ(id, first) << profile_name(profile);
    CheckpointReader reader = CheckpointReader::open(path);
    EXPECT_EQ(reader.id(), id);
    EXPECT_EQ(reader.footer().page_count, 300u - 10 - 2);
    EXPECT_EQ(memory_of(reader), pages);
  }
}

// What cannot be compressed is recognised, and nothing else is taken for it.
TEST(RoundTrip, OnlyIncompressibleChunksAreStoredRaw) {
  constexpr std::size_t kChunk = format::kDefaultChunkLength;
  std::mt19937_64 random(4);
  std::vector<std::byte> pages(3 * kChunk);
  for (std::size_t i = 0; i < pages.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t value = random();
    std::memcpy(&pages[i], &value, sizeof value);
  }
  // The second chunk repeats random bytes, though no page equals another; the third is random in
  // its first half only.
  constexpr std::size_t kPeriod = 6000;
  for (std::size_t i = kChunk + kPeriod; i < 2 * kChunk; ++i) {
    pages[i] = pages[i - kPeriod];
  }
  for (std::size_t i = 2 * kChunk + kChunk / 2; i < 3 * kChunk; ++i) {
    pages[i] = static_cast<std::byte>(i / 4096 % 251 + 1);
  }
  TempDir dir;
  for (Profile profile : {Profile::kFast, Profile::kDefault, Profile::kSmall}) {
    const std::string path = dir.file(std::string(profile_name(profile)));
    write_sample(path, pages, {.profile = profile});
    const CheckpointReader reader = CheckpointReader::open(path);
    ASSERT_EQ(reader.chunk_count(), 3u);
    EXPECT_EQ(reader.chunk(0).codec, format::kCodecRaw) << profile_name(profile);
    EXPECT_EQ(reader.chunk(1).codec, format::kCodecZstd) << profile_name(profile);
    EXPECT_EQ(reader.chunk(2).codec, format::kCodecZstd) << profile_name(profile);
    EXPECT_EQ(memory_of(reader), pages);
  }
}

TEST(RoundTrip, BytesDoNotDependOnThreads) {
  TempDir dir;
  std::vector<std::byte> pages = sample_pages(1000, 2);
  for (Profile profile : kProfiles) {
    write_sample(dir.file("one"), pages, {.profile = profile, .threads = 1});
    write_sample(dir.file("seven"), pages, {.profile = profile, .threads = 7});
    EXPECT_EQ(test::read_file(dir.file("one")), test::read_file(dir.file("seven")))
        << profile_name(profile);
  }
}

TEST(RoundTrip, PipeGivesTheSameBytesAsFile) {
  TempDir dir;
  std::vector<std::byte> pages = sample_pages(500, 3);
  std::string fifo = dir.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (Profile profile : kProfiles) {
    write_sample(dir.file("file"), pages, {.profile = profile});
    std::vector<std::byte> through_pipe;
    std::thread drain([&] { through_pipe = test::read_file(fifo); });
    write_sample(fifo, pages, {.profile = profile});
    drain.join();
    EXPECT_EQ(through_pipe, test::read_file(dir.file("file"))) << profile_name(profile);
  }
}

TEST(RoundTrip, EmptyStream) {
  TempDir dir;
  write_sample(dir.file("empty"), {}, {});
  CheckpointReader reader = CheckpointReader::open(dir.file("empty"));
  EXPECT_EQ(reader.chunk_count(), 0u);
}

TEST(RoundTrip, ReadingStopsAtUnmappedMemory) {
  TempDir dir;
  write_sample(dir.file("a"), sample_pages(2, 4), {});
  CheckpointReader reader = CheckpointReader::open(dir.file("a"));
  MemoryView view(reader, 0);
  std::vector<std::byte> out(16384);
  EXPECT_EQ(view.read(0x10000 + 4096, out), 4096u);
  EXPECT_EQ(view.read(0x20000, out), 0u);
}

TEST(RoundTrip, EveryTruncationIsRefused) {
  TempDir dir;
  write_sample(dir.file("a"), sample_pages(3, 5), {.profile = Profile::kDefault});
  std::vector<std::byte> bytes = test::read_file(dir.file("a"));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THROW(CheckpointReader::open_bytes(cut, "cut"), Error) << length;
  }
}

} // namespace
} // namespace rrpcp
