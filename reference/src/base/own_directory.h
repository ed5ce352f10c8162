// Directories that nobody else leads us to.
#pragma once

#include "base/scoped_fd.h"

#include <string>

namespace rrpcp {

// Opens a directory to make files in. On the way no symbolic link is followed that somebody else
// has put into a directory that everybody may write to and that is sticky, like /tmp: what is
// written would be where he wants it (the kernel's own rule, fs.protected_symlinks in proc(5), may
// be switched off). Links of the directory's owner and our own are followed. Throws Error.
ScopedFd open_own_directory(const std::string& path);

} // namespace rrpcp
