// Sizes of register sets, as ptrace(2) PTRACE_GETREGSET gives them.
#pragma once

#include <cstdint>
#include <optional>

namespace rrpcp {

inline constexpr std::uint16_t kMachine386 = 3;       // elf.h EM_386
inline constexpr std::uint16_t kMachineX86_64 = 62;   // EM_X86_64
inline constexpr std::uint16_t kMachineAarch64 = 183; // EM_AARCH64

inline constexpr std::uint32_t kNotePrstatus = 1;
inline constexpr std::uint32_t kNoteX86Xstate = 0x202;

// Whether a set of note type `type` may have `size` bytes on `machine`; nothing where the type is
// not known there (spec/model.md, "Register sets").
std::optional<bool> register_set_size_fits(std::uint16_t machine, std::uint32_t type,
                                           std::uint64_t size);

} // namespace rrpcp
