// What the CPUID instruction tells a recorded program.
#pragma once

#include "rrpcp/schema/state.capnp.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rrpcp::replay {

// Of an XSAVE area: where XSTATE_BV is, the components that are in use.
inline constexpr std::size_t kXstateBv = 512;

struct CpuidWords {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

// The processor as it is, or as one of a level of the x86-64 psABI would be: with the features of
// that level that this processor has, and no others. So a program takes code that runs on every
// processor of the level. Immutable.
class CpuidModel {
public:
  // The names of the models, for messages: "native, x86-64, …".
  static std::string names();
  // Throws Error(kInvalidArgument) for an unknown name; "" is "native".
  explicit CpuidModel(const std::string& name = "");

  // "native", "x86-64", "x86-64-v2" or "x86-64-v3".
  const std::string& name() const { return name_; }
  bool native() const { return level_ == 0; }

  CpuidWords answer(std::uint32_t leaf, std::uint32_t subleaf) const;
  // XCR0 as XGETBV gives it; 0: the program must not execute XGETBV.
  std::uint64_t extended_state() const;
  // Whether there is RDRAND (leaf 1), RDSEED or RDPID (leaf 7).
  bool has(std::uint32_t leaf, std::uint32_t CpuidWords::*word, unsigned bit) const;

  // Takes out of a description of this processor what the program is not told.
  void restrict(schema::Cpu::Builder cpu) const;

private:
  std::string name_;
  int level_ = 0; // 0: native; 1 to 3 of the psABI
};

// Whether a processor so described has protection keys, and with them the register PKRU.
bool offers_protection_keys(schema::Cpu::Reader cpu);

// Takes PKRU out of `area`, an XSAVE area of this processor, where it is as the kernel sets it: for
// programs that were not told of protection keys, and may be replayed where there are none.
void drop_protection_keys(std::span<std::byte> area);

// Has `state`, of this machine, say of the processor what the program was told of it, `told`.
void restrict_state(schema::State::Builder state, schema::Cpu::Reader told);

} // namespace rrpcp::replay
