#include "replay/engine/instruction_traps.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <cpuid.h>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

namespace rrpcp::replay {

namespace {

constexpr int kTrapped = 3;
constexpr int kNotTrapped = 4;
constexpr int kRefused = 5;
constexpr long kSetCpuid = 0x1012; // ARCH_SET_CPUID

// Runs `attempt` in a process of its own, which ends with what it returns, or with kTrapped where
// it faults. -1 where no process can be made.
template <typename Attempt> int try_in_child(const Attempt& attempt) {
  // Without a signal at its end, of which the caller's handlers would be told.
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0));
  if (child < 0) {
    return -1;
  }
  if (child == 0) {
    struct sigaction action {};
    action.sa_handler = [](int) { ::_exit(kTrapped); };
    ::sigaction(SIGSEGV, &action, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::_exit(attempt());
  }
  int status = 0;
  while (::waitpid(child, &status, __WALL) < 0) {
    if (errno != EINTR) {
      return -1;
    }
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool counter_traps() {
  return try_in_child([] {
           if (::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) != 0) {
             return kRefused;
           }
           __rdtsc();
           return kNotTrapped;
         }) == kTrapped;
}

bool cpuid_traps() {
  return try_in_child([] {
           if (::syscall(SYS_arch_prctl, kSetCpuid, 0) != 0) {
             return kRefused;
           }
           unsigned a = 0;
           unsigned b = 0;
           unsigned c = 0;
           unsigned d = 0;
           __cpuid(0, a, b, c, d);
           return kNotTrapped;
         }) == kTrapped;
}

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
  traps.counter = counter_traps();
  traps.cpuid = cpuid_traps();
  traps.replaced = name != "processor";
  if (!traps.replaced && !traps.counter) {
    throw Error(ErrorCode::kUnsupportedState,
                "this processor does not trap RDTSC, although prctl(2) may say that it does")
        .with_hint("unset RRPCP_TRAPS: the instruction is then replaced in the program");
  }
  return traps;
}

} // namespace rrpcp::replay
