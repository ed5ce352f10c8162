// rr's architectures and ELF's machine numbers.
#pragma once

#include "rrpcp/legacy/rr_common.capnp.h"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace rrpcp::compat {

// ELF e_machine; 0 for a value that rr's enumeration does not have.
std::uint16_t elf_machine(legacy::Machine machine);
// The reverse.
std::optional<legacy::Machine> legacy_machine(std::uint16_t elf);

// Bytes of rr's register record of a machine: the kernel's general registers, and for aarch64 two
// more words. 0 for an unknown machine.
std::size_t register_record_size(std::uint16_t elf);

} // namespace rrpcp::compat
