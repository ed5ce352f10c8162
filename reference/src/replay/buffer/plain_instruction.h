// Instructions that do the same wherever they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rrpcp::replay::buffer {

// One that computes with general registers alone: it touches no memory, cannot fault, and does not
// depend on where it stands.
struct PlainInstruction {
  std::size_t length = 0; // 0: it is another
  unsigned target = 0;    // number of the register that it changes
  bool sets = false;      // to a constant of 32 bits, which is its last bytes
};

// What stands at the beginning of `code`: mov, movslq, xor and lea of registers and constants.
PlainInstruction plain_instruction(std::span<const std::byte> code);

// Whether `code` begins with one that sets a register to a constant, long enough for a jump in its
// place, and has such instructions up to its end. Of the first, `number` gets the constant where it
// is in eax up to the end.
bool is_plain(std::span<const std::byte> code, std::uint32_t* number = nullptr);

} // namespace rrpcp::replay::buffer
