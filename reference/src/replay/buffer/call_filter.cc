#include "replay/buffer/call_filter.h"

#include "base/raw_call.h"
#include "process/tracee.h"
#include "replay/buffer/call_buffer.h"

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace rrpcp::replay::buffer {

bool install_call_filter() {
  if (raw_call(SYS_prctl, PR_GET_SECCOMP) != 0) {
    return false;
  }
  const std::uint64_t made = address_of_made_call();
  constexpr auto kAddress = static_cast<std::uint32_t>(offsetof(seccomp_data, instruction_pointer));
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(made), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kAddress + 4),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(made >> 32), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | process::Tracee::own_filter_data),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
  const auto install = [&] {
    return raw_call(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, raw_pointer(&program)) == 0;
  };
  return install() || (raw_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1) == 0 && install());
}

} // namespace rrpcp::replay::buffer
