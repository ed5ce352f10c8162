// Sizes of register sets, as ptrace(2) PTRACE_GETREGSET gives them.
#pragma once

#include <cstdint>

namespace rrpcp {

inline constexpr std::uint16_t kMachine386 = 3;       // elf.h EM_386
inline constexpr std::uint16_t kMachineX86_64 = 62;   // EM_X86_64
inline constexpr std::uint16_t kMachineAarch64 = 183; // EM_AARCH64

inline constexpr std::uint32_t kNotePrstatus = 1;
inline constexpr std::uint32_t kNoteX86Xstate = 0x202;

enum class RegisterSetSize {
  kUnknownType, // the machine has no such set that is known
  kFits,
  kLonger, // than any that is known: kernels have lengthened sets before
  kImpossible,
};

// What is to be said of a set of note type `type` with `size` bytes on `machine` (spec/model.md,
// "Register sets").
RegisterSetSize judge_register_set(std::uint16_t machine, std::uint32_t type, std::uint64_t size);

} // namespace rrpcp
