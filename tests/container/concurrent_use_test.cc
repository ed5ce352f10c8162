// One reader used by many threads, many readers of one file, and validation on several threads: the
// documentation of reader.h and validate.h promises all three.

#include "rrpcp/error.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace rrpcp {
namespace {

using test::sample_pages;
using test::TempDir;
using test::write_sample;

constexpr unsigned kThreads = 8;

void on_threads(const std::function<void(unsigned)>& work) {
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back(work, i);
  }
}

TEST(ConcurrentUse, ThreadsShareOneReader) {
  TempDir dir;
  const std::vector<std::byte> pages = sample_pages(640, 11);
  write_sample(dir.file("a"), pages, {.profile = Profile::kFast});
  const CheckpointReader reader = CheckpointReader::open(dir.file("a"));
  std::atomic<unsigned> wrong = 0;
  on_threads([&](unsigned thread) {
    for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
      const std::uint64_t index = (i + thread) % reader.chunk_count();
      std::vector<std::byte> chunk(reader.chunk(index).length);
      reader.read_chunk(index, chunk);
      const std::size_t start =
          index * reader.header().chunk_pages * std::size_t{reader.header().page_size};
      wrong +=
          std::equal(chunk.begin(), chunk.end(), pages.begin() + static_cast<std::ptrdiff_t>(start))
              ? 0
              : 1;
      wrong += reader.state().getMachine() == 62 ? 0 : 1;
    }
  });
  EXPECT_EQ(wrong, 0u);
}

TEST(ConcurrentUse, WritersAndReadersOfTheirOwn) {
  TempDir dir;
  std::atomic<unsigned> wrong = 0;
  on_threads([&](unsigned thread) {
    const std::vector<std::byte> pages = sample_pages(130, thread);
    const std::string path = dir.file(std::to_string(thread));
    write_sample(path, pages, {.profile = Profile::kDefault, .threads = 3});
    std::size_t seen = 0;
    const CheckpointReader reader = CheckpointReader::open(path);
    reader.read_stream(0, reader.footer().page_count, [&](std::span<const std::byte> bytes) {
      wrong +=
          std::equal(bytes.begin(), bytes.end(), pages.begin() + static_cast<std::ptrdiff_t>(seen))
              ? 0
              : 1;
      seen += bytes.size();
    });
    wrong += seen == pages.size() ? 0 : 1;
  });
  EXPECT_EQ(wrong, 0u);
}

TEST(ConcurrentUse, ValidationGivesTheSameReportOnAnyNumberOfThreads) {
  TempDir dir;
  write_sample(dir.file("a"), sample_pages(1000, 12), {.profile = Profile::kFast});
  std::vector<std::byte> bytes = test::read_file(dir.file("a"));
  const CheckpointReader whole = CheckpointReader::open(dir.file("a"));
  for (const std::uint64_t chunk : {1u, 4u, 9u}) {
    bytes[whole.chunk(chunk).offset + 5] ^= std::byte{1};
  }
  auto places = [&](unsigned threads) {
    std::vector<std::uint64_t> out;
    for (const Finding& finding :
         validate_bytes(bytes, "a", {.level = ValidationLevel::kChecksums, .threads = threads})
             .findings) {
      EXPECT_EQ(finding.code, "chunk.stored-checksum");
      out.push_back(finding.offset.value_or(0));
    }
    return out;
  };
  const std::vector<std::uint64_t> alone = places(1);
  EXPECT_EQ(alone.size(), 3u);
  for (unsigned threads : {2u, 5u, 8u}) {
    EXPECT_EQ(places(threads), alone) << threads;
  }
}

} // namespace
} // namespace rrpcp
