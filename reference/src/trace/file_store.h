// The files that a trace keeps: programs, libraries and whatever else was mapped.
#pragma once

#include "base/background.h"
#include "base/scoped_fd.h"
#include "base/sha256.h"
#include "rrpcp/trace/trace_writer.h"
#include "trace/file_cache.h"
#include "trace/stand_ins.h"

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct stat;

namespace rrpcp::trace {

// What the name of a file that is just being kept begins with.
inline constexpr std::string_view kTakingPrefix = ".taking-";

// A kept file.
struct KeptFile {
  // Number of its record in the trace.
  std::uint32_t number = 0;
  // Relative to the trace directory: "files/<digest>-<name>".
  std::string path;
};

// Puts files into the folder "files" of a trace that is being written, each content once, and
// records them. A file is reflinked where the file system can; else linked where nobody is expected
// to change it in place (it lies in a folder of the system, belongs to root, and neither group nor
// others may write to it: what packages bring is replaced and not rewritten); else copied. One
// thread at a time.
class TraceFileStore {
public:
  // Who digests linked files meanwhile, but for those of which the cache knows the digests: records
  // have stand-ins then, which whoever writes chunks has to replace in the thread of `background`,
  // and what fails comes by `expect`. All of it outlives the store.
  struct Elsewhere {
    Background* background = nullptr;
    StandIns* stand_ins = nullptr;
    std::function<void(std::future<void>)> expect;
    const FileCache* cache = nullptr; // of digests, where there is one
  };

  // `writer` must outlive the store. Throws Error.
  explicit TraceFileStore(TraceWriter& writer) : TraceFileStore(writer, Elsewhere()) {}
  TraceFileStore(TraceWriter& writer, Elsewhere elsewhere);

  // Keeps what the regular file `fd` (open for reading) has at this moment; `path` is what the
  // program calls it. A file that was kept before and has not changed is kept once; one that has
  // changed, again. `may_change` is true where tasks may write to the file themselves (a writable
  // shared mapping): it is never linked then. The reference is valid until the next call.
  // Throws Error (kNoSpace, kSystem, …).
  const KeptFile& keep(int fd, std::string_view path, bool may_change = false);

private:
  struct Seen {
    std::int64_t size = 0;
    std::int64_t modified_at = 0;
    std::int64_t changed_at = 0;
    Sha256Digest digest{};
    bool linked = false;
    KeptFile kept;
  };

  // Makes a link to `fd` in the folder; false where that cannot be.
  bool link_to(int fd, const std::string& name) const;
  // Puts a private file with the contents of `fd` into the folder and returns its name.
  std::string take(int fd, const struct stat& status, bool may_link, schema::TraceFile::Way& way);

  // The name under which the folder is to have the file `fd`: a free one, or that of a file with
  // the same contents. One with other contents, whoever made it, is not touched.
  static std::string name_for(int folder, const std::string& shown, int fd,
                              const Sha256Digest& digest, const std::string& base);
  // Gives `taken` the name that it is to have, and returns that.
  static std::string settle(int folder, const std::string& shown, const std::string& taken, int fd,
                            const Sha256Digest& digest, const std::string& base);
  void digest_elsewhere(const std::string& taken, int fd, const StandIns::Mark& mark,
                        const std::string& base, const FileCache::Key& key);

  TraceWriter& writer_;
  const Elsewhere elsewhere_;
  bool reflinks_ = true; // as far as is known
  std::string folder_;
  ScopedFd folder_fd_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Seen> seen_; // by device and inode
};

// Of everything in an open file. Throws Error naming `name`.
FileDigests digest_file(int fd, const std::string& name);

// Copies the contents of `from` to the empty file `to`, leaving holes where the original has some.
// Throws Error naming `name`.
void copy_file_contents(int from, int to, const std::string& name);

} // namespace rrpcp::trace
