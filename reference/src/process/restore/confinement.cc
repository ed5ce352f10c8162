#include "process/restore/confinement.h"

#include "process/remote_calls.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <span>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

constexpr std::uint32_t kStrict = 1; // SECCOMP_MODE_STRICT

void confine(Tracee& thread, const Confinement& confinement, std::uint64_t instruction,
             std::uint64_t more_flags) {
  RemoteCalls calls(thread, instruction);
  for (const Confinement::Filter& filter : confinement.filters) {
    // Speculation has been set by itself.
    const std::uint64_t flags = filter.flags | more_flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (calls.require("installing a filter of system calls", SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                      flags, filter.program) != 0) {
      throw Error(ErrorCode::kSystem, "a filter of system calls could not be installed in all "
                                      "threads (seccomp(2))");
    }
  }
  if (confinement.strict) {
    calls.require("confining a thread strictly", SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0);
  }
  calls.finish();
}

} // namespace

bool may_suspend_confinement() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  return ::syscall(SYS_capget, &header, data) == 0 &&
         (data[0].effective >> CAP_SYS_ADMIN & 1) != 0 && ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0;
}

Confinement place_confinement(Arena& arena, schema::TaskAttributes::Reader attributes) {
  Confinement confinement;
  confinement.strict = attributes.getSeccompMode() == kStrict;
  for (schema::SeccompFilter::Reader filter : attributes.getSeccompFilters()) {
    const auto bytes =
        std::as_bytes(std::span(filter.getProgram().begin(), filter.getProgram().size()));
    sock_fprog program{};
    program.len = static_cast<unsigned short>(bytes.size() / sizeof(sock_filter));
    auto* instructions = arena.allocate<sock_filter>(program.len);
    std::copy_n(bytes.begin(), program.len * sizeof(sock_filter),
                reinterpret_cast<std::byte*>(instructions));
    program.filter = instructions;
    confinement.filters.push_back({reinterpret_cast<std::uint64_t>(arena.place(program)),
                                   filter.getFlags(),
                                   {bytes.begin(), bytes.end()}});
  }
  return confinement;
}

void confine_threads(const std::vector<Tracee*>& threads,
                     const std::vector<Confinement>& confinements, std::uint64_t instruction,
                     std::uintptr_t options) {
  if (std::all_of(confinements.begin(), confinements.end(),
                  [](const Confinement& confinement) { return confinement.empty(); })) {
    return;
  }
  for (Tracee* thread : threads) {
    thread->set_options(options | PTRACE_O_SUSPEND_SECCOMP);
  }
  const bool alike =
      std::all_of(confinements.begin(), confinements.end(), [&](const Confinement& confinement) {
        return confinement == confinements.front();
      });
  if (alike && !confinements.front().strict) {
    confine(*threads.front(), confinements.front(), instruction,
            threads.size() > 1 ? SECCOMP_FILTER_FLAG_TSYNC : 0);
    return;
  }
  for (std::size_t i = 0; i < threads.size(); ++i) {
    if (!confinements[i].empty()) {
      confine(*threads[i], confinements[i], instruction, 0);
    }
  }
}

} // namespace rrpcp::process::restore
