// The extended registers of x86: which the processor has, and where they lie in an XSAVE area.
#pragma once

#include "rrpcp/schema/state.capnp.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// The standard (non-compacted) format of the XSAVE area: Intel SDM volume 1, section 13.4.2.
struct XsaveLayout {
  struct Component {
    std::uint32_t offset = 0;
    // 0: not there.
    std::uint32_t size = 0;
  };
  // XCR0: components that the operating system has switched on.
  std::uint64_t features = 0;
  std::array<Component, 64> components{};
};

// That of this processor (CPUID leaf 0xD, XGETBV).
XsaveLayout own_xsave_layout();

// That of a checkpoint. `features` are the components in use.
XsaveLayout stored_xsave_layout(schema::Cpu::Reader cpu);

// Whether the components lie at the same places, with the same sizes.
bool same_components(const XsaveLayout& a, const XsaveLayout& b);

// XSTATE_BV of an area: the components that are not in their initial state. 0 where it is too
// short to have one.
std::uint64_t xsave_components_in_use(std::span<const std::byte> area);

// "AVX-512 (components 5-7)", "PKRU (component 9)": the components in `bits`, for people.
std::string xsave_component_names(std::uint64_t bits);

// Rewrites `area`, laid out as `from`, for a processor laid out as `to`, into `into`, an area of
// that processor whose components may be in any state. Components that are not in use in `area`
// are in their initial state afterwards.
// Throws Error(kUnsupportedState) where `to` lacks a component that is in use or has it in another
// size, Error(kDamaged) where `area` is too short for what it says.
void convert_xsave_area(std::span<const std::byte> area, const XsaveLayout& from,
                        std::span<std::byte> into, const XsaveLayout& to);

// Instruction-set extensions that the processor of the checkpoint had (Cpu.cpuid) and this one has
// not: a program may have chosen code that uses them. Empty: none, or none recorded.
std::vector<std::string> missing_instruction_sets(schema::Cpu::Reader cpu);

} // namespace rrpcp::process::restore
