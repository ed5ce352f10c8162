#include "bundle/needed_files.h"

#include "base/hex.h"
#include "model/backing_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>

namespace rrpcp {

namespace {

std::string text_of(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

// Parts of the system that every machine has of its own.
bool is_systems_own(const std::string& path) {
  return path.starts_with("/dev/") || path.starts_with("/proc/") || path.starts_with("/sys/");
}

class Collector {
public:
  Collector(schema::State::Reader state, const BackingFiles& files, bool allow_missing,
            NeededFiles& needed)
      : state_(state), files_(files), allow_missing_(allow_missing), needed_(needed) {}

  void run() {
    for (const schema::MemoryObject::Reader object : state_.getMemoryObjects()) {
      if (object.isFile() && needs_file(object)) {
        file(object.getFile(), true);
      }
    }
    for (const schema::OpenFile::Reader open : state_.getOpenFiles()) {
      switch (open.which()) {
      case schema::OpenFile::REGULAR:
        if (open.getContentsObject() == schema::NO_INDEX) {
          file(open.getRegular(), false);
        }
        break;
      case schema::OpenFile::DIRECTORY:
        directory(text_of(open.getDirectory().getPath()));
        break;
      case schema::OpenFile::PATH:
        path(open.getPath());
        break;
      case schema::OpenFile::FIFO:
        needed_.remarks.push_back("a FIFO is not carried: make it where the bundle is restored: " +
                                  text_of(open.getFifo().getPath()));
        break;
      default:
        break;
      }
    }
    for (const schema::FileSystemContext::Reader context : state_.getFileSystemContexts()) {
      directory(text_of(context.getWorkingDirectory()));
      directory(text_of(context.getRootDirectory()));
    }
  }

private:
  static bool needs_file(schema::MemoryObject::Reader object) {
    for (const schema::PageRun::Reader run : object.getRuns()) {
      if (run.getKind() == schema::RunKind::BACKING) {
        return true;
      }
    }
    return object.getRuns().size() == 0;
  }

  void missing(const Error& error) {
    if (!allow_missing_) {
      throw error;
    }
    needed_.remarks.push_back(std::string("not in the bundle: ") +
                              (error.file().empty() ? "" : error.file() + ": ") + error.message());
  }

  void file(schema::FileIdentity::Reader identity, bool content_counts) {
    const std::string name = text_of(identity.getPath());
    if (identity.getPathBase() != schema::PathBase::ABSOLUTE || is_systems_own(name) ||
        identity.getDeleted() || needed_.files.contains(name)) {
      return;
    }
    try {
      const ScopedFd fd = open_identity(identity, files_, O_RDONLY);
      struct stat status;
      if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
        throw Error(ErrorCode::kBackingFile, "this is no regular file").in_file(name);
      }
      if (content_counts) {
        verify_identity(fd.get(), name, identity);
      } else if (static_cast<std::uint64_t>(status.st_size) != identity.getSize()) {
        throw Error(ErrorCode::kBackingFile,
                    "the file has another size than when the checkpoint was made")
            .in_file(name);
      }
      needed_.files[name] = {name, to_hex(identity.getBuildId())};
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kBackingFile) {
        throw;
      }
      missing(error);
    }
  }

  void directory(const std::string& name) {
    if (name.size() > 1 && name[0] == '/' && !is_systems_own(name)) {
      needed_.directories[name] = name;
    }
  }

  void path(schema::FileIdentity::Reader identity) {
    struct stat status;
    const std::string name = text_of(identity.getPath());
    if (::lstat(name.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
      directory(name);
    } else {
      file(identity, false);
    }
  }

  schema::State::Reader state_;
  const BackingFiles& files_;
  bool allow_missing_;
  NeededFiles& needed_;
};

} // namespace

void add_needed_files(schema::State::Reader state, const BackingFiles& files, bool allow_missing,
                      NeededFiles& needed) {
  Collector(state, files, allow_missing, needed).run();
}

} // namespace rrpcp
