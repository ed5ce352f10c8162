#include "replay/engine/trapped_instructions.h"

#include <algorithm>

namespace rrpcp::replay {

namespace {

using Kind = schema::TrappedInstruction;

bool is_legacy_prefix(unsigned byte) {
  switch (byte) {
  case 0x26:
  case 0x2e:
  case 0x36:
  case 0x3e:
  case 0x64:
  case 0x65:
  case 0x66:
  case 0x67:
  case 0xf2:
  case 0xf3:
    return true;
  default:
    return false; // 0xf0, LOCK, makes them undefined
  }
}

// Bytes of a memory operand from its ModRM byte on, `modrm`, which is followed by `next` (Intel SDM
// volume 2, section 2.1.5). 0 where it is a register.
std::size_t operand_length(unsigned modrm, unsigned next) {
  const unsigned mode = modrm >> 6;
  if (mode == 3) {
    return 0;
  }
  const bool scaled = (modrm & 7) == 4; // a SIB byte
  const bool wide = mode == 2 || (mode == 0 && (scaled ? next & 7 : modrm & 7) == 5);
  return 1 + (scaled ? 1 : 0) + (wide ? 4 : mode == 1 ? 1 : 0);
}

} // namespace

std::optional<TrappedCode> decode_trapped(std::span<const std::byte> code) {
  std::size_t at = 0;
  auto next = [&]() -> unsigned {
    return at < code.size() && at < kLongestInstruction ? static_cast<unsigned>(code[at++]) : 0x100;
  };
  bool small = false;
  unsigned repeat = 0;
  unsigned byte = next();
  for (; is_legacy_prefix(byte); byte = next()) {
    small = small || byte == 0x66;
    repeat = byte >= 0xf2 ? byte : repeat;
  }
  unsigned rex = 0;
  if ((byte & ~0xfu) == 0x40) {
    rex = byte;
    byte = next();
  }
  if (byte != 0x0f) {
    return std::nullopt;
  }
  TrappedCode found;
  // One that stores to memory; ModRM is `byte`.
  auto store = [&](Kind kind) -> std::optional<TrappedCode> {
    const std::size_t operand =
        operand_length(byte, at < code.size() ? static_cast<unsigned>(code[at]) : 0);
    const std::size_t end = at - 1 + operand;
    if (operand == 0 || end > std::min(code.size(), kLongestInstruction)) {
      return std::nullopt;
    }
    found.kind = kind;
    found.length = static_cast<std::uint8_t>(end);
    return found;
  };
  switch (next()) {
  case 0x31:
    found.kind = Kind::RDTSC;
    break;
  case 0xa2:
    found.kind = Kind::CPUID;
    break;
  case 0x01:
    byte = next();
    if (byte == 0xf9) {
      found.kind = Kind::RDTSCP;
    } else if (byte == 0xd0 && !small && repeat == 0) {
      found.kind = Kind::XGETBV;
    } else {
      return std::nullopt;
    }
    break;
  case 0xae:
    byte = next();
    if (byte > 0xff || small || repeat != 0) {
      return std::nullopt; // CLWB, PTWRITE, …
    }
    switch (byte >> 3 & 7) {
    case 4:
      return store(Kind::XSAVE);
    case 6:
      return store(Kind::XSAVEOPT);
    default:
      return std::nullopt;
    }
  case 0xc7: {
    byte = next();
    const unsigned operation = byte >> 3 & 7;
    if (byte <= 0xff && operation == 4 && !small && repeat == 0) {
      return store(Kind::XSAVEC);
    }
    if (byte > 0xff || byte >> 6 != 3 || operation < 6) {
      return std::nullopt;
    }
    found.target = static_cast<std::uint8_t>((byte & 7) | ((rex & 1) << 3));
    if (repeat == 0xf3) {
      if (operation == 6) {
        return std::nullopt; // SENDUIPI
      }
      found.kind = Kind::RDPID;
      found.width = 64;
    } else if (repeat == 0) {
      found.kind = operation == 6 ? Kind::RDRAND : Kind::RDSEED;
      found.width = (rex & 8) != 0 ? 64 : small ? 16 : 32;
    } else {
      return std::nullopt;
    }
    break;
  }
  default:
    return std::nullopt;
  }
  found.length = static_cast<std::uint8_t>(at);
  return found;
}

std::string_view instruction_name(schema::TrappedInstruction instruction) {
  switch (instruction) {
  case Kind::RDTSC:
    return "RDTSC";
  case Kind::RDTSCP:
    return "RDTSCP";
  case Kind::CPUID:
    return "CPUID";
  case Kind::RDRAND:
    return "RDRAND";
  case Kind::RDSEED:
    return "RDSEED";
  case Kind::XGETBV:
    return "XGETBV";
  case Kind::RDPID:
    return "RDPID";
  case Kind::XSAVE:
    return "XSAVE";
  case Kind::XSAVEOPT:
    return "XSAVEOPT";
  case Kind::XSAVEC:
    return "XSAVEC";
  }
  return "an instruction";
}

bool saves_state(schema::TrappedInstruction instruction) {
  return instruction == Kind::XSAVE || instruction == Kind::XSAVEOPT || instruction == Kind::XSAVEC;
}

unsigned long long user_regs_struct::*general_register(unsigned number) {
  using R = user_regs_struct;
  constexpr unsigned long long R::*kRegisters[] = {
      &R::rax, &R::rcx, &R::rdx, &R::rbx, &R::rsp, &R::rbp, &R::rsi, &R::rdi,
      &R::r8,  &R::r9,  &R::r10, &R::r11, &R::r12, &R::r13, &R::r14, &R::r15};
  return kRegisters[number & 15];
}

} // namespace rrpcp::replay
