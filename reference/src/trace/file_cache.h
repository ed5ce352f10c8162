// What was found out of files that programs consist of, kept for later recordings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct stat;

namespace rrpcp::trace {

// Whether nobody is expected to change the file `path` in place: what packages bring is replaced
// and not rewritten.
bool is_systems(std::string_view path, const struct stat& status);

// A directory of small files that belong to the user alone, for program files that have a build id
// (ld(1)) and have not changed lately. What one says holds for that build id, size, inode and times
// of the last changes, and for the library that wrote it; all else, and what is damaged or could
// have been written by somebody else, is as if it were not there, and is replaced. Nothing here
// throws for what files hold, nor where nothing can be read or kept. Thread-safe; several
// processes may use a directory at a time.
class FileCache {
public:
  // Of a file, by which it is known again. An empty id: it is not.
  struct Key {
    std::vector<std::byte> build_id;
    std::uint64_t device = 0; // as stat(2) has them
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_at = 0; // nanoseconds
    std::int64_t changed_at = 0; // 0: of the system's files, which a recording changes by its links

    explicit operator bool() const { return !build_id.empty(); }
  };
  enum class Kind : std::uint8_t {
    kCode,    // what recording has to know of its code
    kDigests, // of all its contents
    kRanges,  // digests of ranges
  };
  using Words = std::vector<std::uint64_t>;

  // Empty: keeps nothing. The directory is made, for its user alone, when there is something to
  // keep; the one above it, too.
  explicit FileCache(std::string directory);

  Key key(int fd, const struct stat& status) const;
  // What was kept last.
  std::optional<Words> find(const Key& key, Kind kind) const;
  void keep(const Key& key, Kind kind, const Words& words) const;

private:
  std::string path(const Key& key, Kind kind) const;
  Words head(const Key& key, Kind kind) const;

  std::string directory_;
  std::vector<std::byte> own_id_; // of this library
};

} // namespace rrpcp::trace
