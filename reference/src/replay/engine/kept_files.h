// Files of the recording machine that a trace keeps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <sys/stat.h>
#include <tuple>

namespace rrpcp::replay {

// Keeps files in the directory "files" of a trace, each state of a file once. One thread at a time.
class KeptFiles {
public:
  explicit KeptFiles(std::string trace_directory) : directory_(std::move(trace_directory)) {}

  // Keeps the open regular file `fd`, which people know as `path`, and returns the path of the copy
  // relative to the trace directory. The copy has the original's size, time of modification and
  // mode. Throws Error.
  std::string keep(int fd, const std::string& path);

private:
  // Device, inode, size, time of modification in nanoseconds.
  using Identity = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, std::int64_t>;

  std::string directory_;
  std::map<Identity, std::string> kept_;
};

} // namespace rrpcp::replay
