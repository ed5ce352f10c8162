#include "replay/buffer/plain_instruction.h"

#include <cstring>

namespace rrpcp::replay::buffer {

namespace {

// REX (Intel SDM volume 2, section 2.2.1)
constexpr unsigned kRexB = 1;
constexpr unsigned kRexR = 4;
constexpr unsigned kRexW = 8;

constexpr std::size_t kImmediate = 4;
constexpr unsigned kUnknown = ~0u;

struct Bytes {
  std::span<const std::byte> code;

  unsigned operator[](std::size_t at) const {
    return at < code.size() ? static_cast<unsigned>(code[at]) : kUnknown;
  }
};

// Bytes of ModRM, SIB and displacement of an operand in memory; 0: it depends on where the
// instruction is.
std::size_t memory_operand(const Bytes& bytes, std::size_t at) {
  const unsigned mode = bytes[at] >> 6;
  const unsigned base = bytes[at] & 7;
  std::size_t length = 1;
  if (mode == 0 && base == 5) {
    return 0;
  }
  if (base == 4) {
    ++length;
    if (mode == 0 && (bytes[at + 1] & 7) == 5) {
      return length + 4;
    }
  }
  return length + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
}

} // namespace

PlainInstruction plain_instruction(std::span<const std::byte> code) {
  const Bytes bytes{code};
  std::size_t at = 0;
  unsigned rex = 0;
  if ((bytes[0] & ~0xfu) == 0x40) {
    rex = bytes[0] & 0xf;
    at = 1;
  }
  const unsigned opcode = bytes[at];
  const unsigned modrm = bytes[at + 1];
  const unsigned memory = (modrm & 7) | ((rex & kRexB) != 0 ? 8 : 0);
  const unsigned other = (modrm >> 3 & 7) | ((rex & kRexR) != 0 ? 8 : 0);
  const bool registers = modrm != kUnknown && modrm >> 6 == 3;
  PlainInstruction found;
  if (opcode >= 0xb8 && opcode <= 0xbf && (rex & kRexW) == 0) { // mov $…, %r32
    found = {at + 1 + kImmediate, (opcode & 7) | ((rex & kRexB) != 0 ? 8 : 0), true};
  } else if (opcode == 0xc7 && registers && (modrm & 0x38) == 0) { // mov $…, %r
    found = {at + 2 + kImmediate, memory, (rex & kRexW) == 0};
  } else if ((opcode == 0x89 || opcode == 0x31) && registers) { // mov, xor to the other one
    found = {at + 2, memory, false};
  } else if ((opcode == 0x8b || opcode == 0x33 || opcode == 0x63) && registers) {
    found = {at + 2, other, false};
  } else if (opcode == 0x8d && modrm != kUnknown && !registers) { // lea
    const std::size_t operand = memory_operand(bytes, at + 1);
    found = {operand != 0 ? at + 1 + operand : 0, other, false};
  }
  return found.length <= code.size() ? found : PlainInstruction();
}

bool is_plain(std::span<const std::byte> code, std::uint32_t* number) {
  constexpr std::size_t kJump = 5;
  constexpr unsigned kRax = 0;
  constexpr unsigned kRsp = 4;
  const PlainInstruction first = plain_instruction(code);
  if (first.length < kJump || !first.sets) {
    return false;
  }
  if (number != nullptr) {
    if (first.target != kRax) {
      return false;
    }
    std::memcpy(number, code.data() + first.length - kImmediate, kImmediate);
  }
  for (std::size_t at = first.length; at < code.size();) {
    const PlainInstruction next = plain_instruction(code.subspan(at));
    if (next.length == 0 || next.target == kRsp || (number != nullptr && next.target == kRax)) {
      return false;
    }
    at += next.length;
  }
  return first.target != kRsp;
}

} // namespace rrpcp::replay::buffer
