// The instructions whose results no replay can foresee, and what carrying one out changes.
#pragma once

#include "rrpcp/schema/trace.capnp.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <sys/user.h>

namespace rrpcp::replay {

// One of them, as its bytes say it (Intel SDM volume 2, chapters 3 to 5; AMD64 Architecture
// Programmer's Manual, volume 3).
struct TrappedCode {
  schema::TrappedInstruction kind = schema::TrappedInstruction::RDTSC;
  std::uint8_t length = 0; // bytes, with prefixes
  // Where RDRAND, RDSEED and RDPID put their result: number of the general register, and bits.
  std::uint8_t target = 0;
  std::uint8_t width = 0;

  bool operator==(const TrappedCode&) const = default;
};

inline constexpr std::size_t kLongestInstruction = 15; // bytes
// `ud2`: undefined for ever, SIGILL. Every instruction above has at least its length.
inline constexpr std::array<std::byte, 2> kUndefinedInstruction = {std::byte{0x0f},
                                                                   std::byte{0x0b}};

// All of them are 0F and one of these, behind prefixes.
inline constexpr std::uint8_t kTrappedOpcodes[] = {0x01, 0x31, 0xa2, 0xae, 0xc7};

// What instruction `code` begins with; nothing where it is none of them.
std::optional<TrappedCode> decode_trapped(std::span<const std::byte> code);

// "RDTSC", …
std::string_view instruction_name(schema::TrappedInstruction instruction);

// Whether it stores extended registers to memory, and with them which of them the processor takes
// for used (XINUSE), which need not follow from their values (Intel SDM volume 1, section 13.6).
bool saves_state(schema::TrappedInstruction instruction);

// The general registers in the order of the processor's numbers: 0 is rax.
unsigned long long user_regs_struct::*general_register(unsigned number);

} // namespace rrpcp::replay
