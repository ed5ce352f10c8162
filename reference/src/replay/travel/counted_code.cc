#include "replay/travel/counted_code.h"

#include "base/page.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <sys/auxv.h>
#include <sys/mman.h>

namespace rrpcp::replay {

namespace {

using Layout = CountedLayout;

// Blocks that are made at once, from what a block leads to.
constexpr std::size_t kMostAhead = 400;
// Numbers of general registers as instructions have them.
constexpr unsigned kAx = 0;
constexpr unsigned kCx = 1;

// How control goes on behind an instruction.
enum class Flow { kNext, kJump, kConditional, kShortConditional, kCall, kIndirect, kReturn, kStop };

std::optional<unsigned> register_number(ZydisRegister reg) {
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  if (ZydisRegisterGetClass(whole) != ZYDIS_REGCLASS_GPR64) {
    return std::nullopt;
  }
  return static_cast<unsigned>(ZydisRegisterGetId(whole));
}

// A file of the trace, which nobody writes, and not memory that is shared.
bool is_kept_file(const std::string& name) {
  return name.rfind("/memfd:", 0) != 0 && name.rfind("/dev/zero", 0) != 0 &&
         name.rfind("/SYSV", 0) != 0;
}

} // namespace

struct CountedCode::Decoded {
  std::uint64_t pc = 0;
  std::array<std::uint8_t, kLongestInstruction> code{};
  ZydisDecodedInstruction instruction{};
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};
  Flow flow = Flow::kNext;
  bool writes_memory = false;
  // Of the memory operand that is addressed relative to the instruction; nothing: there is none.
  std::optional<std::uint64_t> relative;
  // Target of a direct branch.
  std::uint64_t target = 0;
  unsigned used = 0; // general registers, as bits

  std::uint64_t next() const { return pc + instruction.length; }
};

CountedCode::CountedCode(std::uint64_t base, process::RemoteMemory& memory,
                         std::vector<process::ProcMapping> mappings, CountedSites sites)
    : base_(base), memory_(&memory), mappings_(std::move(mappings)), sites_(std::move(sites)) {
  if (sites_.watched.size() > Layout::kMostWatched) {
    throw Error(ErrorCode::kInvalidArgument, "too many bytes are watched at once");
  }
  code_.reserve(1 << 20);
  emit_lookup();
}

void CountedCode::bytes(std::initializer_list<unsigned> list) {
  for (unsigned byte : list) {
    code_.push_back(static_cast<std::uint8_t>(byte));
  }
}

void CountedCode::value32(std::uint32_t value) {
  for (int i = 0; i < 4; ++i) {
    code_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}

void CountedCode::value64(std::uint64_t value) {
  value32(static_cast<std::uint32_t>(value));
  value32(static_cast<std::uint32_t>(value >> 32));
}

void CountedCode::patch32(std::uint32_t at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) {
    code_[at + static_cast<std::uint32_t>(i)] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  if (at < flushed_) {
    patched_.push_back(at);
  }
}

std::uint64_t CountedCode::address_of(std::uint32_t offset) const {
  return base_ + Layout::kDataLength + offset;
}

std::uint32_t CountedCode::variable(std::uint32_t offset) const {
  return static_cast<std::uint32_t>(base_ + offset);
}

void CountedCode::store(unsigned reg, std::uint32_t offset) {
  bytes({0x48, 0x89, (reg << 3) | 4, 0x25});
  value32(variable(offset));
}

void CountedCode::load(unsigned reg, std::uint32_t offset) {
  bytes({0x48, 0x8b, (reg << 3) | 4, 0x25});
  value32(variable(offset));
}

// jmp rel32, to be led to the copy of `pc`.
void CountedCode::jump_to(std::uint64_t pc) {
  bytes({0xe9});
  fixups_.push_back({here(), pc});
  value32(0);
}

void CountedCode::exit(const Exit& what) {
  bytes({0xcc});
  exits_[here()] = what;
}

// Goes on at the copy of the address in rax and kTarget; rax and rcx are in kScratch.
void CountedCode::emit_lookup() {
  lookup_ = here();
  bytes({0x0f, 0xb7, 0xc8}); // movzx ecx, ax
  bytes({0x48, 0x8b, 0x0c, 0xcd});
  value32(variable(Layout::kKeys));      // mov rcx, [keys + rcx * 8]
  bytes({0x48, 0xf7, 0xd1});             // not rcx
  bytes({0x48, 0x8d, 0x4c, 0x01, 0x01}); // lea rcx, [rcx + rax + 1]
  bytes({0xe3, 0});                      // jrcxz first
  const std::uint32_t first = here() - 1;
  bytes({0x0f, 0xb7, 0x0c, 0x25});
  value32(variable(Layout::kTarget) + 1); // movzx ecx, word [target + 1]
  bytes({0x48, 0x8b, 0x0c, 0xcd});
  value32(variable(Layout::kMoreKeys));
  bytes({0x48, 0xf7, 0xd1});
  bytes({0x48, 0x8d, 0x4c, 0x01, 0x01});
  bytes({0xe3, 0}); // jrcxz second
  const std::uint32_t second = here() - 1;
  load(kAx, Layout::kScratch + 8 * kAx);
  load(kCx, Layout::kScratch + 8 * kCx);
  exit({ExitKind::kIndirect, 0, true});
  const auto found = [&](std::uint32_t jump) {
    code_[jump] = static_cast<std::uint8_t>(here() - jump - 1);
  };
  const auto go = [&](std::uint32_t values) {
    bytes({0x48, 0x8b, 0x0c, 0xcd});
    value32(variable(values)); // mov rcx, [values + rcx * 8]
    store(kCx, Layout::kJump);
    load(kAx, Layout::kScratch + 8 * kAx);
    load(kCx, Layout::kScratch + 8 * kCx);
    bytes({0xff, 0x24, 0x25});
    value32(variable(Layout::kJump)); // jmp [jump]
  };
  found(first);
  bytes({0x0f, 0xb7, 0xc8}); // movzx ecx, ax
  go(Layout::kValues);
  found(second);
  bytes({0x0f, 0xb7, 0x0c, 0x25});
  value32(variable(Layout::kTarget) + 1);
  go(Layout::kMoreValues);
}

// Takes a block's instructions from the counter; leaves where fewer are left.
void CountedCode::count(std::uint32_t instructions, std::uint64_t pc) {
  store(kCx, Layout::kScratch + 8 * kCx);
  load(kCx, Layout::kCounter);
  bytes({0x48, 0x8d, 0x49, static_cast<unsigned>(-static_cast<int>(instructions)) & 0xff});
  store(kCx, Layout::kCounter);
  bytes({0x0f, 0xb6, 0x0c, 0x25});
  value32(variable(Layout::kCounter) + 7); // movzx ecx, byte [counter + 7]: 0 unless negative
  bytes({0xe3, 9});                        // jrcxz: goes on
  load(kCx, Layout::kScratch + 8 * kCx);   // 8 bytes
  exit({ExitKind::kLimit, pc, false, instructions});
  load(kCx, Layout::kScratch + 8 * kCx);
}

// rcx is free.
void CountedCode::note_finding(std::uint32_t uncounted, std::uint32_t id) {
  load(kCx, Layout::kCounter);
  bytes({0x48, 0x8d, 0x89});
  value32(uncounted); // lea rcx, [rcx + uncounted]
  store(kCx, Layout::kLast);
  bytes({0xc7, 0x04, 0x25});
  value32(variable(Layout::kLastId));
  value32(id);
  load(kCx, Layout::kFindings);
  bytes({0x48, 0x8d, 0x49, 0x01});
  store(kCx, Layout::kFindings);
}

bool CountedCode::is_site(std::uint64_t pc) const {
  return (sites_.met && sites_.met->address == pc) ||
         std::find(sites_.addresses.begin(), sites_.addresses.end(), pc) != sites_.addresses.end();
}

// Leaves where the registers are those of the state that is looked for.
void CountedCode::look_at_registers(std::uint64_t pc, std::uint32_t count) {
  if (!sites_.met || sites_.met->address != pc) {
    return;
  }
  store(kAx, Layout::kScratch + 8 * kAx);
  store(kCx, Layout::kScratch + 8 * kCx);
  std::vector<std::uint32_t> others;
  for (unsigned number = 0; number < sites_.met->registers.size(); ++number) {
    if (number == kAx || number == kCx) {
      load(kAx, Layout::kScratch + 8 * number);
    } else {
      bytes({0x48u | (number >= 8 ? 4u : 0u), 0x89, 0xc0 | ((number & 7) << 3)}); // mov rax, reg
    }
    load(kCx, Layout::kMet + 8 * number);
    bytes({0x48, 0xf7, 0xd0});             // not rax
    bytes({0x48, 0x8d, 0x4c, 0x01, 0x01}); // lea rcx, [rcx + rax + 1]: wanted - has
    bytes({0xe3, 5});                      // jrcxz: the same
    bytes({0xe9});
    others.push_back(here());
    value32(0);
  }
  load(kAx, Layout::kScratch + 8 * kAx);
  load(kCx, Layout::kScratch + 8 * kCx);
  exit({ExitKind::kMet, pc, false, count});
  for (std::uint32_t at : others) {
    patch32(at, here() - (at + 4));
  }
  load(kAx, Layout::kScratch + 8 * kAx);
  load(kCx, Layout::kScratch + 8 * kCx);
}

void CountedCode::look_at_address(std::uint64_t pc, std::uint32_t count) {
  look_at_registers(pc, count);
  const auto found = std::find(sites_.addresses.begin(), sites_.addresses.end(), pc);
  if (found == sites_.addresses.end()) {
    return;
  }
  const auto number = static_cast<std::uint32_t>(found - sites_.addresses.begin());
  if (sites_.record) {
    store(kCx, Layout::kScratch + 8 * kCx);
    note_finding(count, static_cast<std::uint32_t>(sites_.watched.size()) + number);
    load(kCx, Layout::kScratch + 8 * kCx);
  } else if (number == 0) {
    store(kCx, Layout::kScratch + 8 * kCx);
    load(kCx, Layout::kTimes);
    bytes({0x48, 0x8d, 0x49, 0xff}); // lea rcx, [rcx - 1]
    store(kCx, Layout::kTimes);
    bytes({0xe3, 10});                     // jrcxz
    load(kCx, Layout::kScratch + 8 * kCx); // 8 bytes
    bytes({0xeb, 9});                      // jmp behind
    load(kCx, Layout::kScratch + 8 * kCx);
    exit({ExitKind::kAddress, pc, false, count});
  } else {
    exit({ExitKind::kAddress, pc, false, count});
  }
}

// Compares watched bytes with what they were. `saved`: rax and rcx are in kScratch, and free.
void CountedCode::look_at_watched(std::uint32_t uncounted, std::uint64_t next, bool saved) {
  if (!saved) {
    store(kAx, Layout::kScratch + 8 * kAx);
    store(kCx, Layout::kScratch + 8 * kCx);
  }
  for (std::uint32_t id = 0; id < sites_.watched.size(); ++id) {
    const WatchedBytes& watched = sites_.watched[id];
    bytes({0x48, 0xb9});
    value64(watched.address); // mov rcx, address
    switch (watched.length) {
    case 1:
      bytes({0x0f, 0xb6, 0x01});
      break;
    case 2:
      bytes({0x0f, 0xb7, 0x01});
      break;
    case 4:
      bytes({0x8b, 0x01});
      break;
    default:
      bytes({0x48, 0x8b, 0x01});
    }
    load(kCx, Layout::kOld + 8 * id);
    bytes({0x48, 0xf7, 0xd0});             // not rax
    bytes({0x48, 0x8d, 0x4c, 0x01, 0x01}); // lea rcx, [rcx + rax + 1]: old - new
    bytes({0xe3, 5});                      // jrcxz: the same
    bytes({0xe9});
    const std::uint32_t jump = here();
    value32(0);
    // Out of the way of what happens mostly.
    bytes({0xe9});
    const std::uint32_t around = here();
    value32(0);
    patch32(jump, here() - (jump + 4));
    if (sites_.record) {
      bytes({0x48, 0xf7, 0xd0}); // not rax
      store(kAx, Layout::kOld + 8 * id);
      note_finding(uncounted, id);
    } else {
      load(kAx, Layout::kScratch + 8 * kAx);
      load(kCx, Layout::kScratch + 8 * kCx);
      exit({ExitKind::kWatched, next, saved, uncounted, id});
    }
    patch32(around, here() - (around + 4));
  }
  if (!saved) {
    load(kAx, Layout::kScratch + 8 * kAx);
    load(kCx, Layout::kScratch + 8 * kCx);
  }
}

// Leaves where an operand of the instruction lies near accessed bytes. False where it cannot be
// told: it has to be examined each time.
bool CountedCode::look_at_accessed(const Decoded& decoded, std::uint32_t uncounted) {
  constexpr std::uint64_t kBefore = 64;             // the longest operand
  constexpr unsigned long kHasBaseInstructions = 2; // HWCAP2_FSGSBASE, asm/hwcap2.h
  for (std::size_t i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
      continue;
    }
    const bool segmented =
        operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS;
    const auto is_usable = [](ZydisRegister reg) {
      return reg == ZYDIS_REGISTER_NONE || ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR64;
    };
    if (operand.mem.type != ZYDIS_MEMOP_TYPE_MEM || operand.size > 8 * kBefore ||
        (decoded.instruction.attributes &
         (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0 ||
        (operand.mem.base != ZYDIS_REGISTER_RIP && !is_usable(operand.mem.base)) ||
        !is_usable(operand.mem.index) ||
        (segmented && (::getauxval(AT_HWCAP2) & kHasBaseInstructions) == 0) ||
        operand.mem.disp.value != static_cast<std::int32_t>(operand.mem.disp.value)) {
      return false;
    }
  }
  for (std::size_t i = 0; i < decoded.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = decoded.operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type != ZYDIS_MEMOP_TYPE_MEM) {
      continue;
    }
    store(kAx, Layout::kScratch + 8 * kAx);
    store(kCx, Layout::kScratch + 8 * kCx);
    if (operand.mem.base == ZYDIS_REGISTER_RIP) {
      bytes({0x48, 0xb8});
      value64(*decoded.relative); // mov rax, address
    } else {
      const unsigned base = register_number(operand.mem.base).value_or(5);
      const unsigned index = register_number(operand.mem.index).value_or(4);
      unsigned scale = 0;
      while ((1u << scale) < operand.mem.scale) {
        ++scale;
      }
      const bool has_base = operand.mem.base != ZYDIS_REGISTER_NONE;
      bytes({0x48u | (index >= 8 ? 2u : 0u) | (base >= 8 ? 1u : 0u), 0x8d, has_base ? 0x84u : 0x04u,
             (scale << 6) | ((index & 7) << 3) | (base & 7)});
      value32(static_cast<std::uint32_t>(operand.mem.disp.value)); // lea rax, [as it has it]
    }
    if (operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS) {
      bytes({0xf3, 0x48, 0x0f, 0xae,
             operand.mem.segment == ZYDIS_REGISTER_FS ? 0xc1u : 0xc9u}); // rdfsbase rcx
      bytes({0x48, 0x8d, 0x04, 0x08});                                   // lea rax, [rax + rcx]
    }
    std::vector<std::uint32_t> near;
    for (const AccessedBytes& accessed : sites_.accessed) {
      bytes({0x48, 0xb9});
      value64(kBefore - accessed.address);
      bytes({0x48, 0x8d, 0x0c, 0x08}); // lea rcx, [rax + rcx]
      store(kCx, Layout::kDistance);
      load(kCx, Layout::kDistance + 1); // without the lowest byte: 0 when it is near
      bytes({0xe3, 2});                 // jrcxz
      bytes({0xeb, 5});                 // on
      bytes({0xe9});
      near.push_back(here());
      value32(0);
    }
    load(kAx, Layout::kScratch + 8 * kAx);
    load(kCx, Layout::kScratch + 8 * kCx);
    bytes({0xe9});
    const std::uint32_t around = here();
    value32(0);
    for (std::uint32_t at : near) {
      patch32(at, here() - (at + 4));
    }
    load(kAx, Layout::kScratch + 8 * kAx);
    load(kCx, Layout::kScratch + 8 * kCx);
    exit({ExitKind::kSpecial, decoded.pc, false, uncounted});
    patch32(around, here() - (around + 4));
  }
  return true;
}

bool CountedCode::touches(std::uint64_t address, std::uint64_t length) const {
  const auto page = pages_.lower_bound(address & ~(kPage - 1));
  return page != pages_.end() && page->first < address + length;
}

void CountedCode::push_return_address(std::uint64_t value) {
  bytes({0xc7, 0x44, 0x24, 0xf8});
  value32(static_cast<std::uint32_t>(value)); // mov dword [rsp - 8], low
  bytes({0xc7, 0x44, 0x24, 0xfc});
  value32(static_cast<std::uint32_t>(value >> 32));
  bytes({0x48, 0x8d, 0x64, 0x24, 0xf8}); // lea rsp, [rsp - 8]
}

std::size_t CountedCode::read_code(std::uint64_t pc, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const std::uint64_t at = pc + done;
    const std::uint64_t page = at & ~(kPage - 1);
    auto found = pages_.find(page);
    if (found == pages_.end()) {
      std::vector<std::byte> bytes(kPage);
      bytes.resize(memory_->read_some(page, bytes));
      found = pages_.emplace(page, std::move(bytes)).first;
    }
    const std::size_t offset = at - page;
    if (offset >= found->second.size()) {
      break;
    }
    const std::size_t size = std::min(out.size() - done, found->second.size() - offset);
    std::memcpy(out.data() + done, found->second.data() + offset, size);
    done += size;
  }
  return done;
}

// Code that cannot change while it is executed.
bool CountedCode::can_be_copied(std::uint64_t pc) const {
  auto after = std::upper_bound(mappings_.begin(), mappings_.end(), pc,
                                [](std::uint64_t address, const process::ProcMapping& mapping) {
                                  return address < mapping.start;
                                });
  if (after == mappings_.begin() || !(after - 1)->contains(pc)) {
    return false;
  }
  const process::ProcMapping& mapping = *(after - 1);
  return (mapping.protection & PROT_EXEC) != 0 && (mapping.protection & PROT_WRITE) == 0 &&
         (!mapping.shared || is_kept_file(mapping.name));
}

std::optional<CountedCode::Decoded> CountedCode::decode(std::uint64_t pc) {
  if (!can_be_copied(pc)) {
    return std::nullopt;
  }
  Decoded out;
  out.pc = pc;
  const std::size_t size = read_code(pc, std::as_writable_bytes(std::span(out.code)));
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, out.code.data(), size, &out.instruction,
                                           out.operands.data()))) {
    return std::nullopt;
  }
  if (decode_trapped(std::as_bytes(std::span(out.code)).first(size)) ||
      !can_be_copied(pc + out.instruction.length - 1)) {
    return std::nullopt;
  }
  switch (out.instruction.meta.category) {
  case ZYDIS_CATEGORY_SYSCALL:
  case ZYDIS_CATEGORY_SYSRET:
  case ZYDIS_CATEGORY_INTERRUPT:
    return std::nullopt;
  default:
    break;
  }
  for (std::size_t i = 0; i < out.instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = out.operands[i];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      if (const auto number = register_number(operand.reg.value)) {
        out.used |= 1u << *number;
      }
    } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      for (ZydisRegister reg : {operand.mem.base, operand.mem.index}) {
        if (const auto number = register_number(reg)) {
          out.used |= 1u << *number;
        }
      }
      if (operand.mem.base == ZYDIS_REGISTER_RIP) {
        ZyanU64 address = 0;
        if (!ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&out.instruction, &operand, pc, &address))) {
          return std::nullopt;
        }
        out.relative = address;
      } else if (operand.mem.base == ZYDIS_REGISTER_EIP) {
        return std::nullopt;
      }
      if (operand.mem.type == ZYDIS_MEMOP_TYPE_MEM &&
          (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0) {
        out.writes_memory = true;
      }
      if (operand.mem.type == ZYDIS_MEMOP_TYPE_VSIB || operand.mem.type == ZYDIS_MEMOP_TYPE_MIB) {
        out.writes_memory =
            out.writes_memory || (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
      }
    }
  }
  const auto direct = [&] {
    const ZydisDecodedOperand& operand = out.operands[0];
    if (operand.type != ZYDIS_OPERAND_TYPE_IMMEDIATE || !operand.imm.is_relative) {
      return false;
    }
    ZyanU64 address = 0;
    ZydisCalcAbsoluteAddress(&out.instruction, &operand, pc, &address);
    out.target = address;
    return true;
  };
  const bool near = out.instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR &&
                    (out.instruction.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) == 0;
  switch (out.instruction.meta.category) {
  case ZYDIS_CATEGORY_CALL:
    if (!near || out.instruction.operand_width != 64) {
      return std::nullopt;
    }
    out.flow = direct() ? Flow::kCall : Flow::kIndirect;
    break;
  case ZYDIS_CATEGORY_UNCOND_BR:
    if (!near || out.instruction.operand_width != 64) {
      return std::nullopt;
    }
    out.flow = direct() ? Flow::kJump : Flow::kIndirect;
    break;
  case ZYDIS_CATEGORY_COND_BR:
    if (!direct()) {
      return std::nullopt;
    }
    switch (out.instruction.mnemonic) {
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
      out.flow = Flow::kShortConditional;
      break;
    case ZYDIS_MNEMONIC_XBEGIN:
    case ZYDIS_MNEMONIC_XABORT:
    case ZYDIS_MNEMONIC_XEND:
      return std::nullopt;
    default:
      out.flow = Flow::kConditional;
    }
    break;
  case ZYDIS_CATEGORY_RET:
    if (out.instruction.mnemonic != ZYDIS_MNEMONIC_RET ||
        out.instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
        out.instruction.operand_width != 64) {
      return std::nullopt;
    }
    out.flow = Flow::kReturn;
    break;
  default:
    if (out.instruction.mnemonic == ZYDIS_MNEMONIC_XBEGIN ||
        out.instruction.mnemonic == ZYDIS_MNEMONIC_UD0 ||
        out.instruction.mnemonic == ZYDIS_MNEMONIC_UD1 ||
        out.instruction.mnemonic == ZYDIS_MNEMONIC_UD2 ||
        out.instruction.mnemonic == ZYDIS_MNEMONIC_HLT) {
      return std::nullopt;
    }
  }
  return out;
}

// Copies an instruction that does not branch. False where that cannot be.
bool CountedCode::copy(const Decoded& decoded) {
  const std::size_t length = decoded.instruction.length;
  if (!decoded.relative) {
    code_.insert(code_.end(), decoded.code.begin(), decoded.code.begin() + length);
    return true;
  }
  // Its memory operand may be out of reach: its address comes by way of a register that the
  // instruction does not use.
  std::optional<unsigned> scratch;
  for (unsigned number : {1u, 2u, 0u, 6u, 7u, 3u}) {
    if ((decoded.used & (1u << number)) == 0) {
      scratch = number;
      break;
    }
  }
  const auto& raw = decoded.instruction.raw;
  if (!scratch || raw.modrm.offset == 0 || raw.disp.size != 32) {
    return false;
  }
  std::array<std::uint8_t, kLongestInstruction> changed = decoded.code;
  changed[raw.modrm.offset] =
      static_cast<std::uint8_t>((changed[raw.modrm.offset] & 0x38) | 0x80 | *scratch);
  std::memset(changed.data() + raw.disp.offset, 0, 4);
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisDecodedInstruction again;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&decoder, changed.data(), length, &again, operands.data())) ||
      again.length != length || again.mnemonic != decoded.instruction.mnemonic) {
    return false;
  }
  for (std::size_t i = 0; i < again.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (decoded.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
        decoded.operands[i].mem.base == ZYDIS_REGISTER_RIP &&
        (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.index != ZYDIS_REGISTER_NONE ||
         register_number(operand.mem.base) != scratch ||
         ZydisRegisterGetClass(operand.mem.base) != ZYDIS_REGCLASS_GPR64)) {
      return false;
    }
  }
  store(*scratch, Layout::kScratch + 8 * *scratch);
  bytes({0x48, 0xb8 | *scratch});
  value64(*decoded.relative);
  const std::uint32_t at = here();
  origins_[at] = origins_.rbegin()->second;
  origins_[at].saved = 1u << *scratch;
  code_.insert(code_.end(), changed.begin(), changed.begin() + length);
  load(*scratch, Layout::kScratch + 8 * *scratch);
  return true;
}

void CountedCode::end_block(const Decoded& decoded) {
  const bool watching = !sites_.watched.empty();
  const std::size_t length = decoded.instruction.length;
  switch (decoded.flow) {
  case Flow::kJump:
    jump_to(decoded.target);
    return;
  case Flow::kConditional: {
    // The condition is in the low four bits of the opcode, short or long.
    bytes({0x0f, 0x80u | (decoded.instruction.opcode & 0xfu)});
    fixups_.push_back({here(), decoded.target});
    value32(0);
    jump_to(decoded.next());
    return;
  }
  case Flow::kShortConditional:
    code_.insert(code_.end(), decoded.code.begin(), decoded.code.begin() + length - 1);
    bytes({5});
    jump_to(decoded.next()); // 5 bytes
    jump_to(decoded.target);
    return;
  case Flow::kCall:
    push_return_address(decoded.next());
    if (watching) {
      look_at_watched(0, decoded.target, false);
    }
    jump_to(decoded.target);
    return;
  case Flow::kReturn: {
    store(kAx, Layout::kScratch + 8 * kAx);
    store(kCx, Layout::kScratch + 8 * kCx);
    bytes({0x48, 0x8b, 0x04, 0x24}); // mov rax, [rsp]
    store(kAx, Layout::kTarget);
    std::uint32_t popped = 8;
    if (decoded.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
      popped += static_cast<std::uint32_t>(decoded.operands[0].imm.value.u);
    }
    bytes({0x48, 0x8d, 0xa4, 0x24});
    value32(popped); // lea rsp, [rsp + popped]
    break;
  }
  default: { // kIndirect
    store(kAx, Layout::kScratch + 8 * kAx);
    store(kCx, Layout::kScratch + 8 * kCx);
    const ZydisDecodedOperand& operand = decoded.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      const unsigned number = *register_number(operand.reg.value);
      bytes({0x48u | (number >= 8 ? 4u : 0u), 0x89, 0xc0 | ((number & 7) << 3)}); // mov rax, reg
    } else if (decoded.relative) {
      bytes({0x48, 0xa1});
      value64(*decoded.relative); // mov rax, [address]
    } else {
      // mov rax, [as the instruction has it]: its prefixes without REX, then ours.
      const auto& raw = decoded.instruction.raw;
      for (std::size_t i = 0; i < raw.prefix_count; ++i) {
        if (raw.prefixes[i].value < 0x40 || raw.prefixes[i].value > 0x4f) {
          bytes({raw.prefixes[i].value});
        }
      }
      bytes({0x48u | (raw.rex.B ? 1u : 0u) | (raw.rex.X ? 2u : 0u), 0x8b,
             decoded.code[raw.modrm.offset] & 0xc7u});
      code_.insert(code_.end(), decoded.code.begin() + raw.modrm.offset + 1,
                   decoded.code.begin() + length);
    }
    store(kAx, Layout::kTarget);
    if (decoded.instruction.meta.category == ZYDIS_CATEGORY_CALL) {
      // A fault here is one of the call: rax, which the program had, is in kScratch.
      const Origin origin = origins_.rbegin()->second;
      origins_[here()] = {origin.pc, origin.uncounted, 1u << kAx};
      push_return_address(decoded.next());
      if (watching) {
        look_at_watched(0, 0, true);
        load(kAx, Layout::kTarget);
      }
    }
  }
  }
  bytes({0xe9});
  value32(lookup_ - (here() + 4));
}

std::uint32_t CountedCode::make_block(std::uint64_t pc, std::uint32_t most, Make make) {
  std::vector<Decoded> instructions;
  std::uint64_t next = pc;
  bool special = false;
  while (instructions.size() < most) {
    if (!instructions.empty() && is_site(next)) {
      break;
    }
    std::optional<Decoded> decoded = decode(next);
    if (!decoded) {
      special = true;
      break;
    }
    next = decoded->next();
    const bool ends = decoded->flow != Flow::kNext;
    instructions.push_back(std::move(*decoded));
    if (ends) {
      break;
    }
  }
  const std::uint32_t start = here();
  const auto number = static_cast<std::uint32_t>(instructions.size());
  if (number == 0) {
    // What is looked for is found before the instruction is executed in another way.
    count(1, pc);
    if (make != Make::kFirst) {
      look_at_address(pc, 1);
    }
    exit({ExitKind::kSpecial, pc, false, 1});
    return start;
  }
  count(number, pc);
  if (make != Make::kFirst) {
    look_at_address(pc, number);
  }
  for (std::uint32_t i = 0; i < number; ++i) {
    const Decoded& decoded = instructions[i];
    origins_[here()] = {};
    if (!sites_.accessed.empty() && !look_at_accessed(decoded, number - i)) {
      exit({ExitKind::kSpecial, decoded.pc, false, number - i});
      return start;
    }
    origins_[here()] = {decoded.pc, number - i, 0};
    if (decoded.flow != Flow::kNext) {
      end_block(decoded);
      origins_[here()] = {};
      return start;
    }
    if (!copy(decoded)) {
      // Counted, and not to be executed.
      exit({ExitKind::kSpecial, decoded.pc, false, number - i});
      return start;
    }
    if (decoded.writes_memory && !sites_.watched.empty()) {
      origins_[here()] = {};
      look_at_watched(number - i - 1, decoded.next(), false);
    }
  }
  origins_[here()] = {};
  if (special) {
    if (is_site(next)) {
      jump_to(next);
    } else {
      exit({ExitKind::kSpecial, next});
    }
  } else if (make != Make::kBlock && most < kLongestBlock) {
    exit({ExitKind::kEnd, next});
  } else {
    jump_to(next);
  }
  return start;
}

void CountedCode::add_to_table(std::uint64_t pc, std::uint64_t target) {
  const auto put = [&](std::uint32_t keys, std::uint32_t values, std::uint32_t slot) {
    table_entries_.emplace_back(keys + 8 * slot, pc);
    table_entries_.emplace_back(values + 8 * slot, target);
    keys_[keys + 8 * slot] = pc;
  };
  const auto low = static_cast<std::uint32_t>(pc & 0xffff);
  const auto middle = static_cast<std::uint32_t>((pc >> 8) & 0xffff);
  auto found = keys_.find(Layout::kKeys + 8 * low);
  if (found == keys_.end() || found->second == pc) {
    put(Layout::kKeys, Layout::kValues, low);
  } else {
    put(Layout::kMoreKeys, Layout::kMoreValues, middle);
  }
}

// Makes what jumps lead to, some way ahead, and leads them there; those that go further leave.
void CountedCode::make_pending() {
  std::vector<Fixup> left;
  std::size_t made = 0;
  for (std::size_t i = 0; i < fixups_.size(); ++i) {
    const Fixup fixup = fixups_[i];
    auto found = blocks_.find(fixup.pc);
    if (found == blocks_.end() && made < kMostAhead) {
      ++made;
      const std::uint32_t start = make_block(fixup.pc, kLongestBlock, Make::kBlock);
      found = blocks_.emplace(fixup.pc, start).first;
      add_to_table(fixup.pc, address_of(start));
    }
    if (found != blocks_.end()) {
      patch32(fixup.patch, found->second - (fixup.patch + 4));
    } else {
      left.push_back(fixup);
    }
  }
  fixups_.clear();
  for (const Fixup& fixup : left) {
    patch32(fixup.patch, here() - (fixup.patch + 4));
    exit({ExitKind::kLink, fixup.pc, false, 0, 0, fixup.patch});
  }
}

std::uint64_t CountedCode::entry(std::uint64_t pc) {
  auto found = blocks_.find(pc);
  if (found == blocks_.end()) {
    const std::uint32_t start = make_block(pc, kLongestBlock, Make::kBlock);
    found = blocks_.emplace(pc, start).first;
    add_to_table(pc, address_of(start));
    const std::uint32_t offset = found->second;
    make_pending();
    return address_of(offset);
  }
  return address_of(found->second);
}

std::uint64_t CountedCode::single(std::uint64_t pc, std::uint32_t most) {
  const std::uint32_t start = make_block(pc, most, Make::kFirst);
  make_pending();
  return address_of(start);
}

std::uint64_t CountedCode::shortened(std::uint64_t pc, std::uint32_t most) {
  const std::uint32_t start = make_block(pc, most, Make::kShort);
  make_pending();
  return address_of(start);
}

const CountedCode::Exit* CountedCode::exit_at(std::uint64_t address) const {
  const auto found = exits_.find(static_cast<std::uint32_t>(address - address_of(0)));
  return found == exits_.end() ? nullptr : &found->second;
}

const CountedCode::Origin* CountedCode::origin_of(std::uint64_t address) const {
  if (address < address_of(0) || address >= address_of(here())) {
    return nullptr;
  }
  auto after = origins_.upper_bound(static_cast<std::uint32_t>(address - address_of(0)));
  if (after == origins_.begin()) {
    return nullptr;
  }
  --after;
  return after->second.pc == 0 ? nullptr : &after->second;
}

std::uint64_t CountedCode::indirect_entry(std::uint64_t pc) {
  const std::uint64_t target = entry(pc);
  add_to_table(pc, target);
  return target;
}

std::uint64_t CountedCode::link(const Exit& exit) {
  const std::uint32_t patch = exit.patch;
  const std::uint64_t target = entry(exit.pc);
  if (patch != 0) {
    patch32(patch, static_cast<std::uint32_t>(target - (address_of(patch) + 4)));
  }
  return target;
}

void CountedCode::flush() {
  if (flushed_ < code_.size()) {
    memory_->write(address_of(static_cast<std::uint32_t>(flushed_)),
                   std::as_bytes(std::span(code_).subspan(flushed_)));
    flushed_ = code_.size();
  }
  for (std::uint32_t at : patched_) {
    memory_->write(address_of(at), std::as_bytes(std::span(code_).subspan(at, 4)));
  }
  patched_.clear();
  for (; tables_flushed_ < table_entries_.size(); ++tables_flushed_) {
    const auto& [offset, value] = table_entries_[tables_flushed_];
    memory_->write(base_ + offset, std::as_bytes(std::span(&value, 1)));
  }
}

} // namespace rrpcp::replay
