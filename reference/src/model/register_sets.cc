#include "model/register_sets.h"

#include <algorithm>
#include <initializer_list>

namespace rrpcp {

namespace {

struct SizeRule {
  std::uint16_t machine;
  std::uint32_t type;
  // One of these two sizes (`other` 0: only the first) …
  std::uint32_t size;
  std::uint32_t other;
  // … or, where this is not 0, any multiple of it from `size` to `other`.
  std::uint32_t step;
};

constexpr std::uint32_t kAny = UINT32_MAX;

// The second size is that of a 32-bit task under a 64-bit kernel. Sources: the regset tables
// arch/x86/kernel/ptrace.c and arch/arm64/kernel/ptrace.c of Linux, and their uapi structures.
constexpr SizeRule kRules[] = {
    {kMachineX86_64, 1, 216, 68, 0},         // NT_PRSTATUS: user_regs_struct
    {kMachineX86_64, 2, 512, 108, 0},        // NT_PRFPREG: FXSAVE area
    {kMachineX86_64, 0x46e62b7f, 512, 0, 0}, // NT_PRXFPREG
    {kMachineX86_64, 0x200, 16, 48, 16},     // NT_386_TLS: up to 3 of struct user_desc
    {kMachineX86_64, 0x201, 8, 8192, 8},     // NT_386_IOPERM
    {kMachineX86_64, 0x202, 576, kAny, 8},   // NT_X86_XSTATE: standard-format XSAVE area
    {kMachineX86_64, 0x204, 8, 0, 0},        // NT_X86_SHSTK
    {kMachine386, 1, 68, 0, 0},              // NT_PRSTATUS
    {kMachine386, 2, 108, 0, 0},             // NT_PRFPREG: FSAVE area
    {kMachine386, 0x46e62b7f, 512, 0, 0},    // NT_PRXFPREG
    {kMachine386, 0x200, 16, 48, 16},        // NT_386_TLS
    {kMachine386, 0x201, 4, 8192, 4},        // NT_386_IOPERM
    {kMachine386, 0x202, 576, kAny, 8},      // NT_X86_XSTATE
    {kMachineAarch64, 1, 272, 72, 0},        // NT_PRSTATUS: user_pt_regs
    {kMachineAarch64, 2, 528, 0, 0},         // NT_PRFPREG: user_fpsimd_state
    {kMachineAarch64, 0x400, 260, 0, 0},     // NT_ARM_VFP, of a 32-bit task
    {kMachineAarch64, 0x401, 8, 16, 0},      // NT_ARM_TLS: tpidr, with SME also tpidr2
    {kMachineAarch64, 0x402, 8, 264, 16},    // NT_ARM_HW_BREAK: head, up to 16 registers
    {kMachineAarch64, 0x403, 8, 264, 16},    // NT_ARM_HW_WATCH
    {kMachineAarch64, 0x404, 4, 0, 0},       // NT_ARM_SYSTEM_CALL
    {kMachineAarch64, 0x405, 16, kAny, 4},   // NT_ARM_SVE: header, then registers
    {kMachineAarch64, 0x406, 16, 0, 0},      // NT_ARM_PAC_MASK
    {kMachineAarch64, 0x407, 64, 0, 0},      // NT_ARM_PACA_KEYS
    {kMachineAarch64, 0x408, 16, 0, 0},      // NT_ARM_PACG_KEYS
    {kMachineAarch64, 0x409, 8, 0, 0},       // NT_ARM_TAGGED_ADDR_CTRL
    {kMachineAarch64, 0x40a, 8, 0, 0},       // NT_ARM_PAC_ENABLED_KEYS
    {kMachineAarch64, 0x40b, 16, kAny, 4},   // NT_ARM_SSVE
    {kMachineAarch64, 0x40c, 16, kAny, 4},   // NT_ARM_ZA
    {kMachineAarch64, 0x40d, 64, 0, 0},      // NT_ARM_ZT
    {kMachineAarch64, 0x40e, 8, 0, 0},       // NT_ARM_FPMR
    {kMachineAarch64, 0x40f, 8, 0, 0},       // NT_ARM_POE
    {kMachineAarch64, 0x410, 24, 0, 0},      // NT_ARM_GCS
};

} // namespace

RegisterSetSize judge_register_set(std::uint16_t machine, std::uint32_t type, std::uint64_t size) {
  for (const SizeRule& rule : kRules) {
    if (rule.machine != machine || rule.type != type) {
      continue;
    }
    const bool fits = rule.step != 0 ? size >= rule.size && size <= rule.other &&
                                           (size - rule.size) % rule.step == 0
                                     : size == rule.size || (rule.other != 0 && size == rule.other);
    if (fits) {
      return RegisterSetSize::kFits;
    }
    return size > std::max(rule.size, rule.other) ? RegisterSetSize::kLonger
                                                  : RegisterSetSize::kImpossible;
  }
  return RegisterSetSize::kUnknownType;
}

} // namespace rrpcp
