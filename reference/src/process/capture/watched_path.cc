#include "process/capture/watched_path.h"

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <cstring>
#include <fcntl.h>
#include <optional>
#include <set>
#include <string_view>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace rrpcp::process::capture {

namespace {

constexpr unsigned kMinorBits = 20; // linux/kdev_t.h

bool is_watched(const struct stat& status, const FdInotifyWatch& watch) {
  const std::uint64_t device =
      std::uint64_t{major(status.st_dev)} << kMinorBits | minor(status.st_dev);
  return status.st_ino == watch.inode && device == watch.device;
}

// Points where file systems with the device are mounted (proc_pid_mountinfo(5)).
std::vector<std::string> mounts_of(pid_t pid, std::uint64_t device) {
  const std::string content = try_read_file(proc_path(pid, "mountinfo")).value_or("");
  std::string_view text = content;
  std::vector<std::string> points;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    cut_word(line);
    cut_word(line);
    std::string_view number = cut_word(line);
    cut_word(line); // root of the mount within its file system
    const std::string_view point = cut_word(line);
    try {
      const std::uint64_t major_number = parse_number(cut_field(number, ':'), 10, "a device");
      if ((major_number << kMinorBits | parse_number(number, 10, "a device")) == device) {
        points.emplace_back(point);
      }
    } catch (const Error&) {
      // A line that is no mount.
    }
  }
  return points;
}

std::string by_handle(pid_t pid, const FdInotifyWatch& watch) {
  if (watch.handle.empty() || watch.handle.size() > MAX_HANDLE_SZ) {
    return {};
  }
  alignas(file_handle) char room[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* handle = reinterpret_cast<file_handle*>(room);
  handle->handle_bytes = static_cast<unsigned>(watch.handle.size());
  handle->handle_type = watch.handle_type;
  std::memcpy(handle->f_handle, watch.handle.data(), watch.handle.size());
  for (const std::string& point : mounts_of(pid, watch.device)) {
    const ScopedFd mount(::open(point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!mount) {
      continue;
    }
    const ScopedFd file(::open_by_handle_at(mount.get(), handle, O_PATH | O_CLOEXEC));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !is_watched(status, watch)) {
      continue;
    }
    const std::optional<std::string> path =
        try_read_link("/proc/self/fd/" + std::to_string(file.get()));
    struct stat named {};
    if (path && path->starts_with('/') && ::stat(path->c_str(), &named) == 0 &&
        is_watched(named, watch)) {
      return *path;
    }
  }
  return {};
}

} // namespace

std::string find_watched_path(pid_t pid, const FdInotifyWatch& watch,
                              const std::vector<std::string>& likely) {
  if (std::string path = by_handle(pid, watch); !path.empty()) {
    return path;
  }
  std::set<std::string> tried;
  for (std::string path : likely) {
    while (path.starts_with('/') && tried.insert(path).second) {
      struct stat status {};
      if (::stat(path.c_str(), &status) == 0 && is_watched(status, watch)) {
        return path;
      }
      path.resize(path.rfind('/'));
      if (path.empty()) {
        path = "/";
      }
    }
  }
  return {};
}

} // namespace rrpcp::process::capture
