// User, groups and capabilities of a thread.
#pragma once

#include "process/restore/obstacles.h"
#include "process/restore/op_list.h"
#include "rrpcp/schema/task.capnp.h"

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::restore {

// What has to be done so that a thread of a child of this process gets stored credentials
// (credentials(7), capabilities(7)). The kernel keeps credentials per thread: every thread needs
// the operations of its own.
class CredentialsPlan {
public:
  // Nothing to do.
  CredentialsPlan() = default;
  // Adds to `obstacles` what this process lacks the privilege for, and warns of capabilities that
  // it does not have itself and so cannot pass on. `who` is "the process" or "thread 12".
  // `powerless`: the thread gets no capability at all, as a user namespace that is not entered
  // gave it none in this one.
  CredentialsPlan(schema::Credentials::Reader wanted, const std::string& who, bool powerless,
                  Obstacles& obstacles);

  // Whether anything changes. Then the kernel also resets the "dumpable" attribute and the
  // parent-death signal, which must be set afterwards.
  bool changes() const {
    return groups_differ_ || gids_differ_ || uids_differ_ || caps_differ_ || securebits_differ_ ||
           ambient_differ_ || dropped_ != 0;
  }
  void add_ops(OpList& ops) const;

private:
  bool groups_differ_ = false;
  bool gids_differ_ = false;
  bool uids_differ_ = false;
  bool caps_differ_ = false;
  bool securebits_differ_ = false;
  bool ambient_differ_ = false;
  bool may_set_securebits_ = false;
  uid_t uids_[4] = {}; // real, effective, saved, file system
  gid_t gids_[4] = {};
  std::vector<gid_t> groups_;
  std::uint64_t own_permitted_ = 0;
  std::uint64_t permitted_ = 0;
  std::uint64_t effective_ = 0;
  std::uint64_t inheritable_ = 0;
  std::uint64_t ambient_ = 0;
  std::uint64_t dropped_ = 0; // capabilities that leave the bounding set
  std::uint32_t own_securebits_ = 0;
  std::uint32_t securebits_ = 0;
};

} // namespace rrpcp::process::restore
