// Whether a path of another process still names a file.
#pragma once

#include <string>
#include <sys/stat.h>
#include <sys/types.h>

namespace rrpcp::process {

// The path under which the calling thread finds what the kernel shows it as `path` of process
// `pid`: where both are in one mount namespace, that is the path itself, whatever the root
// directory of the process is (chroot(2)); else it is looked up from the root of the process.
// `status` is that of the file; with `same_device` false its inode alone counts (some file systems
// show another device number in /proc). Empty: it does not name the file. `link`: the file may be
// a symbolic link itself.
std::string find_named_file(pid_t pid, const std::string& path, const struct stat& status,
                            bool same_device, bool link = false);

} // namespace rrpcp::process
