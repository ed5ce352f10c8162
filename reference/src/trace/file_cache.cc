#include "trace/file_cache.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/scoped_fd.h"
#include "model/elf_build_id.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <span>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::trace {

namespace {

constexpr std::uint64_t kMark = 0x656c69662d706370; // "pcp-file"
constexpr std::uint64_t kMostKept = 64 << 20;       // bytes of a file here
constexpr std::int64_t kSettled = 2'000'000'000;    // ns: changes within a clock tick look the same

void append_bytes(FileCache::Words& words, std::span<const std::byte> bytes) {
  words.push_back(bytes.size());
  const std::size_t at = words.size();
  words.resize(at + (bytes.size() + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t));
  if (!bytes.empty()) {
    std::memcpy(&words[at], bytes.data(), bytes.size());
  }
}

std::string path_of(int fd) {
  char path[4096];
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return {path, n > 0 ? static_cast<std::size_t>(n) : 0};
}

// Only what this user has made counts, and what nobody else may change.
bool is_own(const struct stat& status) {
  return status.st_uid == ::geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

} // namespace

// (Whoever records as root may write to everything, so that the owner alone says nothing.)
bool is_systems(std::string_view path, const struct stat& status) {
  static constexpr std::string_view kSystemFolders[] = {"/usr/", "/bin/", "/sbin/", "/lib"};
  return status.st_uid == 0 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0 &&
         !path.starts_with("/usr/local/") &&
         std::any_of(std::begin(kSystemFolders), std::end(kSystemFolders),
                     [&](std::string_view folder) { return path.starts_with(folder); });
}

FileCache::FileCache(std::string directory) : directory_(std::move(directory)) {
  if (!directory_.empty()) {
    own_id_ = own_build_id();
  }
}

FileCache::Key FileCache::key(int fd, const struct stat& status) const {
  Key key;
  if (own_id_.empty() || !S_ISREG(status.st_mode) ||
      wall_clock() - nanoseconds(status.st_mtim) < kSettled) {
    return key;
  }
  key.build_id = read_build_id(fd);
  key.device = status.st_dev;
  key.inode = status.st_ino;
  key.size = static_cast<std::uint64_t>(status.st_size);
  key.modified_at = nanoseconds(status.st_mtim);
  key.changed_at = is_systems(path_of(fd), status) ? 0 : nanoseconds(status.st_ctim);
  return key;
}

std::string FileCache::path(const Key& key, Kind kind) const {
  char name[64];
  std::snprintf(name, sizeof name, "/%llx-%llx-%s", static_cast<unsigned long long>(key.device),
                static_cast<unsigned long long>(key.inode),
                kind == Kind::kCode      ? "code"
                : kind == Kind::kDigests ? "digests"
                                         : "ranges");
  return directory_ + name;
}

// A file is numbers of 64 bits, in the processor's own order: this head, what is kept, and XXH3 of
// all that.
FileCache::Words FileCache::head(const Key& key, Kind kind) const {
  Words words = {kMark, static_cast<std::uint64_t>(kind), key.device, key.inode, key.size};
  words.push_back(static_cast<std::uint64_t>(key.modified_at));
  words.push_back(static_cast<std::uint64_t>(key.changed_at));
  append_bytes(words, own_id_);
  append_bytes(words, key.build_id);
  return words;
}

std::optional<FileCache::Words> FileCache::find(const Key& key, Kind kind) const {
  if (!key) {
    return std::nullopt;
  }
  const std::string name = path(key, kind);
  const ScopedFd file(::open(name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status;
  struct stat folder;
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || !is_own(status) ||
      static_cast<std::uint64_t>(status.st_size) > kMostKept ||
      ::stat(directory_.c_str(), &folder) != 0 || !is_own(folder)) {
    return std::nullopt;
  }
  Words words(static_cast<std::uint64_t>(status.st_size) / sizeof(std::uint64_t));
  try {
    if (read_at(file.get(), std::as_writable_bytes(std::span(words)), 0, name) !=
        static_cast<std::uint64_t>(status.st_size)) {
      return std::nullopt;
    }
  } catch (const Error&) {
    return std::nullopt;
  }
  const Words expected = head(key, kind);
  if (words.size() <= expected.size() ||
      !std::equal(expected.begin(), expected.end(), words.begin()) ||
      words.back() != xxh3_64(std::as_bytes(std::span(words).first(words.size() - 1)))) {
    return std::nullopt;
  }
  words.pop_back();
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(expected.size()));
  return words;
}

void FileCache::keep(const Key& key, Kind kind, const Words& kept) const {
  if (!key || kept.size() > kMostKept / sizeof(std::uint64_t) / 2) {
    return;
  }
  Words words = head(key, kind);
  words.insert(words.end(), kept.begin(), kept.end());
  words.push_back(xxh3_64(std::as_bytes(std::span(words))));
  struct stat folder;
  if (::stat(directory_.c_str(), &folder) != 0) {
    ::mkdir(directory_.substr(0, directory_.rfind('/')).c_str(), 0700);
    ::mkdir(directory_.c_str(), 0700); // or another process has
    if (::stat(directory_.c_str(), &folder) != 0) {
      return;
    }
  }
  if (!S_ISDIR(folder.st_mode) || !is_own(folder)) {
    return;
  }
  std::string made = directory_ + "/new-XXXXXX";
  const ScopedFd file(::mkostemp(made.data(), O_CLOEXEC));
  if (!file) {
    return;
  }
  bool written = false;
  try {
    write_at(file.get(), std::as_bytes(std::span(words)), 0, made);
    written = true;
  } catch (const Error&) { // no room
  }
  if (!written || ::rename(made.c_str(), path(key, kind).c_str()) != 0) {
    ::unlink(made.c_str());
  }
}

} // namespace rrpcp::trace
