// The open files of a checkpoint, opened again.
#pragma once

#include "base/scoped_fd.h"
#include "process/restore/descriptor_set.h"
#include "process/restore/memory_objects.h"
#include "process/restore/obstacles.h"
#include "process/restore/op_list.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp::process::restore {

// Where the open files of one table are in a process's DescriptorSet.
struct TableFiles {
  std::uint32_t table = 0;
  // Index in the set by index of the open file.
  std::map<std::uint32_t, std::size_t> files;
  // The same for this process's own descriptors 0, 1 and 2, where the new process gets copies.
  std::map<int, std::size_t> inherited;
};

// Opens every open file description that a descriptor of the state refers to, once, so that the
// descriptors share it as they did. Owns the descriptors; new processes inherit them. One thread at
// a time.
class OpenFiles {
public:
  // Opens what can be opened without anybody noticing it; what cannot be had is added to
  // `obstacles`. What judge_state() says is not said again.
  OpenFiles(const CheckpointReader& reader, const MemoryObjects& objects,
            const RestoreOptions& options, Obstacles& obstacles);
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;

  // Opens the rest, and finds out whether locks can be had. After MemoryObjects::acquire(). The
  // second call does nothing.
  void acquire(const MemoryObjects& objects, Obstacles& obstacles);

  // Adds what a process with file table `table` needs to its `set`, which is not frozen yet.
  TableFiles add_to(DescriptorSet& set, std::uint32_t table) const;

  // The highest descriptor number of file table `table`; -1 where it is empty.
  int highest_descriptor(std::uint32_t table) const;
  // All of them, in order.
  std::vector<int> numbers(std::uint32_t table) const;

  // Whether a terminal of the table is, in the new process, one of ours that has another size: the
  // program is to be told (SIGWINCH).
  bool has_resized_terminal(const TableFiles& files) const;

  // Appends what puts the descriptors in their places, once all of the set are at theirs and every
  // other descriptor is closed. Returns operations whose first argument has to become the id of the
  // process, when that is known.
  std::vector<std::size_t> add_descriptor_ops(OpList& ops, const DescriptorSet& set,
                                              const TableFiles& files) const;
  // Appends what belongs to the process that has the table: signals, watches of epolls. The set
  // must still be open.
  void add_watch_ops(OpList& ops, const DescriptorSet& set, const TableFiles& files) const;
  // Appends owners of signals: when all threads are there, and with the rights of the process, by
  // which the owner will be signalled. Not where ids are others: they mean somebody else.
  void add_owner_ops(OpList& ops, const TableFiles& files) const;
  // The same for locks and leases. The set must be closed, because closing any descriptor of
  // a file drops a process's locks on it (fcntl(2)).
  void add_lock_ops(OpList& ops, const TableFiles& files) const;

private:
  // What stands for an open file description.
  struct File {
    ScopedFd opened;
    bool wanted = false; // a descriptor refers to it
    // True: descriptors 0, 1 and 2 become copies of this process's own instead, where it has them.
    bool inherit = false;
    // The process itself makes it; `opened` keeps a place for it.
    bool made_inside = false;
    // … but the pair of sockets is there, and only to be filled.
    bool made_by_another = false;
    ScopedFd other_end; // of that pair, until it is asked for
  };
  struct PipeEnds {
    ScopedFd read;
    ScopedFd write;
    bool filled = false;
  };

  void try_open(std::size_t index, const MemoryObjects& objects, Obstacles& obstacles);
  std::string own_proc_path(schema::OpenFile::Reader file) const;
  void add_own_proc_ops(OpList& ops, const DescriptorSet& set, const TableFiles& files) const;
  void add_socket_ops(OpList& ops, const DescriptorSet& set, const TableFiles& files) const;
  std::vector<std::size_t> add_pidfd_ops(OpList& ops, const DescriptorSet& set,
                                         const TableFiles& files) const;
  void add_terminal_ops(OpList& ops, const TableFiles& files) const;
  // Index of the other end of a socket; nothing where it is gone. Throws Error(kDamaged).
  std::optional<std::uint32_t> find_peer(schema::SocketEnd::Reader socket) const;
  bool is_watchable(std::uint32_t table, int fd) const;
  void check_watched_paths(schema::OpenFile::Reader file, const std::string& who,
                           Obstacles& obstacles) const;
  void open(std::size_t index, const MemoryObjects& objects, Obstacles& obstacles);
  ScopedFd open_regular(schema::OpenFile::Reader file, schema::FileIdentity::Reader identity,
                        const std::string& who, Obstacles& obstacles);
  ScopedFd open_path(schema::OpenFile::Reader file, schema::FileIdentity::Reader identity,
                     int extra_flags);
  ScopedFd open_fifo(schema::OpenFile::Reader file);
  ScopedFd open_device(schema::OpenFile::Reader file);
  void give_to_user(int pipe, Obstacles& obstacles) const;
  ScopedFd open_pipe_end(schema::OpenFile::Reader file, Obstacles& obstacles);
  ScopedFd open_memfd(schema::OpenFile::Reader file, const MemoryObjects& objects);
  ScopedFd open_unlinked(schema::OpenFile::Reader file, const MemoryObjects& objects);
  ScopedFd open_end_of_another(std::size_t index, schema::SocketEnd::Reader socket);
  void finish(ScopedFd& opened, schema::OpenFile::Reader file, const std::string& who,
              Obstacles& obstacles);
  std::string who_uses(std::size_t index) const;

  const CheckpointReader& reader_;
  schema::State::Reader state_;
  const RestoreOptions& options_;
  std::vector<File> files_;
  std::map<std::uint64_t, PipeEnds> pipes_;
  std::set<std::uint32_t> given_memfds_; // whose first descriptor is a file's already
  bool acquired_ = false;
};

} // namespace rrpcp::process::restore
