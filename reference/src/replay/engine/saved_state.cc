#include "replay/engine/saved_state.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <array>
#include <cpuid.h>

namespace rrpcp::replay {

namespace {

using Kind = schema::TrappedInstruction;

// Of an XSAVE area: the end of its header.
constexpr std::uint64_t kExtendedRegion = 576;

struct Component {
  std::uint64_t size = 0;
  std::uint64_t offset = 0; // in the standard format
  bool aligned = false;     // to 64 bytes, in the compacted format
};

Component component(unsigned number) {
  std::uint32_t size = 0;
  std::uint32_t offset = 0;
  std::uint32_t flags = 0;
  std::uint32_t reserved = 0;
  __cpuid_count(0xd, number, size, offset, flags, reserved);
  return {size, offset, (flags & 2) != 0};
}

std::uint64_t general(const user_regs_struct& registers, ZydisRegister name) {
  const ZyanI8 number = ZydisRegisterGetId(name);
  return number < 0 ? 0 : registers.*general_register(static_cast<unsigned>(number));
}

} // namespace

bool has_instruction(const CpuidModel& model, schema::TrappedInstruction instruction) {
  if (model.extended_state() == 0) {
    return false;
  }
  const std::uint32_t more = model.answer(0xd, 1).eax;
  return instruction == Kind::XSAVE || (more >> (instruction == Kind::XSAVEC ? 1 : 0) & 1) != 0;
}

std::uint64_t stored_at(std::span<const std::byte> code, const user_regs_struct& registers) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisDecodedInstruction instruction;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction,
                                          operands.data())) &&
      instruction.operand_count > 0 && operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
    const ZydisDecodedOperandMem& operand = operands[0].mem;
    std::uint64_t address =
        operand.disp.has_displacement != 0 ? static_cast<std::uint64_t>(operand.disp.value) : 0;
    address += operand.base == ZYDIS_REGISTER_RIP || operand.base == ZYDIS_REGISTER_EIP
                   ? registers.rip + instruction.length
               : operand.base != ZYDIS_REGISTER_NONE ? general(registers, operand.base)
                                                     : 0;
    if (operand.index != ZYDIS_REGISTER_NONE) {
      address += general(registers, operand.index) * operand.scale;
    }
    if (instruction.address_width == 32) {
      address &= 0xffffffff;
    }
    return address + (operand.segment == ZYDIS_REGISTER_FS   ? registers.fs_base
                      : operand.segment == ZYDIS_REGISTER_GS ? registers.gs_base
                                                             : 0);
  }
  throw Error(ErrorCode::kInternal, "an instruction that stores registers has no memory operand");
}

buffer::CallBuffer::StateLayout state_layout() {
  buffer::CallBuffer::StateLayout layout;
  layout.size = kExtendedRegion;
  for (unsigned number = 2; number < layout.components.size(); ++number) {
    const Component state = component(number);
    layout.components[number] = {static_cast<std::uint32_t>(state.size), state.aligned ? 1u : 0u};
    layout.size = align_up(layout.size, std::uint64_t{64}) + state.size;
  }
  return layout;
}

std::uint64_t stored_length(process::RemoteMemory& memory, std::uint64_t address,
                            schema::TrappedInstruction instruction, std::uint64_t requested) {
  const bool compacted = instruction == Kind::XSAVEC;
  std::uint64_t stored = requested;
  if (instruction != Kind::XSAVE) {
    stored &= memory.read_value<std::uint64_t>(address + kXstateBv);
  }
  std::uint64_t length = kExtendedRegion;
  std::uint64_t next = kExtendedRegion; // where the next component of the compacted format begins
  for (unsigned number = 2; number < 63; ++number) {
    const std::uint64_t bit = std::uint64_t{1} << number;
    if (((compacted ? requested : stored) & bit) == 0) {
      continue;
    }
    const Component state = component(number);
    if (compacted && state.aligned) {
      next = align_up(next, std::uint64_t{64});
    }
    const std::uint64_t begin = compacted ? next : state.offset;
    next = begin + state.size;
    if ((stored & bit) != 0) {
      length = std::max(length, begin + state.size);
    }
  }
  return length;
}

} // namespace rrpcp::replay
