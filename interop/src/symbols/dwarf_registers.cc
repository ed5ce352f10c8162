#include "symbols/dwarf_registers.h"

#include "base/bytes.h"

#include <elf.h>

namespace rrpcp {

namespace {

// For each DWARF register the place in the kernel's structure, in words. Sources: the psABI of each
// machine ("DWARF register number mapping") and sys/user.h, asm/ptrace.h.
constexpr std::uint8_t kX86_64[] = {
    10, 12, 11, 5, 13, 14, 4, 19, // rax rdx rcx rbx rsi rdi rbp rsp
    9,  8,  7,  6, 3,  2,  1, 0,  // r8 to r15
    16,                           // return address: rip
};
constexpr std::uint8_t k386[] = {
    6,  1, 2, 0, 15, 5, 3, 4, // eax ecx edx ebx esp ebp esi edi
    12,                       // eip
};

struct Table {
  std::uint16_t machine;
  std::size_t size;
  std::size_t word;
  std::span<const std::uint8_t> places;
  std::size_t pc; // place of the program counter
};

constexpr Table kTables[] = {
    {EM_X86_64, 216, 8, kX86_64, 16},
    {EM_386, 68, 4, k386, 12},
    {EM_AARCH64, 272, 8, {}, 32}, // x0 to x30, sp: as they lie
};

} // namespace

std::optional<DwarfRegisters> dwarf_registers(std::uint16_t machine,
                                              std::span<const std::byte> bytes) {
  for (const Table& table : kTables) {
    if (table.machine != machine || table.size != bytes.size()) {
      continue;
    }
    const auto word = [&](std::size_t place) -> std::uint64_t {
      return table.word == 8 ? load_le<std::uint64_t>(bytes, place * 8)
                             : load_le<std::uint32_t>(bytes, place * 4);
    };
    DwarfRegisters out;
    out.pc = word(table.pc);
    out.pc_is_register = !table.places.empty();
    for (const std::uint8_t place : table.places) {
      out.values.push_back(word(place));
    }
    if (table.places.empty()) {
      for (std::size_t place = 0; place < 32; ++place) {
        out.values.push_back(word(place));
      }
    }
    return out;
  }
  return std::nullopt;
}

} // namespace rrpcp
