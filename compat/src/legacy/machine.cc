#include "legacy/machine.h"

#include <elf.h>

namespace rrpcp::compat {

std::uint16_t elf_machine(legacy::Machine machine) {
  switch (machine) {
  case legacy::Machine::X86:
    return EM_386;
  case legacy::Machine::X8664:
    return EM_X86_64;
  case legacy::Machine::AARCH64:
    return EM_AARCH64;
  }
  return EM_NONE;
}

std::optional<legacy::Machine> legacy_machine(std::uint16_t elf) {
  switch (elf) {
  case EM_386:
    return legacy::Machine::X86;
  case EM_X86_64:
    return legacy::Machine::X8664;
  case EM_AARCH64:
    return legacy::Machine::AARCH64;
  default:
    return std::nullopt;
  }
}

std::size_t register_record_size(std::uint16_t elf) {
  switch (elf) {
  case EM_386:
    return 17 * 4;
  case EM_X86_64:
    return 27 * 8;
  case EM_AARCH64:
    return 34 * 8 + 16;
  default:
    return 0;
  }
}

} // namespace rrpcp::compat
