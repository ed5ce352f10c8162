// Checking and unpacking a bundle.

#include "base/scoped_fd.h"
#include "base/sha256.h"
#include "bundle/archive_reader.h"
#include "rrpcp/validate.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <set>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp {

namespace {

void write_all(int fd, std::span<const std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw system_error(errno, "cannot write").in_file(name);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

ScopedFd temporary_file() {
  const char* directory = ::getenv("TMPDIR");
  ScopedFd fd(
      ::open(directory != nullptr ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) {
    throw system_error(errno, "cannot make a temporary file")
        .with_hint("name a directory with room in TMPDIR");
  }
  return fd;
}

BundleReport check(ArchiveReader& archive, bool validate) {
  BundleReport report = archive.report();
  ScopedFd copy;
  archive.read(
      [&](const BundleEntry& entry) -> ArchiveReader::Sink {
        if (entry.kind != BundleKind::kCheckpoint || !validate) {
          return nullptr;
        }
        copy = temporary_file();
        return [&](std::span<const std::byte> bytes) {
          write_all(copy.get(), bytes, "temporary file");
        };
      },
      [&](const BundleEntry& entry) {
        if (!copy) {
          return;
        }
        const ValidationReport result =
            validate_file("/proc/self/fd/" + std::to_string(copy.get()));
        if (!result.valid()) {
          const auto worst =
              std::find_if(result.findings.begin(), result.findings.end(),
                           [](const Finding& f) { return f.severity == Severity::kError; });
          report.invalid.push_back(entry.name + ": " +
                                   (worst != result.findings.end() ? worst->message : "invalid"));
        }
        copy.reset();
      });
  return report;
}

// A directory below which things are written. Symbolic links in it are followed as if it were the
// root of the file system, or not at all.
class Tree {
public:
  Tree(const std::string& path, bool follow)
      : path_(path), resolve_(follow ? RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
                                     : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS),
        root_(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!root_) {
      throw system_error(errno, "cannot open the directory").in_file(path);
    }
  }

  // The directory that `name` (relative) lies in; empty where it is not there and is not made.
  ScopedFd parent(const std::string& name, bool make) const {
    const std::size_t slash = name.rfind('/');
    return slash == std::string::npos ? directory("", make)
                                      : directory(name.substr(0, slash), make);
  }

  ScopedFd directory(const std::string& name, bool make) const {
    ScopedFd fd = open_at(name.empty() ? "." : name);
    if (fd || errno != ENOENT || !make) {
      if (!fd && errno != ENOENT) {
        throw blocked(name);
      }
      return fd;
    }
    const ScopedFd above = parent(name, true);
    const std::string last = name.substr(name.rfind('/') + 1);
    if (::mkdirat(above.get(), last.c_str(), 0755) != 0 && errno != EEXIST) {
      throw system_error(errno, "cannot make the directory").in_file(path_ + "/" + name);
    }
    fd = open_at(name);
    if (!fd) {
      throw blocked(name);
    }
    return fd;
  }

  const std::string& path() const { return path_; }

private:
  ScopedFd open_at(const std::string& name) const {
    open_how how{};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = resolve_;
    return ScopedFd(
        static_cast<int>(::syscall(SYS_openat2, root_.get(), name.c_str(), &how, sizeof how)));
  }

  Error blocked(const std::string& name) const {
    const std::string shown = path_ + "/" + name;
    if (errno == ELOOP || errno == ENOTDIR || errno == EXDEV) {
      return Error(ErrorCode::kExists, "something that is no directory is in the way")
          .in_file(shown);
    }
    return system_error(errno, "cannot open the directory").in_file(shown);
  }

  std::string path_;
  std::uint64_t resolve_;
  ScopedFd root_;
};

class Extractor {
public:
  Extractor(const std::string& bundle, const std::string& directory,
            const BundleExtractOptions& options)
      : bundle_(bundle), options_(options) {
    if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
      throw system_error(errno, "cannot make the directory").in_file(directory);
    }
    tree_ = std::make_unique<Tree>(directory, false);
    if (!options.root.empty()) {
      root_ = std::make_unique<Tree>(options.root, true);
    }
  }

  BundleExtractResult run() {
    ArchiveReader first(bundle_, options_.limits);
    BundleReport report = check(first, false);
    result_.remarks = std::move(report.remarks);
    for (const BundleEntry& entry : report.entries) {
      look(entry);
    }
    ArchiveReader second(bundle_, options_.limits);
    ScopedFd fd;
    ScopedFd parent;
    second.read(
        [&](const BundleEntry& entry) -> ArchiveReader::Sink {
          fd.reset();
          if (there_.contains(entry.name)) {
            ++result_.kept;
            note_checkpoint(entry);
            return nullptr;
          }
          const auto [tree, name] = place(entry);
          if (entry.kind == BundleKind::kDirectory) {
            make_directory(*tree, name, entry);
            return nullptr;
          }
          parent = tree->parent(name, true);
          const std::string last = name.substr(name.rfind('/') + 1);
          fd.reset(::openat(parent.get(), last.c_str(),
                            O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
          if (!fd) {
            throw system_error(errno, "cannot make the file").in_file(tree->path() + "/" + name);
          }
          return [&fd, name = name](std::span<const std::byte> bytes) {
            write_all(fd.get(), bytes, name);
          };
        },
        [&](const BundleEntry& entry) {
          if (!fd) {
            return;
          }
          const timespec times[2] = {{0, UTIME_NOW},
                                     {entry.modified / kSecond, entry.modified % kSecond}};
          if (::fchmod(fd.get(), entry.mode & 0777) != 0 || ::futimens(fd.get(), times) != 0) {
            throw system_error(errno, "cannot set mode and time").in_file(entry.name);
          }
          fd.reset();
          ++result_.written;
          note_checkpoint(entry);
        });
    return std::move(result_);
  }

private:
  bool goes_to_root(const BundleEntry& entry) const {
    return root_ != nullptr && entry.kind != BundleKind::kCheckpoint &&
           entry.kind != BundleKind::kTrace;
  }

  // Where an entry goes: the tree, and the name in it.
  std::pair<const Tree*, std::string> place(const BundleEntry& entry) const {
    if (goes_to_root(entry)) {
      return {root_.get(), entry.path().substr(1)};
    }
    switch (entry.kind) {
    case BundleKind::kCheckpoint:
      return {tree_.get(), "checkpoints/" + entry.path()};
    case BundleKind::kTrace:
      return {tree_.get(), "traces/" + entry.path()};
    default:
      return {tree_.get(), "root" + entry.path()};
    }
  }

  void note_checkpoint(const BundleEntry& entry) {
    if (entry.kind == BundleKind::kCheckpoint) {
      result_.checkpoints.push_back(tree_->path() + "/checkpoints/" + entry.path());
    }
  }

  // What is there already must be the same.
  void look(const BundleEntry& entry) {
    const auto [tree, name] = place(entry);
    const ScopedFd parent = tree->parent(name, false);
    if (!parent) {
      return;
    }
    const std::string last = name.substr(name.rfind('/') + 1);
    struct stat status;
    if (::fstatat(parent.get(), last.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      return;
    }
    const std::string shown = tree->path() + "/" + name;
    if (entry.kind == BundleKind::kDirectory) {
      if (!tree->directory(name, false)) {
        throw Error(ErrorCode::kExists, "something that is no directory is in the way")
            .in_file(shown);
      }
      there_.insert(entry.name);
      return;
    }
    if (!S_ISREG(status.st_mode) || !same_content(parent.get(), last, entry)) {
      throw Error(ErrorCode::kExists, "there is something else of this name already")
          .in_file(shown)
          .with_hint("nothing was extracted; use another directory, or another root");
    }
    there_.insert(entry.name);
  }

  static bool same_content(int parent, const std::string& name, const BundleEntry& entry) {
    const ScopedFd fd(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status;
    if (!fd || ::fstat(fd.get(), &status) != 0 ||
        static_cast<std::uint64_t>(status.st_size) != entry.size) {
      return false;
    }
    Sha256Stream hash;
    std::vector<std::byte> block(256 << 10);
    while (true) {
      const ssize_t n = ::read(fd.get(), block.data(), block.size());
      if (n <= 0) {
        return n == 0 && hash.digest() == entry.sha256;
      }
      hash.update(std::span(block).first(static_cast<std::size_t>(n)));
    }
  }

  static void make_directory(const Tree& tree, const std::string& name, const BundleEntry& entry) {
    const bool fresh = !tree.directory(name, false);
    const ScopedFd fd = tree.directory(name, true);
    if (fresh) {
      // Through /proc: the descriptor itself is for looking only.
      static_cast<void>(
          ::chmod(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), entry.mode & 0777) == 0);
    }
  }

  const std::string& bundle_;
  const BundleExtractOptions& options_;
  std::unique_ptr<Tree> tree_;
  std::unique_ptr<Tree> root_;
  std::set<std::string> there_; // entries that need not be written
  BundleExtractResult result_;
};

} // namespace

BundleReport check_bundle(const std::string& path, const BundleLimits& limits) {
  ArchiveReader archive(path, limits);
  return check(archive, true);
}

BundleReport check_bundle(std::span<const std::byte> bytes, const std::string& name,
                          const BundleLimits& limits) {
  ArchiveReader archive(bytes, name, limits);
  return check(archive, false);
}

BundleExtractResult extract_bundle(const std::string& path, const std::string& directory,
                                   const BundleExtractOptions& options) {
  return Extractor(path, directory, options).run();
}

} // namespace rrpcp
