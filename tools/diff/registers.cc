#include "diff/registers.h"

#include "common/console.h"

#include <algorithm>
#include <array>
#include <elf.h>
#include <span>
#include <string_view>

namespace rrpcp::tools {
namespace {

using Bytes = std::span<const std::uint8_t>;
using Registers = std::vector<Register>;

constexpr std::uint32_t kPrstatus = 1;
constexpr std::uint32_t kPrfpreg = 2;
constexpr std::uint32_t kXstate = 0x202;
constexpr std::uint32_t kArmTls = 0x401;
constexpr std::uint32_t kArmSystemCall = 0x404;

// Layout of the FXSAVE area and the XSAVE header (Intel SDM volume 1, sections 10.5.1 and 13.4).
constexpr std::size_t kFxsaveSize = 512;
constexpr std::size_t kXstateBv = 512;
constexpr std::size_t kXsaveHeaderEnd = 576;
constexpr std::size_t kXmm = 160;

constexpr std::array kX8664 = {"r15",     "r14",      "r13", "r12", "rbp",    "rbx", "r11",
                               "r10",     "r9",       "r8",  "rax", "rcx",    "rdx", "rsi",
                               "rdi",     "orig_rax", "rip", "cs",  "eflags", "rsp", "ss",
                               "fs_base", "gs_base",  "ds",  "es",  "fs",     "gs"};
constexpr std::array kI386 = {"ebx", "ecx", "edx",      "esi", "edi", "ebp",    "eax", "ds", "es",
                              "fs",  "gs",  "orig_eax", "eip", "cs",  "eflags", "esp", "ss"};

void add(Registers& registers, std::string name, Bytes bytes) {
  registers.push_back({std::move(name), {bytes.begin(), bytes.end()}});
}

std::uint64_t little_endian(Bytes bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = std::min<std::size_t>(bytes.size(), 8); i-- > 0;) {
    value = value << 8 | bytes[i];
  }
  return value;
}

std::string numbered(const char* name, std::size_t number) {
  return name + std::to_string(number);
}

template <std::size_t N>
Registers words(const std::array<const char*, N>& names, std::size_t size, Bytes data) {
  Registers registers;
  for (std::size_t i = 0; i < N; ++i) {
    add(registers, names[i], data.subspan(i * size, size));
  }
  return registers;
}

Registers aarch64_general(Bytes data) {
  Registers registers;
  for (std::size_t i = 0; i < 31; ++i) {
    add(registers, numbered("x", i), data.subspan(i * 8, 8));
  }
  add(registers, "sp", data.subspan(31 * 8, 8));
  add(registers, "pc", data.subspan(32 * 8, 8));
  add(registers, "pstate", data.subspan(33 * 8, 8));
  return registers;
}

// user_regs of 32-bit ARM: r0 to r15, cpsr, orig_r0.
Registers arm_general(Bytes data) {
  static constexpr std::array kNames = {"r0",  "r1", "r2", "r3", "r4",   "r5",
                                        "r6",  "r7", "r8", "r9", "r10",  "r11",
                                        "r12", "sp", "lr", "pc", "cpsr", "orig_r0"};
  return words(kNames, 4, data);
}

std::optional<Registers> general(std::uint16_t machine, Bytes data) {
  const bool x86 = machine == EM_X86_64 || machine == EM_386;
  const bool arm = machine == EM_AARCH64 || machine == EM_ARM;
  if (x86 && data.size() == kX8664.size() * 8) {
    return words(kX8664, 8, data);
  }
  if (x86 && data.size() == kI386.size() * 4) {
    return words(kI386, 4, data);
  }
  if (arm && data.size() == 34 * 8) {
    return aarch64_general(data);
  }
  if (arm && data.size() == 18 * 4) {
    return arm_general(data);
  }
  return std::nullopt;
}

// The part of FXSAVE before the xmm registers.
void add_x87(Registers& registers, Bytes data) {
  struct Field {
    const char* name;
    std::size_t offset;
    std::size_t size;
  };
  static constexpr Field kFields[] = {{"fcw", 0, 2},    {"fsw", 2, 2},        {"ftw", 4, 1},
                                      {"fop", 6, 2},    {"fip", 8, 8},        {"fdp", 16, 8},
                                      {"mxcsr", 24, 4}, {"mxcsr_mask", 28, 4}};
  for (const Field& field : kFields) {
    add(registers, field.name, data.subspan(field.offset, field.size));
  }
  for (std::size_t i = 0; i < 8; ++i) {
    add(registers, numbered("st", i), data.subspan(32 + i * 16, 10));
  }
}

void add_xmm(Registers& registers, Bytes data) {
  for (std::size_t i = 0; i < 16; ++i) {
    add(registers, numbered("xmm", i), data.subspan(kXmm + i * 16, 16));
  }
}

// An XSAVE area in the standard format.
class XsaveArea {
public:
  XsaveArea(Bytes data, schema::Cpu::Reader cpu) : data_(data) {
    in_use_ = little_endian(data.subspan(kXstateBv, 8));
    for (const auto component : cpu.getXsaveLayout()) {
      const std::uint64_t offset = component.getOffset();
      const std::uint64_t size = component.getSize();
      if (component.getNumber() >= 2 && component.getNumber() < 64 && offset >= kXsaveHeaderEnd &&
          offset + size <= data.size()) {
        components_.push_back({component.getNumber(), offset, size});
      }
    }
  }

  Registers decode() const {
    Registers registers;
    add_x87(registers, data_);
    add(registers, "xstate_bv", data_.subspan(kXstateBv, 8));
    add_vectors(registers);
    for (const Component& component : components_) {
      add_component(registers, component);
    }
    return registers;
  }

private:
  struct Component {
    unsigned number;
    std::size_t offset;
    std::size_t size;
  };

  // The bytes of a component if it is there and large enough; zeros if it is in its initial state.
  std::optional<std::vector<std::uint8_t>> bytes_of(unsigned number, std::size_t size) const {
    for (const Component& component : components_) {
      if (component.number == number && component.size >= size) {
        return bytes_of(component);
      }
    }
    return std::nullopt;
  }

  std::vector<std::uint8_t> bytes_of(const Component& component) const {
    const Bytes stored = data_.subspan(component.offset, component.size);
    if ((in_use_ >> component.number & 1) == 0) {
      return std::vector<std::uint8_t>(component.size);
    }
    return {stored.begin(), stored.end()};
  }

  void add_vectors(Registers& registers) const {
    const auto upper_ymm = bytes_of(2, 16 * 16);
    const auto upper_zmm = bytes_of(6, 16 * 32);
    const auto high_zmm = bytes_of(7, 16 * 64);
    if (!upper_ymm) {
      add_xmm(registers, data_);
      return;
    }
    for (std::size_t i = 0; i < 16; ++i) {
      Register wide;
      wide.name = numbered(upper_zmm ? "zmm" : "ymm", i);
      const auto append = [&](Bytes from, std::size_t size) {
        const Bytes part = from.subspan(i * size, size);
        wide.bytes.insert(wide.bytes.end(), part.begin(), part.end());
      };
      append(data_.subspan(kXmm), 16);
      append(*upper_ymm, 16);
      if (upper_zmm) {
        append(*upper_zmm, 32);
      }
      registers.push_back(std::move(wide));
    }
    for (std::size_t i = 0; high_zmm && i < 16; ++i) {
      add(registers, numbered("zmm", 16 + i), Bytes(*high_zmm).subspan(i * 64, 64));
    }
  }

  void add_row(Registers& registers, const Component& component, const char* name,
               std::size_t first, std::size_t count, std::size_t size) const {
    const std::vector<std::uint8_t> bytes = bytes_of(component);
    for (std::size_t i = 0; i < count && (i + 1) * size <= bytes.size(); ++i) {
      add(registers, numbered(name, first + i), Bytes(bytes).subspan(i * size, size));
    }
  }

  void add_component(Registers& registers, const Component& component) const {
    const std::vector<std::uint8_t> bytes = bytes_of(component);
    switch (component.number) {
    case 2: // part of ymm and zmm
      if (component.size < 16 * 16) {
        break;
      }
      return;
    case 3: // MPX bounds
      add_row(registers, component, "bnd", 0, 4, 16);
      return;
    case 5:
      add_row(registers, component, "k", 0, 8, 8);
      return;
    case 6:
    case 7:
      if (component.size < 512 || !bytes_of(2, 16 * 16)) {
        break;
      }
      return;
    case 9:
      if (component.size < 4) {
        break;
      }
      add(registers, "pkru", Bytes(bytes).first(4));
      return;
    case 17:
      add(registers, "tilecfg", bytes);
      return;
    case 18:
      add_row(registers, component, "tmm", 0, 8, 1024);
      return;
    case 19: // APX
      add_row(registers, component, "r", 16, 16, 8);
      return;
    default:
      break;
    }
    add(registers, numbered("xstate", component.number), bytes);
  }

  Bytes data_;
  std::uint64_t in_use_ = 0;
  std::vector<Component> components_;
};

std::optional<Registers> floating_point(std::uint16_t machine, Bytes data) {
  Registers registers;
  if ((machine == EM_X86_64 || machine == EM_386) && data.size() == kFxsaveSize) {
    add_x87(registers, data);
    add_xmm(registers, data);
    return registers;
  }
  if (machine == EM_AARCH64 && data.size() >= 32 * 16 + 8) {
    for (std::size_t i = 0; i < 32; ++i) {
      add(registers, numbered("v", i), data.subspan(i * 16, 16));
    }
    add(registers, "fpsr", data.subspan(512, 4));
    add(registers, "fpcr", data.subspan(516, 4));
    return registers;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> general_register(schema::State::Reader state,
                                              schema::Task::Reader task,
                                              std::initializer_list<std::string_view> names) {
  for (const auto set : task.getRegisters()) {
    if (set.getNoteType() != kPrstatus) {
      continue;
    }
    const auto registers = decode_registers(state, set);
    if (!registers) {
      return std::nullopt;
    }
    for (const Register& reg : *registers) {
      if (std::find(names.begin(), names.end(), reg.name) != names.end()) {
        return reg.value();
      }
    }
  }
  return std::nullopt;
}

} // namespace

std::uint64_t Register::value() const {
  return little_endian(bytes);
}

bool Register::is_zero() const {
  return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::string Register::text() const {
  std::string digits;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    if (!digits.empty() || bytes[i] != 0) {
      digits += format_text(digits.empty() ? "%x" : "%02x", bytes[i]);
    }
  }
  return "0x" + (digits.empty() ? "0" : digits);
}

std::optional<std::vector<Register>> decode_registers(schema::State::Reader state,
                                                      schema::RegisterSet::Reader set) {
  const std::uint16_t machine = state.getMachine();
  const auto raw = set.getData();
  const Bytes data(raw.begin(), raw.size());
  switch (set.getNoteType()) {
  case kPrstatus:
    return general(machine, data);
  case kPrfpreg:
    return floating_point(machine, data);
  case kXstate:
    if (data.size() < kXsaveHeaderEnd) {
      return std::nullopt;
    }
    return XsaveArea(data, state.getCpu()).decode();
  case kArmTls:
    if (data.size() >= 8) {
      Registers registers;
      add(registers, "tpidr", data.first(8));
      if (data.size() >= 16) {
        add(registers, "tpidr2", data.subspan(8, 8));
      }
      return registers;
    }
    return std::nullopt;
  case kArmSystemCall:
    if (data.size() == 4) {
      return Registers{{"syscall", {data.begin(), data.end()}}};
    }
    return std::nullopt;
  default:
    return std::nullopt;
  }
}

std::optional<std::uint64_t> program_counter(schema::State::Reader state,
                                             schema::Task::Reader task) {
  return general_register(state, task, {"rip", "eip", "pc"});
}

std::optional<std::uint64_t> stack_pointer(schema::State::Reader state, schema::Task::Reader task) {
  return general_register(state, task, {"rsp", "esp", "sp"});
}

} // namespace rrpcp::tools
