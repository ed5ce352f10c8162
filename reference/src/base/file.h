// Reading and writing files at a place, whole small files, directories, and opening that cannot
// leave a directory.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace rrpcp {

// Reads all of `path`. Throws Error: system errors, kLimit for more than `limit` bytes, kSystem for
// anything but a regular file.
std::vector<std::byte> read_file(const std::string& path, std::uint64_t limit);

// Reads exactly out.size() bytes at `offset`; handles short reads and EINTR. Returns the bytes
// read, which are fewer only at the end of the file.
std::size_t read_at(int fd, std::span<std::byte> out, std::uint64_t offset,
                    const std::string& name);

// Reads what the file has before `end`, and zeros for all behind it: what a file had when its
// length was seen, though others may add to it meanwhile. Throws Error(kSystem).
void read_padded(int fd, std::span<std::byte> out, std::uint64_t offset, std::uint64_t end,
                 const std::string& name);

// Writes all of `bytes` at `offset`; handles short writes and EINTR. Throws Error(kSystem) with the
// offset, in a sentence that begins with `what`.
void write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
              const std::string& name, std::string_view what = "cannot write");

// What open_beneath found in the way.
enum class BeneathProblem {
  kNone,
  // A component is "..", or the path is absolute or empty.
  kEscapes,
  // A component is a symbolic link.
  kSymlink,
  // Any other failure: errno tells.
  kSystem,
};

struct BeneathResult {
  ScopedFd fd;
  BeneathProblem problem = BeneathProblem::kNone;
  int error = 0;
};

// Opens `relative` below the open directory without following any symbolic link. `flags` are those
// of open(2); O_CLOEXEC and O_NOFOLLOW are added.
BeneathResult open_beneath(int directory_fd, std::string_view relative, int flags);

// Reads all of a regular file below a directory; errors call it `name`. Throws Error: with the
// diagnostic "legacy.page-symlink" for a symbolic link, else as read_file.
std::vector<std::byte> read_beneath(int directory_fd, std::string_view relative,
                                    const std::string& name, std::uint64_t limit);

// Opens a directory for reading. Throws Error.
ScopedFd open_directory(const std::string& path);

// fstat(2); throws Error.
struct stat stat_fd(int fd, const std::string& name);

// What follows the last slash; all of it where there is none.
std::string_view base_name(std::string_view path);
// What stands before the last slash: empty where there is none, "/" for the root's children.
std::string_view directory_name(std::string_view path);
// "a/b" from "a" and "b".
std::string join_path(std::string_view directory, std::string_view name);
// `path` without slashes at its end, but for "/" itself.
std::string strip_slashes(std::string path);

// Names in a directory but "." and "..", sorted. Throws Error.
std::vector<std::string> list_directory(const std::string& path);

} // namespace rrpcp
