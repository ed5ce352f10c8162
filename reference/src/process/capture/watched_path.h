// Where in the tree of files that lies which inotify(7) watches: the kernel tells an inode.
#pragma once

#include "process/proc_fdinfo.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

// Finds a path of what process `pid` watches: by its file handle (open_by_handle_at(2), which needs
// CAP_DAC_READ_SEARCH), else among `likely` paths and the directories above them. Empty: not found.
std::string find_watched_path(pid_t pid, const FdInotifyWatch& watch,
                              const std::vector<std::string>& likely);

} // namespace rrpcp::process::capture
