#include "replay/engine/instruction_traps.h"

#include "rrpcp/error.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <sched.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

// What the processor traps, tried by a child that has our memory instead of a copy of it, which
// would take longer than everything else; meanwhile this thread waits.
class TrapTrial {
public:
  bool counter = false;
  bool cpuid = false;

  void run() {
    alignas(16) std::array<std::byte, kStack> stack; // as it is: no page of it is touched for that
    const pid_t child = ::clone(try_all, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK, this);
    while (child > 0 && ::waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }

private:
  static constexpr std::size_t kStack = 64 << 10; // with a signal's frame

  // `rdtsc` and `cpuid` have two bytes, and are executed with the address of what tells in r12.
  static void note(int, siginfo_t*, void* context) {
    greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    *reinterpret_cast<volatile bool*>(registers[REG_R12]) = true;
    registers[REG_RIP] += 2;
  }

  static int try_all(void* argument) {
    auto* const trial = static_cast<TrapTrial*>(argument);
    struct sigaction action {};
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigset_t others; // those of the process that has its handlers are not for this one
    ::sigfillset(&others);
    ::sigdelset(&others, SIGSEGV);
    ::sigprocmask(SIG_SETMASK, &others, nullptr);
    ::sigaction(SIGSEGV, &action, nullptr);
    if (::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0) {
      asm volatile("mov %0, %%r12\n\trdtsc"
                   :
                   : "r"(&trial->counter)
                   : "rax", "rdx", "r12", "memory");
    }
    if (::syscall(SYS_arch_prctl, kSetCpuid, 0) == 0) {
      asm volatile("mov %0, %%r12\n\txor %%eax, %%eax\n\tcpuid"
                   :
                   : "r"(&trial->cpuid)
                   : "rax", "rbx", "rcx", "rdx", "r12", "memory");
    }
    ::syscall(SYS_exit_group, 0);
    return 0;
  }
};

} // namespace

bool InstructionTraps::processor_traps(schema::TrappedInstruction instruction) const {
  switch (instruction) {
  case schema::TrappedInstruction::RDTSC:
  case schema::TrappedInstruction::RDTSCP:
    return counter;
  case schema::TrappedInstruction::CPUID:
    return cpuid;
  default:
    return false;
  }
}

InstructionTraps processor_traps() {
  TrapTrial trial;
  trial.run();
  return {true, trial.counter, trial.cpuid};
}

InstructionTraps instruction_traps() {
  InstructionTraps traps;
  const char* wanted = std::getenv("RRPCP_TRAPS");
  const std::string_view name = wanted != nullptr ? wanted : "";
  if (name != "" && name != "replace" && name != "processor") {
    throw Error(ErrorCode::kInvalidArgument,
                "RRPCP_TRAPS is '" + std::string(name) + "' instead of 'replace' or 'processor'");
  }
  if (name == "replace") {
    return traps;
  }
  traps = processor_traps();
  traps.trapped_too = name != "processor";
  if (!traps.trapped_too && !traps.counter) {
    throw Error(ErrorCode::kUnsupportedState,
                "this processor does not trap RDTSC, although prctl(2) may say that it does")
        .with_hint("unset RRPCP_TRAPS: the instruction is then replaced in the program");
  }
  return traps;
}

} // namespace rrpcp::replay
