// Open files that have no path: what the kernel makes of its own state.
#pragma once

#include "base/scoped_fd.h"
#include "process/restore/op_list.h"
#include "rrpcp/schema/files.capnp.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace rrpcp::process::restore {

// Each makes a descriptor, close-on-exec. Throws Error.
ScopedFd make_timerfd(schema::OpenFile::Timerfd::Reader timer);
ScopedFd make_signalfd(schema::OpenFile::Signalfd::Reader signals);
ScopedFd make_inotify();
// A pidfd of a process that has ended and was waited for.
ScopedFd make_ended_pidfd();
// What takes the place of a socket that cannot be carried: nobody connects to it, nothing comes, or
// its peer has gone without reading, so that reads fail with ECONNRESET, then end, and writes fail
// with EPIPE. None is ready for ever where the lost one would have waited.
ScopedFd make_replacement_socket(schema::OpenFile::Reader file);

// Appends the arming of timer `number`. `state` has the clocks at capture.
void add_timerfd_ops(OpList& ops, int number, schema::OpenFile::Timerfd::Reader timer,
                     schema::State::Reader state, const std::string& who);
// Appends the watches of inotify `number`, with the numbers that they had.
void add_inotify_ops(OpList& ops, int number, schema::OpenFile::Inotify::Reader inotify,
                     const std::string& who);

// Whether a pair of sockets has to be made by another user or group than that of this process
// (SO_PEERCRED), which needs CAP_SETUID and CAP_SETGID.
bool has_other_maker(schema::SocketEnd::Reader socket);

// Makes a pair of sockets by a process of the id, user and group that SO_PEERCRED is to tell, which
// has ended afterwards. Needs the privileges for these. Throws Error.
std::pair<ScopedFd, ScopedFd> make_pair_by_another(schema::SocketEnd::Reader socket);

// One end of a pair of sockets in the new process.
struct SocketPlace {
  schema::OpenFile::Reader file;
  int number = -1;    // where it goes
  bool there = false; // it is at that number already, empty
};

// Appends the making of a pair of sockets, of which the second is gone where there is none, with
// what is queued in them. Descriptors 0 and 1 must be free, and are again afterwards.
void add_socket_pair_ops(OpList& ops, const SocketPlace& one,
                         const std::optional<SocketPlace>& other, const std::string& who);
// Bytes of the arena that this needs at most for one socket.
std::uint64_t socket_arena_size(schema::SocketEnd::Reader socket);

} // namespace rrpcp::process::restore
