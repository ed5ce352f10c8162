#include "legacy/page_file.h"

#include "base/file.h"
#include "rrpcp/error.h"

#include <fcntl.h>

namespace rrpcp::compat {

PageFile::PageFile(const LegacyCheckpoint::Impl& legacy, std::uint32_t space,
                   std::uint32_t mapping) {
  const LegacyPageFile& file = legacy.page_files[space][mapping];
  path_ = file.path;
  const ScopedFd directory = open_directory(legacy.entry.page_directory);
  BeneathResult opened = open_beneath(directory.get(), file.name, O_RDONLY | O_NONBLOCK);
  if (opened.problem == BeneathProblem::kSystem) {
    throw system_error(opened.error, "cannot open the page file").in_file(path_);
  }
  if (opened.problem != BeneathProblem::kNone) {
    throw Error(ErrorCode::kDamaged, "the page file is not a file of the checkpoint any more")
        .in_file(path_);
  }
  fd_ = std::move(opened.fd);
  const struct stat info = stat_fd(fd_.get(), path_);
  const auto in = legacy.message.root()
                      .getCloneCompletion()
                      .getAddressSpaces()[space]
                      .getProcessSpace()
                      .getVirtualAddressSpace()[mapping];
  size_ = in.getEnd() - in.getStart();
  if (!S_ISREG(info.st_mode) || static_cast<std::uint64_t>(info.st_size) != size_) {
    throw Error(ErrorCode::kDamaged, "the page file changed since it was looked at").in_file(path_);
  }
}

void PageFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (read_at(fd_.get(), out, offset, path_) != out.size()) {
    throw Error(ErrorCode::kDamaged, "the page file became shorter while it was read")
        .in_file(path_)
        .at(offset);
  }
}

} // namespace rrpcp::compat
