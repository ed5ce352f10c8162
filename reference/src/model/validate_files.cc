// Open files, descriptor tables, monitors, working directories, file identities.
#include "model/state_check.h"

#include <cstring>
#include <string>

namespace rrpcp {

using std::to_string;

namespace {

// Whether a relative path stays below the directory it starts from, by its text alone.
bool stays_inside(std::string_view path) {
  while (!path.empty()) {
    std::size_t end = std::min(path.find('/'), path.size());
    std::string_view part = path.substr(0, end);
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    if (end == path.size()) {
      return true;
    }
    path.remove_prefix(end + 1);
  }
  return false; // empty, or a slash at the end
}

bool is_absolute(capnp::Data::Reader path) {
  return path.size() != 0 && path[0] == '/';
}

} // namespace

void StateCheck::check_file_identity(const Path& path, schema::FileIdentity::Reader file) {
  auto name = file.getPath();
  bool fits = false;
  if (file.getPathBase() == schema::PathBase::TRACE) {
    std::string_view view(reinterpret_cast<const char*>(name.begin()), name.size());
    fits = stays_inside(view);
  } else {
    fits = is_absolute(name);
  }
  if (!fits) {
    findings_.in("file.path", path / "path",
                 file.getPathBase() == schema::PathBase::TRACE
                     ? "it is not a relative path that stays inside the trace"
                     : "it is not an absolute path");
  }
  std::uint64_t previous_end = 0;
  each(path / "digests", file.getDigests(),
       [&](const Path& at, schema::RangeDigest::Reader digest) {
         std::uint64_t end = 0;
         if ((digest.getSha256().size() != 0 && digest.getSha256().size() != 32) ||
             digest.getLength() == 0 || digest.getOffset() < previous_end ||
             __builtin_add_overflow(digest.getOffset(), digest.getLength(), &end) ||
             end > file.getSize()) {
           findings_.in("file.digest", at,
                        to_string(digest.getLength()) + " bytes at " +
                            to_string(digest.getOffset()) + " of " + to_string(file.getSize()));
           return;
         }
         previous_end = end;
       });
}

void StateCheck::check_open_files(const Path& path) {
  each(path, state_.getOpenFiles(),
       [&](const Path& at, schema::OpenFile::Reader file) { check_open_file(at, file); });
}

void StateCheck::check_open_file(const Path& path, schema::OpenFile::Reader file) {
  if (file.getOffset() > INT64_MAX) {
    findings_.in("open-file.offset", path / "offset", to_string(file.getOffset()));
  }
  signal_number(path / "ownerSignal", file.getOwnerSignal(), true);
  each(path / "locks", file.getLocks(), [&](const Path& at, schema::FileLock::Reader lock) {
    if (lock.getStart() > lock.getEnd() || lock.getEnd() > INT64_MAX) {
      findings_.in("open-file.lock", at,
                   to_string(lock.getStart()) + " to " + to_string(lock.getEnd()));
    }
  });
  if (file.getOwnerIsThread() && file.getOwner() <= 0) {
    findings_.in("open-file.owner", path / "owner", "it is no thread");
  }
  const std::uint32_t contents = file.getContentsObject();
  refer(objects_, path / "contentsObject", contents, true);
  if (contents < objects_.size() &&
      (!file.isRegular() || !state_.getMemoryObjects()[contents].isFile() ||
       (state_.getMemoryObjects()[contents].getRuns().size() == 0 &&
        state_.getMemoryObjects()[contents].getLength() != 0))) {
    findings_.in("open-file.contents", path / "contentsObject",
                 "it is no embedded file of a regular file");
  }
  switch (file.which()) {
  case schema::OpenFile::REGULAR:
    check_file_identity(path / "regular", file.getRegular());
    break;
  case schema::OpenFile::DIRECTORY:
    check_file_identity(path / "directory", file.getDirectory());
    break;
  case schema::OpenFile::FIFO:
    check_file_identity(path / "fifo", file.getFifo());
    break;
  case schema::OpenFile::PATH:
    check_file_identity(path / "path", file.getPath());
    break;
  case schema::OpenFile::DEVICE:
    if (!is_absolute(file.getDevice().getPath())) {
      findings_.in("file.path", path / "device" / "path", "it is not an absolute path");
    }
    break;
  case schema::OpenFile::TERMINAL:
    if (!is_absolute(file.getTerminal().getPath())) {
      findings_.in("file.path", path / "terminal" / "path", "it is not an absolute path");
    }
    break;
  case schema::OpenFile::PIPE: {
    auto pipe = file.getPipe();
    if (pipe.getContents().size() > pipe.getCapacity()) {
      findings_.in("open-file.pipe", path / "pipe",
                   to_string(pipe.getContents().size()) + " bytes in a pipe of " +
                       to_string(pipe.getCapacity()));
    }
    break;
  }
  case schema::OpenFile::EPOLL:
    each_pair(path / "epoll" / "watches", file.getEpoll().getWatches(),
              [&](const Path& at, schema::EpollWatch::Reader a, schema::EpollWatch::Reader b) {
                if (a.getFd() > b.getFd()) {
                  findings_.in("open-file.epoll", at,
                               "descriptor " + to_string(b.getFd()) + " after " +
                                   to_string(a.getFd()));
                }
              });
    break;
  case schema::OpenFile::MEMFD: {
    std::uint32_t object = file.getMemfd().getObject();
    refer(objects_, path / "memfd" / "object", object, false);
    if (object < objects_.size() && !state_.getMemoryObjects()[object].isMemfd()) {
      findings_.in("open-file.object", path / "memfd" / "object", "the object is not a memfd");
    }
    break;
  }
  case schema::OpenFile::SIGNALFD:
    check_signal_mask(path / "signalfd" / "mask", file.getSignalfd().getMask());
    break;
  case schema::OpenFile::INOTIFY:
    each_pair(path / "inotify" / "watches", file.getInotify().getWatches(),
              [&](const Path& at, schema::InotifyWatch::Reader a, schema::InotifyWatch::Reader b) {
                if (a.getDescriptor() >= b.getDescriptor()) {
                  findings_.in("open-file.inotify", at,
                               "watch " + to_string(b.getDescriptor()) + " after " +
                                   to_string(a.getDescriptor()));
                }
              });
    break;
  case schema::OpenFile::SOCKET_END:
    check_socket_end(path / "socketEnd", file.getSocketEnd());
    break;
  default:
    break;
  }
}

void StateCheck::check_socket_end(const Path& path, schema::SocketEnd::Reader socket) {
  each(path / "received", socket.getReceived(),
       [&](const Path& at, schema::SocketMessage::Reader message) {
         const Path files = at / "openFiles";
         for (unsigned i = 0; i < message.getOpenFiles().size(); ++i) {
           refer(open_files_, files[i], message.getOpenFiles()[i], false);
         }
       });
  each_pair(path / "options", socket.getOptions(),
            [&](const Path& at, schema::SocketOption::Reader a, schema::SocketOption::Reader b) {
              if (std::pair(a.getLevel(), a.getName()) >= std::pair(b.getLevel(), b.getName())) {
                findings_.in("open-file.socket", at, "it does not come after the one before it");
              }
            });
}

void StateCheck::check_file_tables(const Path& path) {
  each(path, state_.getFileTables(), [&](const Path& at, schema::FileTable::Reader table) {
    auto descriptors = table.getDescriptors();
    each(at / "descriptors", descriptors,
         [&](const Path& entry, schema::FileDescriptor::Reader descriptor) {
           refer(open_files_, entry / "openFile", descriptor.getOpenFile(), false);
         });
    each_pair(
        at / "descriptors", descriptors,
        [&](const Path& entry, schema::FileDescriptor::Reader a, schema::FileDescriptor::Reader b) {
          if (a.getFd() >= b.getFd()) {
            findings_.in("descriptor.order", entry,
                         to_string(b.getFd()) + " after " + to_string(a.getFd()));
          }
        });
    if (table.getContentsUnknown() && descriptors.size() != 0) {
      findings_.in("descriptor.unknown", at / "descriptors",
                   "contentsUnknown says that none is known");
    }
    if (table.hasRr()) {
      check_rr_file_table(at / "rr", table.getRr());
    }
  });
}

void StateCheck::check_file_system_contexts(const Path& path) {
  each(path, state_.getFileSystemContexts(),
       [&](const Path& at, schema::FileSystemContext::Reader context) {
         if (!is_absolute(context.getWorkingDirectory())) {
           findings_.in("context.path", at / "workingDirectory", "it is not an absolute path");
         }
         if (!is_absolute(context.getRootDirectory())) {
           findings_.in("context.path", at / "rootDirectory", "it is not an absolute path");
         }
         if (context.getUmask() > 0777) {
           findings_.in("context.umask", at / "umask", to_string(context.getUmask()));
         }
       });
}

} // namespace rrpcp
