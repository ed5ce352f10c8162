// Descriptor tables and open files of the processes that are captured.
#pragma once

#include "base/scoped_fd.h"
#include "process/capture/local_socket.h"
#include "process/capture/memory_objects.h"
#include "process/capture/refusals.h"
#include "process/proc_fdinfo.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <tuple>
#include <utility>
#include <vector>

namespace rrpcp::process::capture {

// Collects the descriptors of stopped processes. Descriptors that share an open file description
// (dup(2), fork(2)) are found with kcmp(2), within a table and across tables. Everything is read
// from outside and nothing is consumed: the unread bytes of a pipe are copied with tee(2).
class OpenFileTable {
public:
  // Contents of files without a name are stored up to `most_unlinked` bytes in all.
  OpenFileTable(Refusals& refusals, ObjectTable& objects, std::uint64_t most_unlinked)
      : refusals_(refusals), objects_(objects), left_for_unlinked_(most_unlinked) {}

  // Adds the descriptor table of thread `tid` and returns its index. Throws Error.
  std::uint32_t add_table(pid_t tid);
  // Decides, when all tables are there, which pipes lead out of the checkpoint, and refuses what
  // cannot be carried.
  void finish();
  // Calls `visit` with every number of an object that open files refer to, in their order.
  void visit_objects(const std::function<void(std::uint32_t&)>& visit);
  // Sets State.openFiles and State.fileTables.
  void build(schema::State::Builder state) const;

private:
  enum class Kind {
    kRegular,
    kDirectory,
    kDevice,
    kTerminal,
    kPipe,
    kSocket,
    kEventfd,
    kEpoll,
    kMemfd,
    kFifo,
    kPath,
    kTimerfd,
    kSignalfd,
    kInotify,
    kPidfd,
    kOther,
  };

  // What a terminal's own calls tell (ioctl_tty(2)).
  struct Terminal {
    std::string attributes;
    std::uint16_t rows = 0;
    std::uint16_t columns = 0;
    std::uint16_t x_pixels = 0;
    std::uint16_t y_pixels = 0;
  };

  // An open file description, by the first descriptor that referred to it.
  struct OpenFile {
    pid_t tid = 0;
    int fd = 0;
    Kind kind = Kind::kOther;
    FdInfo info;
    struct stat status {};
    // Where /proc/PID/fd/N points, without " (deleted)".
    std::string target;
    bool deleted = false;
    std::string description; // of a socket; of another file, what its path does not tell
    std::optional<LocalSocket> socket;
    std::optional<Terminal> terminal;
    std::vector<std::string> watched; // of an inotify: a path for each watch
    std::uint64_t unread_events = 0;  // of an inotify, bytes
    bool in_checkpoint = false;       // of a pidfd
    std::int32_t owner = 0;
    bool owner_is_thread = false;
    std::uint32_t owner_uid = 0;
    std::uint32_t owner_effective_uid = 0;
    std::int32_t owner_signal = 0;
    std::uint32_t object = schema::NO_INDEX; // of a memfd, or the contents of an unlinked file
    std::uint64_t capacity = 0;
    std::string contents;
    bool external = false; // a pipe that leads out
    bool other_end_closed = false;
  };

  struct Descriptor {
    int fd;
    bool close_on_exec;
    std::uint32_t file;
  };

  OpenFile examine(pid_t tid, int fd, FdInfo info);
  void classify(OpenFile& file);
  void examine_pipe(OpenFile& file, int end);
  void examine_socket(OpenFile& file, int socket);
  void examine_terminal(OpenFile& file);
  void examine_inotify(OpenFile& file, int inotify);
  void examine_pidfd(OpenFile& file);
  void examine_unlinked(OpenFile& file);
  // A kind of file without a path, by where /proc/PID/fd/N points.
  static Kind anonymous_kind(const OpenFile& file);
  void pair_sockets();
  std::uint32_t find_or_add(OpenFile file);
  // Our descriptor of the very open file that a descriptor of a thread refers to; empty where the
  // kernel has no pidfd_getfd(2) (before 5.6) or does not allow it.
  ScopedFd duplicate(pid_t tid, int fd);
  void refuse(const OpenFile& file, const std::string& who);
  void examine_owner(OpenFile& file, int same);
  // "descriptors 3, 4" for each file.
  std::vector<std::string> who_uses() const;
  void check_watches(std::uint32_t table);
  void build_file(const OpenFile& file, schema::OpenFile::Builder out) const;

  Refusals& refusals_;
  ObjectTable& objects_;
  std::uint64_t left_for_unlinked_;
  std::vector<OpenFile> files_;
  // What descriptors of one open file have in common: device, inode, flags, position and mount.
  using Likeness = std::tuple<dev_t, ino_t, std::uint32_t, std::uint64_t, int>;
  // Files that are alike, in the kernel's order of them (kcmp(2)).
  std::map<Likeness, std::vector<std::uint32_t>> alike_;
  std::vector<std::vector<Descriptor>> tables_;
  pid_t duplicated_from_ = 0;
  ScopedFd process_; // a pidfd of that thread
};

} // namespace rrpcp::process::capture
