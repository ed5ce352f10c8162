// A file outside of the checkpoint that holds some of its pages.
#pragma once

#include "base/scoped_fd.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/schema/memory.capnp.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <sys/stat.h>

namespace rrpcp {

// Path under which a file identity is to be opened. Throws Error(kBackingFile) for a path that is
// empty, has a NUL byte, leaves the trace or needs a trace directory that was not given.
std::string resolve_path(schema::FileIdentity::Reader identity, const BackingFiles& files);

// Opens the file without leaving the trace directory, neither by ".." nor through a symbolic link,
// where the path is relative to it. What is neither a regular file nor a directory, nor of type
// `also`, is only looked at (open_file()). Throws Error(kBackingFile).
ScopedFd open_identity(schema::FileIdentity::Reader identity, const BackingFiles& files, int flags,
                       mode_t also = S_IFREG);

// Compares an open file with what it was: every stored digest, and the size. Throws
// Error(kBackingFile) naming `path` and what differs.
void verify_identity(int fd, const std::string& path, schema::FileIdentity::Reader identity);

// What is wrong with a file that should be as it was.
struct FileProblem {
  enum class Kind { kMissing, kSize, kContent } kind;
  // Names the file.
  std::string message;
};

// Opens the file and compares it with what it was. Nothing: it is the same.
std::optional<FileProblem> find_problem(schema::FileIdentity::Reader identity,
                                        const BackingFiles& files);

// An open and verified backing file. One thread at a time.
class BackingFile {
public:
  // Opens and, if `files` says so, verifies it.
  BackingFile(schema::FileIdentity::Reader identity, const BackingFiles& files);

  // Reads at `offset`; bytes beyond the end of the file are zero, as in a mapping's last page.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

  int fd() const { return file_.get(); }
  const std::string& path() const { return path_; }

private:
  std::string path_;
  ScopedFd file_;
};

} // namespace rrpcp
