#include "process/capture/landlock_probe.h"

#include "base/scoped_fd.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

// The program below, and where its arguments and its end are.
extern "C" {
extern const std::byte rrpcp_probe_program[] __attribute__((visibility("hidden")));
extern const std::byte rrpcp_probe_arguments[] __attribute__((visibility("hidden")));
extern const std::byte rrpcp_probe_end[] __attribute__((visibility("hidden")));
}

namespace rrpcp::process::capture {

namespace {

// What the child is to become, and whom it tells.
struct ProbeArguments {
  std::uint32_t uid;
  std::uint32_t gid;
  std::int32_t parent;
  std::int32_t ready;
};

// What a copy of this process does: becomes the user, says so, and waits for its end. System calls
// only: it is the child of a program with threads.
[[noreturn]] void wait_as(const ProbeArguments& child) {
  const std::uint64_t all = ~std::uint64_t{0}; // the program's handlers must not run here
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all);
  ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::syscall(SYS_setresgid, child.gid, child.gid, child.gid);
  ::syscall(SYS_setresuid, child.uid, child.uid, child.uid);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  ::syscall(SYS_capset, &header, none);
  // Becoming another user has hidden the process from others, and taken the signal back.
  ::syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::syscall(SYS_getppid) != child.parent) { // it was killed before the signal was asked for
    ::syscall(SYS_exit_group, 0);
  }
  const char byte = 1;
  ::syscall(SYS_write, child.ready, &byte, 1);
  for (;;) {
    ::syscall(SYS_pause);
  }
}

// A program that does the same once signals are blocked, as an ELF executable (elf(5)) of one page.
// Its arguments are put into the copy that is executed.
#if !defined(__x86_64__)
#error "processes are captured on x86-64 only"
#endif
asm(R"(
  .pushsection .rodata.rrpcp_probe, "a", @progbits
  .balign 16
  .globl rrpcp_probe_program, rrpcp_probe_arguments, rrpcp_probe_end
  .hidden rrpcp_probe_program, rrpcp_probe_arguments, rrpcp_probe_end
rrpcp_probe_program:
  .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
  .quad 0
  .short 2, 62                           # ET_EXEC, EM_X86_64
  .long 1
  .quad 0x400000 + .Lprobe_entry - rrpcp_probe_program
  .quad 64, 0                            # program headers, no sections
  .long 0
  .short 64, 56, 2, 0, 0, 0
  .long 1, 5                             # PT_LOAD, readable and executable
  .quad 0, 0x400000, 0x400000
  .quad rrpcp_probe_end - rrpcp_probe_program, rrpcp_probe_end - rrpcp_probe_program, 4096
  .long 0x6474e551, 6                    # PT_GNU_STACK, readable and writable
  .quad 0, 0, 0, 0, 0, 16
rrpcp_probe_arguments:
.Lprobe_arguments:
  .long 0, 0, 0, 0                       # ProbeArguments
.Lprobe_capabilities:
  .long 0x20080522, 0                    # _LINUX_CAPABILITY_VERSION_3
  .quad 0, 0, 0
.Lprobe_byte:
  .byte 1
.Lprobe_die_with_parent:                 # prctl(PR_SET_PDEATHSIG, SIGKILL)
  mov $157, %eax
  mov $1, %edi
  mov $9, %esi
  syscall
  ret
.Lprobe_entry:
  mov $119, %eax                         # setresgid
  mov .Lprobe_arguments + 4(%rip), %edi
  mov %edi, %esi
  mov %edi, %edx
  syscall
  mov $117, %eax                         # setresuid
  mov .Lprobe_arguments(%rip), %edi
  mov %edi, %esi
  mov %edi, %edx
  syscall
  mov $126, %eax                         # capset
  lea .Lprobe_capabilities(%rip), %rdi
  lea 8(%rdi), %rsi
  syscall
  mov $157, %eax                         # prctl(PR_SET_DUMPABLE, 1)
  mov $4, %edi
  mov $1, %esi
  syscall
  call .Lprobe_die_with_parent
  mov $110, %eax                         # getppid
  syscall
  cmp .Lprobe_arguments + 8(%rip), %eax
  jne .Lprobe_exit
  mov $1, %eax                           # write
  mov .Lprobe_arguments + 12(%rip), %edi
  lea .Lprobe_byte(%rip), %rsi
  mov $1, %edx
  syscall
.Lprobe_wait:
  mov $34, %eax                          # pause
  syscall
  jmp .Lprobe_wait
.Lprobe_exit:
  mov $231, %eax                         # exit_group
  xor %edi, %edi
  syscall
rrpcp_probe_end:
  .popsection
)");

// The program with these arguments, in a file without a name that nobody can write to any more.
ScopedFd make_probe_program(const ProbeArguments& arguments) {
  std::vector<std::byte> program(rrpcp_probe_program, rrpcp_probe_end);
  std::memcpy(&program[static_cast<std::size_t>(rrpcp_probe_arguments - rrpcp_probe_program)],
              &arguments, sizeof arguments);
  constexpr unsigned kExecutable = 0x10; // MFD_EXEC, Linux 6.3
  ScopedFd file(::memfd_create("rrpcp-probe", MFD_CLOEXEC | kExecutable));
  if (!file && errno == EINVAL) {
    file = ScopedFd(::memfd_create("rrpcp-probe", MFD_CLOEXEC));
  }
  if (!file ||
      ::write(file.get(), program.data(), program.size()) != static_cast<ssize_t>(program.size())) {
    return {};
  }
  return ScopedFd(
      ::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDONLY | O_CLOEXEC));
}

// A child that executes `program`; 0 where that is not possible. It never has a copy of our memory:
// of what a copy shares with us we would have to get a page of our own for each that we write to
// from then on, and the user that it becomes could look at it.
pid_t start_probe_program(int program, int ready) {
  struct Child {
    int program;
    int ready;
    bool failed = false;

    static int run(void* argument) {
      auto* child = static_cast<Child*>(argument);
      const std::uint64_t all = ~std::uint64_t{0};
      ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all);
      ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // execve(2) keeps it
      char* const nothing[] = {nullptr};
      if (::syscall(SYS_fcntl, child->ready, F_SETFD, 0) == 0) {
        ::syscall(SYS_execveat, child->program, "", nothing, nothing, AT_EMPTY_PATH);
      }
      child->failed = true;
      ::syscall(SYS_exit_group, 1);
      return 1;
    }
  };
  Child child{program, ready};
  std::vector<std::byte> stack(64 << 10);
  const pid_t pid =
      ::clone(Child::run, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK, &child);
  if (pid > 0 && child.failed) {
    while (::waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    return 0;
  }
  return std::max(pid, 0);
}

} // namespace

LandlockProbe::~LandlockProbe() {
  for (const auto& [user, child] : children_) {
    if (child > 0) {
      ::kill(child, SIGKILL);
      while (::waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
      }
    }
  }
}

pid_t LandlockProbe::child_of(std::uint32_t uid, std::uint32_t gid) {
  auto known = children_.find({uid, gid});
  if (known != children_.end()) {
    return known->second;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return 0;
  }
  const ScopedFd reader(ends[0]);
  ScopedFd writer(ends[1]);
  // Without a signal at its end, so that the program that we are part of does not notice.
  const ProbeArguments arguments{uid, gid, ::getpid(), writer.get()};
  const ScopedFd program = make_probe_program(arguments);
  pid_t child = program ? start_probe_program(program.get(), writer.get()) : 0;
  if (child == 0) {
    child = static_cast<pid_t>(::syscall(SYS_clone, 0, 0, 0, 0, 0));
    if (child == 0) {
      wait_as(arguments);
    }
  }
  writer.reset();
  char byte = 0;
  ssize_t got = 0;
  do {
    got = child > 0 ? ::read(reader.get(), &byte, 1) : 0;
  } while (got < 0 && errno == EINTR);
  if (child > 0 && got != 1) { // it was killed meanwhile
    ::waitpid(child, nullptr, __WALL);
  }
  return children_[{uid, gid}] = got == 1 ? child : 0;
}

std::optional<bool> LandlockProbe::is_confined(RemoteCalls& calls, const ProcStatus& status) {
  if (!status.same_namespace) {
    return std::nullopt;
  }
  const pid_t child = child_of(status.uids[0], status.gids[0]);
  if (child == 0) {
    return std::nullopt;
  }
  const std::int64_t order = calls.call(SYS_kcmp, status.thread, child, KCMP_VM, 0, 0);
  if (order >= 0) {
    return false;
  }
  return order == -EPERM || order == -EACCES ? std::optional(true) : std::nullopt;
}

} // namespace rrpcp::process::capture
