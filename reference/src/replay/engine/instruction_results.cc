#include "replay/engine/instruction_results.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <elf.h>
#include <sys/random.h>
#include <x86intrin.h>

namespace rrpcp::replay {

namespace {

using Kind = schema::TrappedInstruction;

// Bits of CPUID
constexpr unsigned kRdrand = 30; // leaf 1, ecx
constexpr unsigned kRdseed = 18; // leaf 7, ebx
constexpr unsigned kRdpid = 22;  // leaf 7, ecx
// RFLAGS
constexpr std::uint64_t kCarry = 1;
constexpr std::uint64_t kArithmetic = 0x8d5; // OF, SF, ZF, AF, PF, CF
constexpr std::uint64_t kResume = 0x10000;   // RF: set by the fault

std::optional<std::uint64_t> extended_control(std::uint32_t number, const process::Tracee& task,
                                              const CpuidModel& model) {
  const std::uint64_t enabled = model.extended_state();
  if (number > 1 || enabled == 0) {
    return std::nullopt;
  }
  if (number == 0) {
    return enabled;
  }
  // XINUSE: the components that are not in their initial state.
  const std::optional<std::vector<std::byte>> area = task.register_set(NT_X86_XSTATE);
  if (!area || area->size() < kXstateBv + sizeof(std::uint64_t)) {
    return std::nullopt;
  }
  return load_le<std::uint64_t>(*area, kXstateBv) & enabled;
}

std::uint64_t random_number() {
  std::uint64_t value = 0;
  while (::getrandom(&value, sizeof value, 0) != sizeof value) {
    if (errno != EINTR) {
      throw system_error(errno, "cannot get random bytes");
    }
  }
  return value;
}

} // namespace

std::optional<user_regs_struct> carry_out(const TrappedCode& code, const user_regs_struct& before,
                                          const process::Tracee& task, const CpuidModel& model) {
  user_regs_struct after = before;
  after.rip += code.length;
  after.eflags &= ~kResume;
  unsigned auxiliary = 0;
  switch (code.kind) {
  case Kind::RDTSC:
  case Kind::RDTSCP: {
    const std::uint64_t time = code.kind == Kind::RDTSC ? __rdtsc() : __rdtscp(&auxiliary);
    after.rax = time & 0xffffffff;
    after.rdx = time >> 32;
    if (code.kind == Kind::RDTSCP) {
      after.rcx = auxiliary;
    }
    return after;
  }
  case Kind::CPUID: {
    const CpuidWords words = model.answer(static_cast<std::uint32_t>(before.rax),
                                          static_cast<std::uint32_t>(before.rcx));
    after.rax = words.eax;
    after.rbx = words.ebx;
    after.rcx = words.ecx;
    after.rdx = words.edx;
    return after;
  }
  case Kind::RDRAND:
  case Kind::RDSEED: {
    if (!(code.kind == Kind::RDRAND ? model.has(1, &CpuidWords::ecx, kRdrand)
                                    : model.has(7, &CpuidWords::ebx, kRdseed))) {
      return std::nullopt;
    }
    unsigned long long& target = after.*general_register(code.target);
    const std::uint64_t value = random_number();
    target = code.width == 64   ? value
             : code.width == 32 ? value & 0xffffffff
                                : (target & ~std::uint64_t{0xffff}) | (value & 0xffff);
    after.eflags = (after.eflags & ~kArithmetic) | kCarry;
    return after;
  }
  case Kind::XGETBV: {
    const std::optional<std::uint64_t> value =
        extended_control(static_cast<std::uint32_t>(before.rcx), task, model);
    if (!value) {
      return std::nullopt;
    }
    after.rax = *value & 0xffffffff;
    after.rdx = *value >> 32;
    return after;
  }
  case Kind::RDPID:
    if (!model.has(7, &CpuidWords::ecx, kRdpid)) {
      return std::nullopt;
    }
    // The same register of the processor as RDTSCP shows (IA32_TSC_AUX).
    __rdtscp(&auxiliary);
    after.*general_register(code.target) = auxiliary;
    return after;
  case Kind::XSAVE:
  case Kind::XSAVEOPT:
  case Kind::XSAVEC:
    return std::nullopt; // they change memory: Recorder::save_state()
  }
  return std::nullopt;
}

} // namespace rrpcp::replay
