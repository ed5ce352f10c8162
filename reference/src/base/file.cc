#include "base/file.h"

#include "base/open_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

std::vector<std::byte> read_open_file(const ScopedFd& fd, const std::string& path,
                                      std::uint64_t limit) {
  const struct stat info = stat_fd(fd.get(), path);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "is not a regular file").in_file(path);
  }
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > limit) {
    throw Error(ErrorCode::kLimit, "has " + std::to_string(size) +
                                       " bytes, more than the limit of " + std::to_string(limit))
        .in_file(path);
  }
  std::vector<std::byte> bytes(size);
  bytes.resize(read_at(fd.get(), bytes, 0, path));
  return bytes;
}

} // namespace

std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit) {
  const ScopedFd fd = open_file(path.c_str(), O_RDONLY);
  if (!fd) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  return read_open_file(fd, path, limit);
}

std::vector<std::byte> read_beneath(int directory_fd, std::string_view relative,
                                    const std::string& name, std::uint64_t limit) {
  const BeneathResult opened = open_beneath(directory_fd, relative, O_RDONLY | O_NONBLOCK);
  switch (opened.problem) {
  case BeneathProblem::kNone:
    return read_open_file(opened.fd, name, limit);
  case BeneathProblem::kEscapes:
    throw Error(ErrorCode::kDamaged, "the path leads out of the trace").in_file(name);
  case BeneathProblem::kSymlink:
    throw Error(ErrorCode::kDamaged, "is a symbolic link, which is not followed")
        .in_file(name)
        .with_diagnostic("legacy.page-symlink");
  case BeneathProblem::kSystem:
    break;
  }
  throw system_error(opened.error, "cannot open").in_file(name);
}

std::size_t read_at(int fd, std::span<std::byte> out, std::uint64_t offset,
                    const std::string& name) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw system_error(errno, "cannot read").in_file(name).at(offset + done);
    }
    if (count == 0) {
      break;
    }
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void read_padded(int fd, std::span<std::byte> out, std::uint64_t offset, std::uint64_t end,
                 const std::string& name) {
  const std::uint64_t wanted = std::min<std::uint64_t>(out.size(), end - std::min(offset, end));
  const std::size_t done = read_at(fd, out.first(wanted), offset, name);
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(done), out.end(), std::byte{0});
}

void write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
              const std::string& name, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      throw system_error(count < 0 ? errno : EIO, std::string(what)).in_file(name).at(offset);
    }
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

BeneathResult open_beneath(int directory_fd, std::string_view relative, int flags) {
  BeneathResult result;
  if (relative.empty() || relative.front() == '/' ||
      relative.find('\0') != std::string_view::npos) {
    result.problem = BeneathProblem::kEscapes;
    return result;
  }
  ScopedFd current;
  int at = directory_fd;
  while (true) {
    const std::size_t slash = relative.find('/');
    const std::string component(relative.substr(0, slash));
    const bool last = slash == std::string_view::npos;
    if (component == ".." || component.empty()) {
      result.problem = BeneathProblem::kEscapes;
      return result;
    }
    const int open_flags =
        last ? flags | O_NOFOLLOW | O_CLOEXEC : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const bool reads = last && (flags & (O_CREAT | O_DIRECTORY)) == 0;
    ScopedFd next = reads ? open_file(at, component.c_str(), open_flags)
                          : ScopedFd(::openat(at, component.c_str(), open_flags, 0600));
    if (!next) {
      result.error = errno;
      struct stat info = {};
      const bool link = ::fstatat(at, component.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                        S_ISLNK(info.st_mode);
      result.problem = link ? BeneathProblem::kSymlink : BeneathProblem::kSystem;
      return result;
    }
    if (last) {
      result.fd = std::move(next);
      return result;
    }
    current = std::move(next);
    at = current.get();
    relative.remove_prefix(slash + 1);
  }
}

ScopedFd open_directory(const std::string& path) {
  ScopedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    throw system_error(errno, "cannot open the directory").in_file(path);
  }
  return fd;
}

struct stat stat_fd(int fd, const std::string& name) {
  struct stat info = {};
  if (::fstat(fd, &info) != 0) {
    throw system_error(errno, "cannot examine").in_file(name);
  }
  return info;
}

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string_view directory_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) {
    return {};
  }
  return slash == 0 ? path.substr(0, 1) : path.substr(0, slash);
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') {
    path += '/';
  }
  return path.append(name);
}

std::string strip_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

std::vector<std::string> list_directory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(path.c_str()), ::closedir);
  if (stream == nullptr) {
    throw system_error(errno, "cannot open the directory").in_file(path);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
    errno = 0;
  }
  if (errno != 0) {
    throw system_error(errno, "cannot list the directory").in_file(path);
  }
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace rrpcp
