// User, groups and capabilities of a process.
#pragma once

#include "process/restore/obstacles.h"
#include "process/restore/op_list.h"
#include "rrpcp/schema/task.capnp.h"

#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace rrpcp::restore {

// What has to be done so that a child of this process gets stored credentials (credentials(7),
// capabilities(7)). The kernel keeps credentials per thread: every thread needs the operations.
class CredentialsPlan {
public:
  // Nothing to do.
  CredentialsPlan() = default;
  // Adds to `obstacles` what this process lacks the privilege for, and warns of capabilities that
  // it does not have itself and so cannot pass on.
  CredentialsPlan(schema::Credentials::Reader wanted, Obstacles& obstacles);

  // Whether anything changes. Then the kernel also resets the "dumpable" attribute and the
  // parent-death signal, which must be set afterwards.
  bool changes() const { return groups_differ_ || gids_differ_ || uids_differ_ || caps_differ_; }
  void add_ops(OpList& ops) const;

private:
  bool groups_differ_ = false;
  bool gids_differ_ = false;
  bool uids_differ_ = false;
  bool caps_differ_ = false;
  uid_t uids_[3] = {};
  gid_t gids_[3] = {};
  std::vector<gid_t> groups_;
  std::uint64_t permitted_ = 0;
  std::uint64_t effective_ = 0;
  std::uint64_t inheritable_ = 0;
};

} // namespace rrpcp::restore
