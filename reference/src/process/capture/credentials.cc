#include "process/capture/credentials.h"

#include "process/capture/data_bytes.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <string>

namespace rrpcp::process::capture {

namespace {

// Without a security module the file is not there, or cannot be read (EINVAL).
std::string security_label(const ProcStatus& status) {
  std::string label;
  try {
    label =
        try_read_file(proc_task_path(status.process, status.thread, "attr/current")).value_or("");
  } catch (const Error&) {
    return {};
  }
  while (!label.empty() && (label.back() == '\0' || label.back() == '\n')) {
    label.pop_back();
  }
  return label;
}

} // namespace

void collect_credentials(const ProcStatus& status, std::uint32_t securebits,
                         schema::Credentials::Builder out) {
  out.setRealUid(status.uids[0]);
  out.setEffectiveUid(status.uids[1]);
  out.setSavedUid(status.uids[2]);
  out.setFileSystemUid(status.uids[3]);
  out.setRealGid(status.gids[0]);
  out.setEffectiveGid(status.gids[1]);
  out.setSavedGid(status.gids[2]);
  out.setFileSystemGid(status.gids[3]);
  auto groups = out.initGroups(static_cast<unsigned>(status.groups.size()));
  for (unsigned i = 0; i < groups.size(); ++i) {
    groups.set(i, status.groups[i]);
  }
  out.setPermittedCapabilities(status.permitted);
  out.setEffectiveCapabilities(status.effective);
  out.setInheritableCapabilities(status.inheritable);
  out.setBoundingCapabilities(status.bounding);
  out.setAmbientCapabilities(status.ambient);
  out.setSecurebits(securebits);
  out.setSecurityLabel(as_data(security_label(status)));
}

} // namespace rrpcp::process::capture
