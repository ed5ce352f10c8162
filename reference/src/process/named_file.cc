#include "process/named_file.h"

#include "process/proc_file.h"

namespace rrpcp::process {

namespace {

bool in_same_mount_namespace(pid_t pid) {
  struct stat own {};
  struct stat theirs {};
  return ::stat("/proc/thread-self/ns/mnt", &own) != 0 ||
         ::stat(proc_path(pid, "ns/mnt").c_str(), &theirs) != 0 || own.st_ino == theirs.st_ino;
}

} // namespace

std::string find_named_file(pid_t pid, const std::string& path, const struct stat& status,
                            bool same_device, bool link) {
  if (!path.starts_with('/')) {
    return {};
  }
  const std::string place = in_same_mount_namespace(pid) ? path : proc_path(pid, "root") + path;
  struct stat named {};
  auto same = [&] {
    return named.st_ino == status.st_ino && (!same_device || named.st_dev == status.st_dev);
  };
  if ((::stat(place.c_str(), &named) == 0 && same()) ||
      (link && ::lstat(place.c_str(), &named) == 0 && same())) {
    return place;
  }
  return {};
}

} // namespace rrpcp::process
