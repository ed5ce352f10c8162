#include "model/backing_file.h"

#include "base/hash.h"
#include "base/open_file.h"
#include "base/sha256.h"
#include "base/sparse_read.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {

namespace {

std::string path_text(schema::FileIdentity::Reader identity) {
  auto bytes = identity.getPath();
  std::string path(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw Error(ErrorCode::kBackingFile, "the path of a backing file is empty or has a NUL byte");
  }
  return path;
}

bool has_dot_dot(const std::string& path) {
  return ("/" + path + "/").find("/../") != std::string::npos;
}

Error missing(int errno_value, const std::string& path) {
  return Error(ErrorCode::kBackingFile, "cannot open the backing file")
      .with_errno(errno_value)
      .in_file(path)
      .with_hint("put back the file that was there when the checkpoint was made");
}

} // namespace

std::string resolve_path(schema::FileIdentity::Reader identity, const BackingFiles& files) {
  std::string path = path_text(identity);
  switch (identity.getPathBase()) {
  case schema::PathBase::ABSOLUTE:
    if (path[0] != '/') {
      throw Error(ErrorCode::kBackingFile, "the path '" + path + "' should be absolute");
    }
    return path;
  case schema::PathBase::TRACE:
    if (path[0] == '/' || has_dot_dot(path)) {
      throw Error(ErrorCode::kBackingFile, "the path '" + path + "' leaves the trace directory");
    }
    if (files.trace_directory.empty()) {
      throw Error(ErrorCode::kBackingFile,
                  "the backing file '" + path + "' lies in the trace, whose directory is not given")
          .with_hint("name the trace directory (--trace DIR)");
    }
    return files.trace_directory + "/" + path;
  }
  throw Error(ErrorCode::kUnsupportedFeature, "the base of a backing file's path is not known");
}

ScopedFd open_identity(schema::FileIdentity::Reader identity, const BackingFiles& files, int flags,
                       mode_t also) {
  std::string path = resolve_path(identity, files);
  flags |= O_CLOEXEC | O_NOCTTY;
  if (identity.getPathBase() == schema::PathBase::ABSOLUTE) {
    ScopedFd file = open_file(path.c_str(), flags, also);
    if (!file) {
      throw missing(errno, path);
    }
    return file;
  }
  ScopedFd directory(::open(files.trace_directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    throw missing(errno, files.trace_directory);
  }
  open_how how{};
  how.flags = static_cast<std::uint64_t>(O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW));
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  std::string relative = path_text(identity);
  ScopedFd file(static_cast<int>(
      ::syscall(SYS_openat2, directory.get(), relative.c_str(), &how, sizeof how)));
  if (!file && errno == EXDEV) {
    throw Error(ErrorCode::kBackingFile, "a symbolic link of the path leaves the trace directory")
        .in_file(path);
  }
  if (file) {
    // Looked at before it is opened, as above.
    file = open_file(("/proc/self/fd/" + std::to_string(file.get())).c_str(), flags & ~O_NOFOLLOW,
                     also);
  }
  if (!file) {
    throw missing(errno, path);
  }
  return file;
}

void verify_identity(int fd, const std::string& path, schema::FileIdentity::Reader identity) {
  auto changed = [&](const std::string& what) {
    return Error(ErrorCode::kBackingFile, "the file changed since the checkpoint was made: " + what)
        .in_file(path)
        .with_hint("put back the file that was there when the checkpoint was made");
  };
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw missing(errno, path);
  }
  if (!S_ISREG(status.st_mode)) {
    throw changed("it is no regular file any more");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size != identity.getSize()) {
    throw changed("it has " + std::to_string(size) + " bytes instead of " +
                  std::to_string(identity.getSize()));
  }
  std::vector<std::byte> buffer;
  for (schema::RangeDigest::Reader range : identity.getDigests()) {
    Xxh3Stream128 stream;
    Sha256Stream strong;
    const capnp::Data::Reader sha256 = range.getSha256();
    std::uint64_t got = 0;
    try {
      got = read_sparse(fd, range.getOffset(), range.getLength(), buffer,
                        [&](std::span<const std::byte> piece) {
                          stream.update(piece);
                          if (sha256.size() != 0) {
                            strong.update(piece);
                          }
                        });
    } catch (const Error& error) {
      throw missing(error.errno_value(), path);
    }
    if (got != range.getLength()) {
      throw changed("it became shorter");
    }
    // Contents with an equal XXH3 can be forged; SHA-256 is there where that matters.
    const bool same_strong = sha256.size() == 0 || std::ranges::equal(sha256, strong.digest());
    if (stream.digest() != Digest128{range.getLow(), range.getHigh()} || !same_strong) {
      throw changed("the content of bytes " + std::to_string(range.getOffset()) + " to " +
                    std::to_string(range.getOffset() + range.getLength()) + " differs");
    }
  }
}

std::optional<FileProblem> find_problem(schema::FileIdentity::Reader identity,
                                        const BackingFiles& files) {
  using Kind = FileProblem::Kind;
  try {
    const std::string path = resolve_path(identity, files);
    const ScopedFd fd = open_identity(identity, files, O_RDONLY);
    struct stat status = {};
    if (::fstat(fd.get(), &status) != 0) {
      throw missing(errno, path);
    }
    if (static_cast<std::uint64_t>(status.st_size) != identity.getSize()) {
      return FileProblem{Kind::kSize, "'" + path + "' has " + std::to_string(status.st_size) +
                                          " bytes instead of " +
                                          std::to_string(identity.getSize())};
    }
    try {
      verify_identity(fd.get(), path, identity);
    } catch (const Error& error) {
      return FileProblem{Kind::kContent, error.what()};
    }
  } catch (const Error& error) {
    return FileProblem{Kind::kMissing, error.what()};
  }
  return std::nullopt;
}

BackingFile::BackingFile(schema::FileIdentity::Reader identity, const BackingFiles& files)
    : path_(resolve_path(identity, files)), file_(open_identity(identity, files, O_RDONLY)) {
  if (files.verify_digests) {
    verify_identity(file_.get(), path_, identity);
  }
}

void BackingFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    ssize_t n = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw missing(errno, path_);
    }
    if (n == 0) {
      std::fill(out.begin(), out.end(), std::byte{0});
      return;
    }
    offset += static_cast<std::uint64_t>(n);
    out = out.subspan(static_cast<std::size_t>(n));
  }
}

} // namespace rrpcp
