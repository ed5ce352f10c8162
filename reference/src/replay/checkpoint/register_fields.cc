#include "replay/checkpoint/register_fields.h"

#include "base/hex.h"
#include "process/restore/xsave_area.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <span>
#include <string_view>

namespace rrpcp {

namespace {

using FieldKind = RegisterField::Kind;

struct General {
  std::string_view name;
  std::size_t offset;
};

// In the processor's own order, the first sixteen; then the others.
constexpr General kGeneral[] = {
    {"rax", offsetof(user_regs_struct, rax)},
    {"rcx", offsetof(user_regs_struct, rcx)},
    {"rdx", offsetof(user_regs_struct, rdx)},
    {"rbx", offsetof(user_regs_struct, rbx)},
    {"rsp", offsetof(user_regs_struct, rsp)},
    {"rbp", offsetof(user_regs_struct, rbp)},
    {"rsi", offsetof(user_regs_struct, rsi)},
    {"rdi", offsetof(user_regs_struct, rdi)},
    {"r8", offsetof(user_regs_struct, r8)},
    {"r9", offsetof(user_regs_struct, r9)},
    {"r10", offsetof(user_regs_struct, r10)},
    {"r11", offsetof(user_regs_struct, r11)},
    {"r12", offsetof(user_regs_struct, r12)},
    {"r13", offsetof(user_regs_struct, r13)},
    {"r14", offsetof(user_regs_struct, r14)},
    {"r15", offsetof(user_regs_struct, r15)},
    {"rip", offsetof(user_regs_struct, rip)},
    {"rflags", offsetof(user_regs_struct, eflags)},
    {"orig_rax", offsetof(user_regs_struct, orig_rax)},
    {"fsbase", offsetof(user_regs_struct, fs_base)},
    {"gsbase", offsetof(user_regs_struct, gs_base)},
    {"es", offsetof(user_regs_struct, es)},
    {"cs", offsetof(user_regs_struct, cs)},
    {"ss", offsetof(user_regs_struct, ss)},
    {"ds", offsetof(user_regs_struct, ds)},
    {"fs", offsetof(user_regs_struct, fs)},
    {"gs", offsetof(user_regs_struct, gs)},
};
constexpr std::size_t kNumbered = 16;

constexpr std::pair<std::string_view, FieldKind> kOthers[] = {
    {"event", FieldKind::kEvent}, {"icount", FieldKind::kInstructions},
    {"tid", FieldKind::kTid},     {"ticks", FieldKind::kTicks},
    {"fip", FieldKind::kFip},     {"xinuse", FieldKind::kXinuse},
    {"fop", FieldKind::kFop},     {"mxcsr", FieldKind::kMxcsr},
};

void add_vectors(FieldKind kind, const char* prefix, std::vector<RegisterField>& fields) {
  for (unsigned i = 0; i < kNumbered; ++i) {
    fields.push_back({kind, prefix + std::to_string(i), i});
  }
}

void add_field(std::string_view name, std::vector<RegisterField>& fields) {
  if (name == "ip") {
    name = "rip";
  } else if (name == "flags") {
    name = "rflags";
  }
  for (const General& general : kGeneral) {
    if (general.name == name) {
      fields.push_back(
          {FieldKind::kGeneral, std::string(name), static_cast<unsigned>(general.offset)});
      return;
    }
  }
  for (const auto& [other, kind] : kOthers) {
    if (other == name) {
      fields.push_back({kind, std::string(name), 0});
      return;
    }
  }
  if (name == "gp_x16") {
    for (std::size_t i = 0; i < kNumbered; ++i) {
      add_field(kGeneral[i].name, fields);
    }
  } else if (name == "xmm_x16") {
    add_vectors(FieldKind::kXmm, "xmm", fields);
  } else if (name == "ymm_x16") {
    add_vectors(FieldKind::kYmm, "ymm", fields);
  } else {
    throw Error(ErrorCode::kInvalidArgument, "there is no register '" + std::string(name) + "'")
        .with_hint("event, icount, tid, ticks, ip, flags, orig_rax, fsbase, gsbase, rax to r15, cs "
                   "to gs, gp_x16, xmm_x16, ymm_x16, xinuse, fip, fop, mxcsr");
  }
}

} // namespace

std::vector<RegisterField> parse_register_fields(std::string_view list) {
  std::vector<RegisterField> fields;
  for (;;) {
    const std::size_t comma = list.find(',');
    add_field(list.substr(0, comma), fields);
    if (comma == std::string_view::npos) {
      return fields;
    }
    list.remove_prefix(comma + 1);
  }
}

namespace replay {

namespace {

// The XSAVE area: Intel SDM volume 1, section 13.4.
constexpr std::size_t kFop = 6;
constexpr std::size_t kFip = 8;
constexpr std::size_t kMxcsr = 24;
constexpr std::size_t kXmm = 160;
constexpr std::size_t kXstateBv = 512;
constexpr unsigned kAvxComponent = 2;
constexpr std::size_t kVectorBytes = 16;

bool is_extended(FieldKind kind) {
  return kind == FieldKind::kXmm || kind == FieldKind::kYmm || kind == FieldKind::kXinuse ||
         kind == FieldKind::kFip || kind == FieldKind::kFop || kind == FieldKind::kMxcsr;
}

// Copies from an area; what it does not have is zeros.
void copy_from(std::span<const std::byte> area, std::size_t offset, std::span<std::byte> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  if (offset < area.size()) {
    const std::size_t n = std::min(out.size(), area.size() - offset);
    std::copy_n(area.begin() + static_cast<std::ptrdiff_t>(offset), n, out.begin());
  }
}

// The value, little-endian.
std::vector<std::byte> value_of(const RegisterField& field, const TaskRegisters& registers) {
  auto from = [](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  auto extended = [&](std::size_t offset, std::size_t length) {
    std::vector<std::byte> bytes(length);
    copy_from(registers.extended, offset, bytes);
    return bytes;
  };
  switch (field.kind) {
  case FieldKind::kEvent:
    return from(registers.event);
  case FieldKind::kInstructions:
    return from(registers.instructions);
  case FieldKind::kTid:
    return from(registers.tid);
  case FieldKind::kTicks:
    return from(registers.ticks);
  case FieldKind::kGeneral: {
    std::uint64_t value = 0;
    std::memcpy(&value, reinterpret_cast<const std::byte*>(&registers.general) + field.index,
                sizeof value);
    return from(value);
  }
  case FieldKind::kXmm:
    return extended(kXmm + kVectorBytes * field.index, kVectorBytes);
  case FieldKind::kYmm: {
    std::vector<std::byte> bytes = extended(kXmm + kVectorBytes * field.index, kVectorBytes);
    // A component that is not in use is all zeros, whatever the area has there.
    std::vector<std::byte> high(kVectorBytes);
    if ((process::restore::xsave_components_in_use(registers.extended) >> kAvxComponent & 1) != 0) {
      static const process::restore::XsaveLayout layout = process::restore::own_xsave_layout();
      high = extended(layout.components[kAvxComponent].offset + kVectorBytes * field.index,
                      kVectorBytes);
    }
    bytes.insert(bytes.end(), high.begin(), high.end());
    return bytes;
  }
  case FieldKind::kXinuse:
    return extended(kXstateBv, sizeof(std::uint64_t));
  case FieldKind::kFip:
    return extended(kFip, sizeof(std::uint64_t));
  case FieldKind::kFop:
    return extended(kFop, sizeof(std::uint16_t));
  case FieldKind::kMxcsr:
    return extended(kMxcsr, sizeof(std::uint32_t));
  }
  return {};
}

bool is_decimal(FieldKind kind) {
  return kind == FieldKind::kEvent || kind == FieldKind::kInstructions || kind == FieldKind::kTid ||
         kind == FieldKind::kTicks;
}

} // namespace

void read_registers(const process::Tracee& tracee, const std::vector<RegisterField>& fields,
                    TaskRegisters& out) {
  out.general = tracee.registers();
  if (std::any_of(fields.begin(), fields.end(),
                  [](const RegisterField& field) { return is_extended(field.kind); })) {
    out.extended = tracee.register_set(NT_X86_XSTATE).value_or(std::vector<std::byte>());
  }
}

void append_line(const std::vector<RegisterField>& fields, const TaskRegisters& registers, bool raw,
                 std::string& out) {
  bool first = true;
  for (const RegisterField& field : fields) {
    const std::vector<std::byte> value = value_of(field, registers);
    if (raw) {
      out.append(reinterpret_cast<const char*>(value.data()), value.size());
      continue;
    }
    out += first ? "" : " ";
    first = false;
    out += field.name + ":";
    if (is_decimal(field.kind)) {
      std::int64_t number = 0;
      std::memcpy(&number, value.data(), value.size());
      out += std::to_string(number);
      continue;
    }
    out += "0x";
    for (std::size_t i = value.size(); i-- > 0;) {
      out += hex_byte(static_cast<unsigned>(value[i]));
    }
  }
  out += '\n';
}

} // namespace replay

} // namespace rrpcp
