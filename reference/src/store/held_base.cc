#include "store/held_base.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <sys/file.h>
#include <sys/stat.h>

namespace rrpcp {

namespace {

std::unique_ptr<const CheckpointReader> open_held(const std::string& path) {
  auto reader = std::make_unique<const CheckpointReader>(CheckpointReader::open(path));
  // Where the file system has no locks, nothing is removed under one either.
  while (::flock(reader->fd(), LOCK_SH) != 0 && errno == EINTR) {
  }
  struct stat status;
  if (::fstat(reader->fd(), &status) != 0 || status.st_nlink == 0) {
    throw Error(ErrorCode::kNotFound, "the checkpoint was just removed").in_file(path);
  }
  return reader;
}

} // namespace

HeldBase::HeldBase(const std::string& path) : reader_(open_held(path)), memory_(*reader_) {}

} // namespace rrpcp
