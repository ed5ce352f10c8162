#include "replay/engine/mapped_files.h"

#include <sys/stat.h>
#include <utility>

namespace rrpcp::replay {

MappedFile* MappedFiles::find(const struct stat& status) {
  const auto found = files_.find({status.st_dev, status.st_ino});
  return found != files_.end() ? &found->second : nullptr;
}

MappedFile* MappedFiles::find(const process::ProcMapping& mapping) {
  for (auto& [id, file] : files_) {
    if (file.object && file.is_mapped_by(mapping)) {
      return &file;
    }
  }
  return nullptr;
}

MappedFile* MappedFiles::find_as_memory(const process::ProcMapping& mapping) {
  for (auto& [id, file] : files_) {
    if (file.as_memory && !file.object && file.is_mapped_by(mapping)) {
      return &file;
    }
  }
  return nullptr;
}

MappedFile& MappedFiles::add(const struct stat& status, const process::ProcMapping& mapping) {
  MappedFile& file = files_[{status.st_dev, status.st_ino}];
  file.device = mapping.device;
  file.inode = mapping.inode;
  if (file.path.empty()) {
    file.path = process::without_deleted(mapping.name);
  }
  return file;
}

void MappedFiles::make_object(MappedFile& file, ScopedFd handle) {
  file.object = ++last_object_;
  file.handle = std::move(handle);
}

void MappedFiles::visit_objects(const std::function<void(MappedFile&)>& visit) {
  for (auto& [id, file] : files_) {
    if (file.object) {
      visit(file);
    }
  }
}

void MappedFiles::forget(const struct stat& status) {
  files_.erase({status.st_dev, status.st_ino});
}

} // namespace rrpcp::replay
