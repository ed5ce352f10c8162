// Register sets taken apart.
#pragma once

#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::tools {

// One register. `bytes` are in memory order, that is little-endian.
struct Register {
  std::string name;
  std::vector<std::uint8_t> bytes;

  // Whether it fits into 64 bits.
  bool is_scalar() const { return bytes.size() <= 8; }
  // Value of a scalar.
  std::uint64_t value() const;
  bool is_zero() const;
  // "0x7f12…": the number with the most significant digit first, without leading zeros.
  std::string text() const;
};

// The registers of a set, in the order of the set:
//  - NT_PRSTATUS: general registers of x86-64 and i386 (sys/user.h user_regs_struct) and of AArch64
//    and ARM (asm/ptrace.h user_pt_regs);
//  - NT_PRFPREG: x87, MXCSR and xmm registers (Intel SDM volume 1, section 10.5.1, FXSAVE), or
//    AArch64's user_fpsimd_state;
//  - NT_X86_XSTATE: the same, XSTATE_BV, and what Cpu.xsaveLayout names, as the widest registers
//  that are there
//    (zmm, else ymm, else xmm), k0 to k7, pkru; components without a known meaning as one register
//    "xstateN". Components that XSTATE_BV declares to be in their initial state are shown as zeros;
//  - NT_ARM_TLS, NT_ARM_SYSTEM_CALL.
// Nothing for any other set, or where the size fits none.
std::optional<std::vector<Register>> decode_registers(schema::State::Reader state,
                                                      schema::RegisterSet::Reader set);

// From a task's NT_PRSTATUS; nothing where it is not there or not known.
std::optional<std::uint64_t> program_counter(schema::State::Reader state,
                                             schema::Task::Reader task);
std::optional<std::uint64_t> stack_pointer(schema::State::Reader state, schema::Task::Reader task);

} // namespace rrpcp::tools
