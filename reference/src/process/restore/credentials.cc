#include "process/restore/credentials.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <linux/capability.h>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::restore {

namespace {

struct Capabilities {
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;
};

Capabilities own_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) {
    throw system_error(errno, "cannot read the capabilities of this process");
  }
  auto join = [](std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; };
  return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
          join(data[0].inheritable, data[1].inheritable)};
}

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

CredentialsPlan::CredentialsPlan(schema::Credentials::Reader wanted, Obstacles& obstacles) {
  uids_[0] = wanted.getRealUid();
  uids_[1] = wanted.getEffectiveUid();
  uids_[2] = wanted.getSavedUid();
  gids_[0] = wanted.getRealGid();
  gids_[1] = wanted.getEffectiveGid();
  gids_[2] = wanted.getSavedGid();
  for (std::uint32_t group : wanted.getGroups()) {
    groups_.push_back(group);
  }
  uid_t uid[3];
  gid_t gid[3];
  if (::getresuid(&uid[0], &uid[1], &uid[2]) != 0 || ::getresgid(&gid[0], &gid[1], &gid[2]) != 0) {
    throw system_error(errno, "cannot read the credentials of this process");
  }
  uids_differ_ = !std::equal(uid, uid + 3, uids_);
  gids_differ_ = !std::equal(gid, gid + 3, gids_);
  groups_differ_ = own_groups() != groups_;
  const Capabilities own = own_capabilities();
  const std::uint64_t lost = wanted.getPermittedCapabilities() & ~own.permitted;
  permitted_ = wanted.getPermittedCapabilities() & own.permitted;
  effective_ = wanted.getEffectiveCapabilities() & permitted_;
  inheritable_ = wanted.getInheritableCapabilities() & (own.permitted | own.inheritable);
  caps_differ_ =
      permitted_ != own.permitted || effective_ != own.effective || inheritable_ != own.inheritable;
  if (lost != 0) {
    obstacles.warn("the process had capabilities that this one has not, and loses them: numbers " +
                   numbers_of(lost) + " of linux/capability.h");
  }
  if ((uids_differ_ && !has(own.effective, CAP_SETUID)) ||
      ((gids_differ_ || groups_differ_) && !has(own.effective, CAP_SETGID))) {
    obstacles.add(ErrorCode::kPermission,
                  "the process belonged to user " + std::to_string(uids_[1]) + ", group " +
                      std::to_string(gids_[1]) +
                      " (with its other groups): only that user or root can restore it");
  }
}

void CredentialsPlan::add_ops(OpList& ops) const {
  if (!changes()) {
    return;
  }
  const char* doing = "setting the user, groups and capabilities";
  if (groups_differ_) {
    ops.system_call({doing}, SYS_setgroups, groups_.size(),
                    ops.arena().place_array(std::span<const gid_t>(groups_)));
  }
  if (gids_differ_) {
    ops.system_call({doing}, SYS_setresgid, gids_[0], gids_[1], gids_[2]);
  }
  if (uids_differ_) {
    ops.system_call({doing}, SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
    ops.system_call({doing}, SYS_setresuid, uids_[0], uids_[1], uids_[2]);
    ops.system_call({doing}, SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
  }
  const __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  auto low = [](std::uint64_t set) { return static_cast<std::uint32_t>(set); };
  auto high = [](std::uint64_t set) { return static_cast<std::uint32_t>(set >> 32); };
  const __user_cap_data_struct data[2] = {{low(effective_), low(permitted_), low(inheritable_)},
                                          {high(effective_), high(permitted_), high(inheritable_)}};
  ops.system_call({doing}, SYS_capset, ops.arena().place(header),
                  ops.arena().place_array(std::span<const __user_cap_data_struct>(data)));
}

} // namespace rrpcp::restore
