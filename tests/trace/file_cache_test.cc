// What is kept of program files for later recordings.

#include "base/scoped_fd.h"
#include "support/checkpoint_bytes.h"
#include "support/temp_dir.h"
#include "trace/file_cache.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::trace {
namespace {

namespace fs = std::filesystem;
using Kind = FileCache::Kind;

constexpr FileCache::Kind kKinds[] = {Kind::kCode, Kind::kDigests, Kind::kRanges};

class FileCacheTest : public testing::Test {
protected:
  FileCacheTest() {
    const ScopedFd self(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    struct stat status;
    EXPECT_EQ(::fstat(self.get(), &status), 0);
    status.st_mtim.tv_sec -= 60; // it may just have been built
    key_ = cache_.key(self.get(), status);
    EXPECT_TRUE(key_) << "this test has no build id";
  }

  // All files of the cache.
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
      found.push_back(entry.path());
    }
    return found;
  }

  test::TempDir dir_;
  std::string folder_ = dir_.file("above") + "/cache";
  FileCache cache_{folder_};
  FileCache::Key key_;
  const FileCache::Words words_ = {1, ~std::uint64_t{0}, 7};
};

TEST_F(FileCacheTest, FindsWhatWasKept) {
  EXPECT_FALSE(cache_.find(key_, Kind::kCode));
  cache_.keep(key_, Kind::kCode, words_);
  EXPECT_EQ(FileCache(folder_).find(key_, Kind::kCode), words_);
  EXPECT_FALSE(cache_.find(key_, Kind::kDigests));
  cache_.keep(key_, Kind::kDigests, {});
  EXPECT_EQ(cache_.find(key_, Kind::kDigests), FileCache::Words());
  cache_.keep(key_, Kind::kCode, {5});
  EXPECT_EQ(cache_.find(key_, Kind::kCode), FileCache::Words{5});
  EXPECT_EQ(files().size(), 2u);
  struct stat status;
  ASSERT_EQ(::stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0700u);
}

TEST_F(FileCacheTest, KnowsAFileByAllThatTellsItFromOthers) {
  cache_.keep(key_, Kind::kCode, words_);
  const auto found = [&](auto&& change) {
    FileCache::Key other = key_;
    change(other);
    return cache_.find(other, Kind::kCode).has_value();
  };
  EXPECT_TRUE(found([](FileCache::Key&) {}));
  EXPECT_FALSE(found([](FileCache::Key& key) { key.build_id.back() ^= std::byte{1}; }));
  EXPECT_FALSE(found([](FileCache::Key& key) { key.build_id.clear(); }));
  EXPECT_FALSE(found([](FileCache::Key& key) { ++key.device; }));
  EXPECT_FALSE(found([](FileCache::Key& key) { ++key.inode; }));
  EXPECT_FALSE(found([](FileCache::Key& key) { ++key.size; }));
  EXPECT_FALSE(found([](FileCache::Key& key) { ++key.modified_at; }));
  EXPECT_FALSE(found([](FileCache::Key& key) { ++key.changed_at; }));
}

TEST_F(FileCacheTest, WhatIsDamagedIsNotThere) {
  cache_.keep(key_, Kind::kCode, words_);
  const std::string path = files().at(0);
  const std::string intact = test::file_text(path);
  const auto put = [&](const std::string& text) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  };
  for (std::size_t at = 0; at < intact.size(); ++at) {
    std::string text = intact;
    text[at] = static_cast<char>(text[at] ^ 0x10);
    put(text);
    EXPECT_FALSE(cache_.find(key_, Kind::kCode)) << at;
    put(intact.substr(0, at));
    EXPECT_FALSE(cache_.find(key_, Kind::kCode)) << at;
  }
  cache_.keep(key_, Kind::kCode, words_);
  EXPECT_EQ(cache_.find(key_, Kind::kCode), words_);
}

TEST_F(FileCacheTest, WhatOthersMayHaveWrittenIsNotThere) {
  cache_.keep(key_, Kind::kCode, words_);
  const std::string path = files().at(0);
  ::chmod(path.c_str(), 0666);
  EXPECT_FALSE(cache_.find(key_, Kind::kCode));
  ::chmod(path.c_str(), 0600);
  ::chmod(folder_.c_str(), 0770);
  EXPECT_FALSE(cache_.find(key_, Kind::kCode));
  cache_.keep(key_, Kind::kDigests, words_);
  EXPECT_EQ(files().size(), 1u);
  ::chmod(folder_.c_str(), 0700);
  EXPECT_TRUE(cache_.find(key_, Kind::kCode));
  fs::rename(path, dir_.file("elsewhere"));
  fs::create_symlink(dir_.file("elsewhere"), path);
  EXPECT_FALSE(cache_.find(key_, Kind::kCode));
}

TEST_F(FileCacheTest, DoesWithoutWhereNothingCanBeKept) {
  std::ofstream(dir_.file("file")) << "text";
  for (const std::string& folder :
       {std::string(), dir_.file("file"), dir_.file("file") + "/cache", dir_.file("a") + "/b/c"}) {
    const FileCache none(folder);
    for (const Kind kind : kKinds) {
      none.keep(key_, kind, words_);
      EXPECT_FALSE(none.find(key_, kind)) << folder;
    }
  }
}

TEST_F(FileCacheTest, DoesNotKnowWhatMayStillChangeOrHasNoBuildId) {
  const std::string program = dir_.file("program");
  fs::copy_file("/proc/self/exe", program);
  struct stat status;
  const ScopedFd copy(::open(program.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::fstat(copy.get(), &status), 0);
  EXPECT_FALSE(cache_.key(copy.get(), status)) << "it was changed within two seconds";
  const std::string text = dir_.file("text");
  std::ofstream(text) << "no program";
  const ScopedFd other(::open(text.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::fstat(other.get(), &status), 0);
  status.st_mtim.tv_sec -= 60;
  EXPECT_FALSE(cache_.key(other.get(), status));
  EXPECT_FALSE(FileCache("").key(copy.get(), status));
}

} // namespace
} // namespace rrpcp::trace
