// Files that a checkpoint refers to: are they still what they were?
#pragma once

#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/schema/memory.capnp.h"

#include <string>

namespace rrpcp::process::restore {

// The bytes as a string.
std::string text_of(capnp::Data::Reader bytes);

// The error, naming the build id of the file that is wanted where it has one.
Error naming_build_id(const Error& error, schema::FileIdentity::Reader identity);

// Compares an open file with its identity: its size, and its content where there are digests and
// `verify_digests` is set or the time of modification differs. Where nothing is known of the
// content, the time of modification decides. Throws Error(kBackingFile) naming `path`, what differs
// and the wanted build id.
void check_identity(int fd, const std::string& path, schema::FileIdentity::Reader identity,
                    bool verify_digests);

// Opens what descriptor `fd` of this process refers to once more, with an offset and flags of its
// own. Throws Error.
ScopedFd reopen(int fd, int flags);

} // namespace rrpcp::process::restore
