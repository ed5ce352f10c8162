#include "replay/engine/register_compare.h"

#include <cstdint>
#include <cstdio>

namespace rrpcp::replay {

namespace {

// TF and RF of RFLAGS (AMD64 Architecture Programmer's Manual, volume 2, section 3.1.6).
constexpr std::uint64_t kDebuggerFlags = (1u << 8) | (1u << 16);

struct Register {
  const char* name;
  unsigned long long user_regs_struct::*member;
  std::uint64_t ignored = 0;
};

constexpr Register kRegisters[] = {
    {"rip", &user_regs_struct::rip},
    {"orig_rax", &user_regs_struct::orig_rax},
    {"rax", &user_regs_struct::rax},
    {"rdi", &user_regs_struct::rdi},
    {"rsi", &user_regs_struct::rsi},
    {"rdx", &user_regs_struct::rdx},
    {"r10", &user_regs_struct::r10},
    {"r8", &user_regs_struct::r8},
    {"r9", &user_regs_struct::r9},
    {"rbx", &user_regs_struct::rbx},
    {"rcx", &user_regs_struct::rcx},
    {"rbp", &user_regs_struct::rbp},
    {"rsp", &user_regs_struct::rsp},
    {"r11", &user_regs_struct::r11, kDebuggerFlags},
    {"r12", &user_regs_struct::r12},
    {"r13", &user_regs_struct::r13},
    {"r14", &user_regs_struct::r14},
    {"r15", &user_regs_struct::r15},
    {"eflags", &user_regs_struct::eflags, kDebuggerFlags},
    {"cs", &user_regs_struct::cs},
    {"ss", &user_regs_struct::ss},
    {"ds", &user_regs_struct::ds},
    {"es", &user_regs_struct::es},
    {"fs", &user_regs_struct::fs},
    {"gs", &user_regs_struct::gs},
    {"fs_base", &user_regs_struct::fs_base},
    {"gs_base", &user_regs_struct::gs_base},
};

} // namespace

std::optional<std::string> first_difference(const user_regs_struct& replayed,
                                            const user_regs_struct& recorded) {
  for (const Register& entry : kRegisters) {
    const std::uint64_t is = replayed.*entry.member;
    const std::uint64_t was = recorded.*entry.member;
    if (((is ^ was) & ~entry.ignored) != 0) {
      char text[96];
      std::snprintf(text, sizeof text, "%s is 0x%llx and was recorded as 0x%llx", entry.name,
                    static_cast<unsigned long long>(is), static_cast<unsigned long long>(was));
      return text;
    }
  }
  return std::nullopt;
}

} // namespace rrpcp::replay
