#include "process/restore/credentials.h"

#include "process/proc_file.h"
#include "process/proc_status.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

// linux/securebits.h: the bits that forbid a change of the bit beside them.
constexpr std::uint32_t kLockedBits = 0xaaaaaaaa;

std::vector<gid_t> own_groups() {
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(0, ::getgroups(0, nullptr))));
  const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
  if (count < 0) {
    throw system_error(errno, "cannot read the groups of this process");
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

bool has(std::uint64_t set, unsigned capability) {
  return (set >> capability & 1) != 0;
}

std::string numbers_of(std::uint64_t set) {
  std::string text;
  for (unsigned i = 0; i < 64; ++i) {
    if (has(set, i)) {
      text += (text.empty() ? "" : ", ") + std::to_string(i);
    }
  }
  return text;
}

} // namespace

CredentialsPlan::CredentialsPlan(schema::Credentials::Reader wanted, const std::string& who,
                                 bool powerless, Obstacles& obstacles) {
  uids_[0] = wanted.getRealUid();
  uids_[1] = wanted.getEffectiveUid();
  uids_[2] = wanted.getSavedUid();
  uids_[3] = wanted.getFileSystemUid();
  gids_[0] = wanted.getRealGid();
  gids_[1] = wanted.getEffectiveGid();
  gids_[2] = wanted.getSavedGid();
  gids_[3] = wanted.getFileSystemGid();
  for (std::uint32_t group : wanted.getGroups()) {
    groups_.push_back(group);
  }
  // As the calling thread shows them: that is the one that the child is made by.
  const ProcStatus self = ProcStatus::parse(read_proc_file("/proc/thread-self/status"));
  uids_differ_ = !std::equal(self.uids.begin(), self.uids.end(), uids_);
  gids_differ_ = !std::equal(self.gids.begin(), self.gids.end(), gids_);
  groups_differ_ = own_groups() != groups_;
  own_permitted_ = self.permitted;
  own_securebits_ = static_cast<std::uint32_t>(::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
  const std::uint64_t wanted_permitted = powerless ? 0 : wanted.getPermittedCapabilities();
  const std::uint64_t lost = wanted_permitted & ~self.permitted;
  permitted_ = wanted_permitted & self.permitted;
  effective_ = wanted.getEffectiveCapabilities() & permitted_;
  const std::uint64_t wanted_inheritable = powerless ? 0 : wanted.getInheritableCapabilities();
  inheritable_ = wanted_inheritable & (self.permitted | self.inheritable);
  ambient_ = wanted.getAmbientCapabilities() & permitted_ & inheritable_;
  const std::uint64_t bounding = powerless ? 0 : wanted.getBoundingCapabilities();
  dropped_ = self.bounding & ~bounding;
  securebits_ = wanted.getSecurebits();
  caps_differ_ = permitted_ != self.permitted || effective_ != self.effective ||
                 inheritable_ != self.inheritable;
  ambient_differ_ = ambient_ != self.ambient;
  securebits_differ_ = securebits_ != own_securebits_;
  may_set_securebits_ = has(self.effective, CAP_SETPCAP) && (own_securebits_ & kLockedBits) == 0;
  if (lost != 0) {
    obstacles.warn(who + " had capabilities that this one has not, and loses them: numbers " +
                   numbers_of(lost) + " of linux/capability.h");
  }
  if ((uids_differ_ && !has(self.effective, CAP_SETUID)) ||
      ((gids_differ_ || groups_differ_) && !has(self.effective, CAP_SETGID))) {
    obstacles.add(ErrorCode::kPermission,
                  who + " belonged to user " + std::to_string(uids_[1]) + ", group " +
                      std::to_string(gids_[1]) +
                      " (with its other groups): only that user or root can restore it");
  }
  if (dropped_ != 0 && !has(self.effective, CAP_SETPCAP)) {
    obstacles.add(ErrorCode::kPermission,
                  who + " could not get back capabilities (numbers " + numbers_of(dropped_) +
                      " of linux/capability.h): only root can take them from its bounding set");
  }
  if (securebits_differ_ && !may_set_securebits_) {
    obstacles.add(ErrorCode::kPermission,
                  who + " had other securebits (prctl(2) PR_SET_SECUREBITS) than this program, "
                        "which may not change them");
  }
}

// What is given up last is what the other steps need: capabilities after ids, the bounding set and
// securebits before the capabilities that they take.
void CredentialsPlan::add_ops(OpList& ops) const {
  if (!changes()) {
    return;
  }
  const char* doing = "setting the user, groups and capabilities";
  auto capset = [&](std::uint64_t effective, std::uint64_t permitted) {
    const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    auto low = [](std::uint64_t set) { return static_cast<std::uint32_t>(set); };
    auto high = [](std::uint64_t set) { return static_cast<std::uint32_t>(set >> 32); };
    const __user_cap_data_struct data[2] = {{low(effective), low(permitted), low(inheritable_)},
                                            {high(effective), high(permitted), high(inheritable_)}};
    ops.system_call({doing}, SYS_capset, ops.arena().place(header),
                    ops.arena().place_array(std::span<const __user_cap_data_struct>(data)));
  };
  auto set_ambient = [&](OpFailure::Policy policy) {
    ops.system_call({doing, "", OpFailure::Policy::kIgnore}, SYS_prctl, PR_CAP_AMBIENT,
                    PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned capability = 0; capability < 64; ++capability) {
      if (has(ambient_, capability)) {
        ops.system_call({doing, "", policy}, SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE,
                        capability, 0, 0);
      }
    }
  };
  // Ids change nothing of the capabilities meanwhile.
  if (may_set_securebits_) {
    ops.system_call({doing}, SYS_prctl, PR_SET_SECUREBITS,
                    SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS, 0, 0, 0);
  } else {
    ops.system_call({doing, "", OpFailure::Policy::kIgnore}, SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0,
                    0);
  }
  if (groups_differ_) {
    ops.system_call({doing}, SYS_setgroups, groups_.size(),
                    ops.arena().place_array(std::span<const gid_t>(groups_)));
  }
  if (gids_differ_) {
    ops.system_call({doing}, SYS_setresgid, gids_[0], gids_[1], gids_[2]);
    if (gids_[3] != gids_[1]) {
      ops.system_call({doing}, SYS_setfsgid, gids_[3]);
    }
  }
  if (uids_differ_) {
    ops.system_call({doing}, SYS_setresuid, uids_[0], uids_[1], uids_[2]);
    if (uids_[3] != uids_[1]) {
      ops.system_call({doing}, SYS_setfsuid, uids_[3]);
    }
  }
  if (may_set_securebits_) {
    capset(own_permitted_, own_permitted_); // with the inheritable ones: before the bounding set
    set_ambient(OpFailure::Policy::kFatal);
    for (unsigned capability = 0; capability < 64; ++capability) {
      if (has(dropped_, capability)) {
        ops.system_call({doing}, SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
      }
    }
    ops.system_call({doing}, SYS_prctl, PR_SET_SECUREBITS, securebits_, 0, 0, 0);
  } else {
    ops.system_call({doing, "", OpFailure::Policy::kIgnore}, SYS_prctl, PR_SET_KEEPCAPS,
                    (securebits_ & SECBIT_KEEP_CAPS) != 0 ? 1 : 0, 0, 0, 0);
  }
  capset(effective_, permitted_);
  if (!may_set_securebits_ && ambient_differ_) {
    set_ambient(OpFailure::Policy::kWarn);
  }
}

} // namespace rrpcp::process::restore
