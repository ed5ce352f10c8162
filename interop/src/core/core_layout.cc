#include "core/core_layout.h"

#include <elf.h>

namespace rrpcp {

namespace {

constexpr CoreLayout kLayouts[] = {
    {EM_X86_64,
     ELFCLASS64,
     8,
     "x86-64",
     {16, 24, 32, 112, 216, 328, 336},
     {16, 20, 4, 24, 40, 56, 136}},
    {EM_AARCH64,
     ELFCLASS64,
     8,
     "AArch64",
     {16, 24, 32, 112, 272, 384, 392},
     {16, 20, 4, 24, 40, 56, 136}},
    {EM_386, ELFCLASS32, 4, "i386", {16, 20, 24, 72, 68, 140, 144}, {8, 10, 2, 12, 28, 44, 124}},
};

} // namespace

const CoreLayout* find_core_layout(std::uint16_t machine, std::uint8_t elf_class) {
  for (const CoreLayout& layout : kLayouts) {
    if (layout.machine == machine && layout.elf_class == elf_class) {
      return &layout;
    }
  }
  return nullptr;
}

} // namespace rrpcp
