#include "trace/file_store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hex.h"
#include "model/elf_build_id.h"
#include "rrpcp/error.h"
#include "trace/private_entries.h"

#include <algorithm>
#include <capnp/message.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <iterator>
#include <linux/fs.h>
#include <optional>
#include <span>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp::trace {

namespace {

constexpr std::size_t kBufferSize = std::size_t{1} << 18; // stays in the processor's cache

// A change within the clock tick in which a file was looked at leaves its times as they are: only
// times that lie this far back say that nothing changed since.
// Our own link to a file that nobody is expected to change is a change of its inode, but not of
// what is in it: of such a one (`linked`) the time of its contents counts.
bool is_settled(const struct stat& status, bool linked) {
  const std::int64_t changed = nanoseconds(linked ? status.st_mtim : status.st_ctim);
  return wall_clock() - changed > 2'000'000'000;
}

// The last component of a path, made fit for a file name.
std::string plain_name(std::string_view path) {
  std::string name(base_name(path));
  name.resize(std::min<std::size_t>(name.size(), 100));
  for (char& c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '-' || c == '_' || c == '+';
    c = plain ? c : '_';
  }
  return name;
}

std::optional<FileDigests> known_digests(const FileCache& cache, const FileCache::Key& key) {
  const std::optional<FileCache::Words> words = cache.find(key, FileCache::Kind::kDigests);
  DigestWords digests;
  if (!words || words->size() != digests.size()) {
    return std::nullopt;
  }
  std::copy(words->begin(), words->end(), digests.begin());
  return digests_of(digests);
}

// For the contents of a file, or for a piece of them after the other.
std::vector<std::byte> buffer_for(int fd) {
  struct stat status;
  const bool small = ::fstat(fd, &status) == 0 && status.st_size >= 0 &&
                     static_cast<std::size_t>(status.st_size) < kBufferSize;
  return std::vector<std::byte>(small ? static_cast<std::size_t>(status.st_size) + 1 : kBufferSize);
}

// Whether two open files have the same contents.
bool same_contents(int a, int b, const std::string& name) {
  std::vector<std::byte> left = buffer_for(a), right = left;
  for (std::uint64_t offset = 0;;) {
    const std::size_t n = read_at(a, left, offset, name);
    if (n == 0) {
      return read_at(b, std::span(right).first(1), offset, name) == 0;
    }
    for (std::size_t done = 0; done < n;) {
      const std::size_t m = read_at(b, std::span(right).first(n - done), offset + done, name);
      if (m == 0 || std::memcmp(&left[done], right.data(), m) != 0) {
        return false;
      }
      done += m;
    }
    offset += n;
  }
}

} // namespace

FileDigests digest_file(int fd, const std::string& name) {
  Xxh3Stream128 stream;
  Sha256Stream strong;
  std::vector<std::byte> buffer = buffer_for(fd);
  for (std::uint64_t offset = 0;;) {
    const std::size_t n = read_at(fd, buffer, offset, name);
    if (n == 0) {
      return {stream.digest(), strong.digest()};
    }
    stream.update(std::span<const std::byte>(buffer).first(n));
    strong.update(std::span<const std::byte>(buffer).first(n));
    offset += n;
  }
}

void copy_file_contents(int from, int to, const std::string& name) {
  struct stat status = {};
  if (::fstat(from, &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(name);
  }
  std::vector<std::byte> buffer = buffer_for(from);
  off_t at = 0;
  while (at < status.st_size) {
    off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) {
      break; // a hole up to the end
    }
    off_t hole = data < 0 ? status.st_size : ::lseek(from, data, SEEK_HOLE);
    if (data < 0 || hole < 0) {
      data = at; // a file system that does not tell
      hole = status.st_size;
    }
    for (at = data; at < hole;) {
      const std::size_t wanted =
          std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(hole - at));
      const std::size_t n =
          read_at(from, std::span(buffer).first(wanted), static_cast<std::uint64_t>(at), name);
      if (n == 0) {
        break; // became shorter meanwhile
      }
      write_at(to, std::span(buffer).first(n), static_cast<std::uint64_t>(at), name);
      at += static_cast<off_t>(n);
    }
    at = std::max(at, hole);
  }
  if (::ftruncate(to, status.st_size) != 0) {
    throw system_error(errno, "cannot set the size").in_file(name);
  }
}

TraceFileStore::TraceFileStore(TraceWriter& writer, Elsewhere elsewhere)
    : writer_(writer), elsewhere_(std::move(elsewhere)),
      folder_(writer.directory() + "/" + std::string(trace_format::kFilesName)) {
  make_private_directory(folder_);
  folder_fd_ = open_real_directory(folder_);
}

bool TraceFileStore::link_to(int fd, const std::string& name) const {
  return ::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), folder_fd_.get(),
                  name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

std::string TraceFileStore::take(int fd, const struct stat& status, bool may_link,
                                 schema::TraceFile::Way& way) {
  for (;;) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) {
      throw system_error(errno, "cannot get random bytes for a temporary name");
    }
    const std::string name = std::string(kTakingPrefix) + std::to_string(random);
    const std::string path = folder_ + "/" + name;
    if (may_link && !reflinks_ && link_to(fd, name)) {
      way = schema::TraceFile::Way::HARD_LINK;
      return name;
    }
    ScopedFd copy(
        ::openat(folder_fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!copy && errno == EEXIST) {
      continue;
    }
    if (!copy) {
      throw system_error(errno, "cannot create").in_file(path);
    }
    try {
      const bool tried = reflinks_;
      if (tried && ::ioctl(copy.get(), FICLONE, fd) == 0) {
        way = schema::TraceFile::Way::REFLINK;
      } else {
        if (tried && (errno == EOPNOTSUPP || errno == ENOTTY)) {
          reflinks_ = false; // of this file system
        }
        if (tried && may_link) {
          ::unlinkat(folder_fd_.get(), name.c_str(), 0);
          if (link_to(fd, name)) {
            way = schema::TraceFile::Way::HARD_LINK;
            return name;
          }
          // Another file system, or not allowed.
          copy.reset(::openat(folder_fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                              0600));
          if (!copy) {
            throw system_error(errno, "cannot create").in_file(path);
          }
        }
        way = schema::TraceFile::Way::COPY;
        copy_file_contents(fd, copy.get(), path);
      }
      // Nobody is to write to it by mistake; what may be executed may still be.
      const timespec times[2] = {status.st_atim, status.st_mtim};
      if (::futimens(copy.get(), times) != 0 ||
          ::fchmod(copy.get(), 0400 | (status.st_mode & 0100)) != 0) {
        throw system_error(errno, "cannot set times and mode").in_file(path);
      }
      return name;
    } catch (const Error&) {
      ::unlinkat(folder_fd_.get(), name.c_str(), 0);
      throw;
    }
  }
}

std::string TraceFileStore::name_for(int folder, const std::string& shown, int fd,
                                     const Sha256Digest& digest, const std::string& base) {
  for (unsigned copy = 1;; ++copy) {
    std::string name =
        digest_text(digest) + (copy == 1 ? "" : "." + std::to_string(copy)) + "-" + base;
    const ScopedFd there(
        ::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status = {};
    if (!there && errno == ENOENT) {
      return name;
    }
    if (!there && errno != ELOOP && errno != EACCES && errno != ENXIO) { // something else has it
      throw system_error(errno, "cannot open").in_file(shown + "/" + name);
    }
    if (there && ::fstat(there.get(), &status) == 0 && S_ISREG(status.st_mode) &&
        same_contents(fd, there.get(), shown + "/" + name)) {
      return name;
    }
  }
}

std::string TraceFileStore::settle(int folder, const std::string& shown, const std::string& taken,
                                   int fd, const Sha256Digest& digest, const std::string& base) {
  std::string name = name_for(folder, shown, fd, digest, base);
  // A link to another inode of the same content must not stay linked where it may change.
  if (::renameat(folder, taken.c_str(), folder, name.c_str()) != 0) {
    throw system_error(errno, "cannot rename").in_file(shown + "/" + taken);
  }
  // rename(2) does nothing where both are the same file already.
  ::unlinkat(folder, taken.c_str(), 0);
  return name;
}

void TraceFileStore::digest_elsewhere(const std::string& taken, int fd, const StandIns::Mark& mark,
                                      const std::string& base, const FileCache::Key& key) {
  auto file = std::make_shared<ScopedFd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  auto folder = std::make_shared<ScopedFd>(::fcntl(folder_fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!*file || !*folder) {
    throw system_error(errno, "cannot duplicate a descriptor").in_file(folder_ + "/" + taken);
  }
  elsewhere_.expect(elsewhere_.background->run([file, folder, stand_ins = elsewhere_.stand_ins,
                                                cache = elsewhere_.cache, shown = folder_, taken,
                                                mark, base, key] {
    const FileDigests digests = digest_file(file->get(), shown + "/" + taken);
    const std::string name = settle(folder->get(), shown, taken, file->get(), digests.sha256, base);
    if (name.size() != mark.name.size() + 1 + base.size()) {
      throw Error(ErrorCode::kExists, "another file has the name that a kept one is to have")
          .in_file(shown + "/" + name)
          .with_hint("record into an empty directory");
    }
    stand_ins->found(mark.number, digests);
    if (cache != nullptr) {
      const DigestWords words = words_of(digests);
      cache->keep(key, FileCache::Kind::kDigests, {words.begin(), words.end()});
    }
  }));
}

const KeptFile& TraceFileStore::keep(int fd, std::string_view path, bool may_change) {
  const std::string shown(path);
  struct stat status = {};
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(shown);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "only regular files can be kept").in_file(shown);
  }
  Seen& seen = seen_[{status.st_dev, status.st_ino}];
  const bool same_times = !seen.kept.path.empty() && seen.size == status.st_size &&
                          seen.modified_at == nanoseconds(status.st_mtim) &&
                          (seen.linked || seen.changed_at == nanoseconds(status.st_ctim));
  if (same_times && !(may_change && seen.linked) &&
      (is_settled(status, seen.linked) || digest_file(fd, shown).sha256 == seen.digest)) {
    return seen.kept;
  }
  const bool may_link = !may_change && is_systems(path, status);
  schema::TraceFile::Way way = schema::TraceFile::Way::COPY;
  const std::string taken = take(fd, status, may_link, way);
  const std::string taken_path = folder_ + "/" + taken;
  capnp::MallocMessageBuilder message;
  auto file = message.initRoot<schema::TraceFile>();
  KeptFile kept;
  FileDigests digest;
  try {
    // The copy is what counts: the original may change while it is copied.
    const ScopedFd copy(::openat(folder_fd_.get(), taken.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat copied = {};
    if (!copy || ::fstat(copy.get(), &copied) != 0) {
      throw system_error(errno, "cannot open").in_file(taken_path);
    }
    const std::string base = plain_name(path);
    std::string name;
    if (elsewhere_.background != nullptr && way == schema::TraceFile::Way::HARD_LINK &&
        copied.st_size != 0 && is_settled(status, true)) {
      FileCache::Key key;
      std::optional<FileDigests> known;
      if (elsewhere_.cache != nullptr) {
        key = elsewhere_.cache->key(fd, status);
        known = known_digests(*elsewhere_.cache, key);
      }
      if (known) {
        digest = *known;
        name = settle(folder_fd_.get(), folder_, taken, copy.get(), digest.sha256, base);
      } else {
        const StandIns::Mark mark = elsewhere_.stand_ins->stand_in();
        digest = mark.digests;
        name = mark.name + "-" + base;
        digest_elsewhere(taken, copy.get(), mark, base, key);
      }
    } else {
      digest = digest_file(copy.get(), taken_path);
      name = settle(folder_fd_.get(), folder_, taken, copy.get(), digest.sha256, base);
    }
    kept.path = std::string(trace_format::kFilesName) + "/" + name;
    auto data = [](std::string_view text) {
      return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
    };
    file.setPath(data(path));
    file.setDevice(status.st_dev);
    file.setInode(status.st_ino);
    file.setWay(way);
    auto stored = file.initStored();
    stored.setPath(data(kept.path));
    stored.setPathBase(schema::PathBase::TRACE);
    stored.setSize(static_cast<std::uint64_t>(copied.st_size));
    stored.setModifiedAt(nanoseconds(status.st_mtim));
    stored.setMode(status.st_mode);
    const std::vector<std::byte> build_id = read_build_id(copy.get());
    if (!build_id.empty()) {
      stored.setBuildId(
          kj::arrayPtr(reinterpret_cast<const kj::byte*>(build_id.data()), build_id.size()));
    }
    if (copied.st_size != 0) {
      auto range = stored.initDigests(1)[0];
      range.setLength(static_cast<std::uint64_t>(copied.st_size));
      range.setHigh(digest.xxh3.high);
      range.setLow(digest.xxh3.low);
      range.setSha256(kj::arrayPtr(digest.sha256.data(), digest.sha256.size()));
    }
  } catch (const Error&) {
    ::unlinkat(folder_fd_.get(), taken.c_str(), 0);
    throw;
  }
  kept.number = writer_.add_file(file.asReader());
  if (struct stat now = {}; way == schema::TraceFile::Way::HARD_LINK && ::fstat(fd, &now) == 0 &&
                            now.st_size == status.st_size &&
                            nanoseconds(now.st_mtim) == nanoseconds(status.st_mtim)) {
    status = now; // the new link is a change of the inode
  }
  seen.size = status.st_size;
  seen.modified_at = nanoseconds(status.st_mtim);
  seen.changed_at = nanoseconds(status.st_ctim);
  seen.digest = digest.sha256;
  seen.linked = way == schema::TraceFile::Way::HARD_LINK;
  seen.kept = std::move(kept);
  return seen.kept;
}

} // namespace rrpcp::trace
