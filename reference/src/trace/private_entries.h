// What a trace is made of belongs to its user alone: it holds all that a program saw.
#pragma once

#include "base/scoped_fd.h"

#include <string>

namespace rrpcp::trace {

// Makes the directory `path` with mode 0700, whatever the umask. False where something of that name
// exists already. Throws Error.
bool make_private_directory(const std::string& path);
// Opens the directory `path`, which must not be a symbolic link: what is written into a trace must
// not go elsewhere. Throws Error.
ScopedFd open_real_directory(const std::string& path);
// Makes the file `path` with mode 0600, whatever the umask, and opens it for reading and writing.
// It must not exist, nor be a link. Throws Error.
ScopedFd create_private_file(const std::string& path);

} // namespace rrpcp::trace
