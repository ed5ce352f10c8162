#include "replay/engine/instruction_traps.h"

#include "replay/engine/trial_process.h"
#include "rrpcp/error.h"

#include <cpuid.h>
#include <cstdlib>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

namespace rrpcp::replay {

namespace {

bool counter_traps() {
  return TrialProcess([] {
           if (::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) != 0) {
             return kTrialRefused;
           }
           __rdtsc();
           return kTrialPassed;
         }).result() == kTrialFaulted;
}

bool cpuid_traps() {
  return TrialProcess([] {
           if (::syscall(SYS_arch_prctl, kSetCpuid, 0) != 0) {
             return kTrialRefused;
           }
           unsigned a = 0;
           unsigned b = 0;
           unsigned c = 0;
           unsigned d = 0;
           __cpuid(0, a, b, c, d);
           return kTrialPassed;
         }).result() == kTrialFaulted;
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

InstructionTraps processor_traps() {
  return {true, counter_traps(), cpuid_traps()};
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
