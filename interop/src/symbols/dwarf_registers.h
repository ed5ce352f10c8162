// The general registers of a thread by the numbers that DWARF gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rrpcp {

struct DwarfRegisters {
  std::vector<std::uint64_t> values; // from register 0 on
  std::uint64_t pc = 0;
  // The pc is among the values too.
  bool pc_is_register = false;
};

// From the bytes of NT_PRSTATUS. Nothing for a machine that is not known or another size.
std::optional<DwarfRegisters> dwarf_registers(std::uint16_t machine,
                                              std::span<const std::byte> bytes);

} // namespace rrpcp
