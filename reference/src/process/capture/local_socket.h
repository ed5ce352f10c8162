// Connected pairs of local sockets (socketpair(2)), with what is queued in them.
#pragma once

#include "rrpcp/schema/files.capnp.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

struct LocalSocket {
  struct Option {
    int level = 0;
    int name = 0;
    std::string value;
  };

  ino_t inode = 0;
  // Inode of the other end; 0: it is gone.
  ino_t peer = 0;
  int type = 0;
  int protocol = 0;
  // Unread: a message each, or all bytes of a stream.
  std::vector<std::string> received;
  bool read_shut = false;
  bool write_shut = false;
  std::vector<Option> options; // those that differ from a new socket's, in order
  pid_t peer_pid = 0;
  std::uint32_t peer_uid = 0;
  std::uint32_t peer_gid = 0;

  void build(schema::SocketEnd::Builder out) const;
};

// Looks at a connected local socket without names, of a process that stands still, through a
// descriptor of ours. Nothing is consumed. Nothing where it is another kind of socket, or holds
// what cannot be looked at; `why` says then what.
std::optional<LocalSocket> examine_local_socket(int socket, ino_t inode, std::string& why);

} // namespace rrpcp::process::capture
