#include "process/restore/file_identity.h"

#include "base/hex.h"
#include "model/backing_file.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <sys/stat.h>

namespace rrpcp::process::restore {

std::string text_of(capnp::Data::Reader bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

Error naming_build_id(const Error& error, schema::FileIdentity::Reader identity) {
  if (identity.getBuildId().size() == 0) {
    return error;
  }
  return Error(error.code(), error.message() + " (wanted: the file with build id " +
                                 to_hex(identity.getBuildId()) + ")")
      .in_file(error.file())
      .with_errno(error.errno_value())
      .with_hint(error.hint());
}

void check_identity(int fd, const std::string& path, schema::FileIdentity::Reader identity,
                    bool verify_digests) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(path);
  }
  const std::int64_t modified_at =
      std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  const bool same_time = modified_at == identity.getModifiedAt();
  const bool same_size = static_cast<std::uint64_t>(status.st_size) == identity.getSize();
  const bool has_digests = identity.getDigests().size() != 0;
  if (S_ISREG(status.st_mode) && same_size && same_time && !(verify_digests && has_digests)) {
    return;
  }
  try {
    verify_identity(fd, path, identity);
    if (!same_time && !has_digests) {
      throw Error(ErrorCode::kBackingFile, "the file changed since the checkpoint was made: it was "
                                           "modified at another time")
          .in_file(path)
          .with_hint("put back the file that was there when the checkpoint was made");
    }
  } catch (const Error& error) {
    throw naming_build_id(error, identity);
  }
}

ScopedFd reopen(int fd, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  ScopedFd file(::open(path.c_str(), flags | O_CLOEXEC));
  if (!file) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  return file;
}

} // namespace rrpcp::process::restore
