#include "store/pending_checkpoint.h"

#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "store/same_content.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <system_error>
#include <utility>

namespace rrpcp {

namespace {

// PendingFile wants a directory that is there.
const std::string& made(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw system_error(error.value(), "cannot create the directory").in_file(directory);
  }
  return directory;
}

} // namespace

std::string checkpoint_file_name(std::int64_t event, const CheckpointId& id, unsigned copy) {
  char number[32];
  std::snprintf(number, sizeof number, "%020lld", static_cast<long long>(event));
  return std::string(number) + "-" + id.to_string() +
         (copy == 1 ? "" : "-" + std::to_string(copy)) + ".pcp";
}

PendingCheckpoint::PendingCheckpoint(std::string directory)
    : directory_(std::move(directory)), temporary_(directory_ + "/(new checkpoint)"),
      file_(made(directory_)), output_(file_.fd(), temporary_) {}

CheckpointReader PendingCheckpoint::reopen() const {
  ScopedFd again(::fcntl(file_.fd(), F_DUPFD_CLOEXEC, 0));
  if (!again) {
    throw system_error(errno, "cannot read back").in_file(temporary_);
  }
  return CheckpointReader::open_fd(again.release(), temporary_);
}

PublishedCheckpoint
PendingCheckpoint::publish(std::int64_t event, const CheckpointId& id,
                           const std::function<void(const CheckpointReader&)>& verify,
                           const std::function<std::optional<std::string>()>& instead) {
  PublishedCheckpoint result;
  result.id = id;
  result.bytes = output_.offset();
  file_.sync();
  if (verify) {
    verify(reopen());
  }
  ScopedFd turn;
  if (instead) {
    turn.reset(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (turn && ::flock(turn.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
    if (const std::optional<std::string> path = instead()) {
      result.path = *path;
      result.existed = true;
      return result;
    }
  }
  // An id names content, but content can be made that has another's: only a file that holds the
  // same stands for the new one, and a whole one that holds something else is not touched.
  for (unsigned copy = 1;; ++copy) {
    const std::string name = checkpoint_file_name(event, result.id, copy);
    result.path = directory_ + "/" + name;
    if (file_.publish_new(name)) {
      return result;
    }
    switch (compare_content(result.path, reopen())) {
    case ContentComparison::kSame:
      result.existed = true;
      return result;
    case ContentComparison::kUnusable:
      file_.publish_replacing(name);
      return result;
    case ContentComparison::kOther:
      break;
    }
  }
}

} // namespace rrpcp
