#include "replay/engine/instruction_results.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cpuid.h>
#include <elf.h>
#include <sys/random.h>
#include <x86intrin.h>

namespace rrpcp::replay {

namespace {

using Kind = schema::TrappedInstruction;

constexpr std::uint32_t kOsxsave = 1u << 27; // CPUID 1, ecx
constexpr std::uint32_t kRdrand = 1u << 30;  // CPUID 1, ecx
constexpr std::uint32_t kRdseed = 1u << 18;  // CPUID 7, ebx
// RFLAGS
constexpr std::uint64_t kCarry = 1;
constexpr std::uint64_t kArithmetic = 0x8d5; // OF, SF, ZF, AF, PF, CF
constexpr std::uint64_t kResume = 0x10000;   // RF: set by the fault

struct Words {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

Words cpuid(unsigned leaf, unsigned subleaf) {
  Words words;
  __cpuid_count(leaf, subleaf, words.eax, words.ebx, words.ecx, words.edx);
  return words;
}

bool has_random(Kind kind) {
  if (kind == Kind::RDRAND) {
    return (cpuid(1, 0).ecx & kRdrand) != 0;
  }
  return cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx & kRdseed) != 0;
}

std::optional<std::uint64_t> extended_control(std::uint32_t number, const Tracee& task) {
  if (number > 1 || (cpuid(1, 0).ecx & kOsxsave) == 0) {
    return std::nullopt;
  }
  std::uint32_t low;
  std::uint32_t high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const std::uint64_t enabled = (std::uint64_t{high} << 32) | low;
  if (number == 0) {
    return enabled;
  }
  // XINUSE: the components that are not in their initial state.
  constexpr std::size_t kXstateBv = 512;
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
                                          const Tracee& task) {
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
    const Words words = cpuid(static_cast<unsigned>(before.rax), static_cast<unsigned>(before.rcx));
    after.rax = words.eax;
    after.rbx = words.ebx;
    after.rcx = words.ecx;
    after.rdx = words.edx;
    return after;
  }
  case Kind::RDRAND:
  case Kind::RDSEED: {
    if (!has_random(code.kind)) {
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
        extended_control(static_cast<std::uint32_t>(before.rcx), task);
    if (!value) {
      return std::nullopt;
    }
    after.rax = *value & 0xffffffff;
    after.rdx = *value >> 32;
    return after;
  }
  case Kind::RDPID:
    // The same register of the processor as RDTSCP shows (IA32_TSC_AUX).
    __rdtscp(&auxiliary);
    after.*general_register(code.target) = auxiliary;
    return after;
  }
  return std::nullopt;
}

} // namespace rrpcp::replay
