#include "gdbserver/register_table.h"

#include <algorithm>
#include <cstring>
#include <sys/user.h>

namespace rrpcp::gdbserver {

namespace {

constexpr std::string_view kCore = "org.gnu.gdb.i386.core";
constexpr std::string_view kSse = "org.gnu.gdb.i386.sse";
constexpr std::string_view kLinux = "org.gnu.gdb.i386.linux";
constexpr std::string_view kSegments = "org.gnu.gdb.i386.segments";
constexpr std::string_view kAvx = "org.gnu.gdb.i386.avx";
constexpr std::string_view kAvx512 = "org.gnu.gdb.i386.avx512";
constexpr std::string_view kPkeys = "org.gnu.gdb.i386.pkeys";

// XSAVE components.
constexpr unsigned kX87 = 0;
constexpr unsigned kXmm = 1;
constexpr unsigned kYmmHigh = 2;
constexpr unsigned kOpmask = 5;
constexpr unsigned kZmmHigh = 6;
constexpr unsigned kHighZmm = 7;
constexpr unsigned kPkru = 9;
constexpr std::size_t kXstateBv = 512; // XSTATE_BV: first word of the header
constexpr std::uint32_t kFirstSt = 32;
constexpr std::uint32_t kFirstXmm = 160;

class Maker {
public:
  std::vector<RegisterInfo> registers;

  RegisterInfo& general(std::string name, std::string_view feature, std::size_t offset,
                        unsigned bits = 64, std::string type = "int64",
                        std::string group = "general") {
    return registers.emplace_back(
        RegisterInfo{std::move(name), bits, std::move(type), std::move(group), feature,
                     kNoteGeneral, static_cast<std::uint32_t>(offset), bits / 8, 0, false});
  }
  RegisterInfo& extended(std::string name, std::string_view feature, unsigned component,
                         std::uint32_t offset, std::uint32_t size, unsigned bits, std::string type,
                         std::string group) {
    return registers.emplace_back(RegisterInfo{std::move(name), bits, std::move(type),
                                               std::move(group), feature, kNoteXsave, offset, size,
                                               component, false});
  }
};

void add_core(Maker& make) {
  struct Named {
    const char* name;
    std::size_t offset;
  };
  using Regs = user_regs_struct;
  for (const Named& named : std::initializer_list<Named>{{"rax", offsetof(Regs, rax)},
                                                         {"rbx", offsetof(Regs, rbx)},
                                                         {"rcx", offsetof(Regs, rcx)},
                                                         {"rdx", offsetof(Regs, rdx)},
                                                         {"rsi", offsetof(Regs, rsi)},
                                                         {"rdi", offsetof(Regs, rdi)}}) {
    make.general(named.name, kCore, named.offset);
  }
  make.general("rbp", kCore, offsetof(Regs, rbp), 64, "data_ptr");
  make.general("rsp", kCore, offsetof(Regs, rsp), 64, "data_ptr");
  for (const Named& named : std::initializer_list<Named>{{"r8", offsetof(Regs, r8)},
                                                         {"r9", offsetof(Regs, r9)},
                                                         {"r10", offsetof(Regs, r10)},
                                                         {"r11", offsetof(Regs, r11)},
                                                         {"r12", offsetof(Regs, r12)},
                                                         {"r13", offsetof(Regs, r13)},
                                                         {"r14", offsetof(Regs, r14)},
                                                         {"r15", offsetof(Regs, r15)}}) {
    make.general(named.name, kCore, named.offset);
  }
  make.general("rip", kCore, offsetof(Regs, rip), 64, "code_ptr");
  make.general("eflags", kCore, offsetof(Regs, eflags), 32, "i386_eflags");
  for (const Named& named : std::initializer_list<Named>{{"cs", offsetof(Regs, cs)},
                                                         {"ss", offsetof(Regs, ss)},
                                                         {"ds", offsetof(Regs, ds)},
                                                         {"es", offsetof(Regs, es)},
                                                         {"fs", offsetof(Regs, fs)},
                                                         {"gs", offsetof(Regs, gs)}}) {
    make.general(named.name, kCore, named.offset, 32, "int32");
  }
  for (unsigned i = 0; i < 8; ++i) {
    make.extended("st" + std::to_string(i), kCore, kX87, kFirstSt + 16 * i, 10, 80, "i387_ext",
                  "float");
  }
  make.extended("fctrl", kCore, kX87, 0, 2, 32, "int", "float");
  make.extended("fstat", kCore, kX87, 2, 2, 32, "int", "float");
  make.extended("ftag", kCore, kX87, 4, 1, 32, "int", "float").tags = true;
  make.extended("fiseg", kCore, kX87, 12, 2, 32, "int", "float");
  make.extended("fioff", kCore, kX87, 8, 4, 32, "int", "float");
  make.extended("foseg", kCore, kX87, 20, 2, 32, "int", "float");
  make.extended("fooff", kCore, kX87, 16, 4, 32, "int", "float");
  make.extended("fop", kCore, kX87, 6, 2, 32, "int", "float");
}

void add_vectors(Maker& make, const XsavePlaces& places) {
  const auto has = [&](unsigned component) { return (places.components >> component & 1) != 0; };
  for (unsigned i = 0; i < 16; ++i) {
    make.extended("xmm" + std::to_string(i), kSse, kXmm, kFirstXmm + 16 * i, 16, 128, "vec128",
                  "vector");
  }
  make.extended("mxcsr", kSse, kXmm, 24, 4, 32, "i386_mxcsr", "vector");
  make.general("orig_rax", kLinux, offsetof(user_regs_struct, orig_rax), 64, "int64", "system");
  make.general("fs_base", kSegments, offsetof(user_regs_struct, fs_base), 64, "int");
  make.general("gs_base", kSegments, offsetof(user_regs_struct, gs_base), 64, "int");
  if (has(kYmmHigh)) {
    for (unsigned i = 0; i < 16; ++i) {
      make.extended("ymm" + std::to_string(i) + "h", kAvx, kYmmHigh,
                    places.offsets[kYmmHigh] + 16 * i, 16, 128, "uint128", "");
    }
  }
  if (has(kOpmask) && has(kZmmHigh) && has(kHighZmm)) {
    for (unsigned i = 0; i < 8; ++i) {
      make.extended("k" + std::to_string(i), kAvx512, kOpmask, places.offsets[kOpmask] + 8 * i, 8,
                    64, "uint64", "");
    }
    for (unsigned i = 0; i < 16; ++i) {
      make.extended("zmm" + std::to_string(i) + "h", kAvx512, kZmmHigh,
                    places.offsets[kZmmHigh] + 32 * i, 32, 256, "v2ui128", "");
    }
    struct Part {
      const char* first;
      const char* last;
      std::uint32_t offset;
      std::uint32_t size;
      const char* type;
    };
    for (const Part& part : std::initializer_list<Part>{{"xmm", "", 0, 16, "vec128"},
                                                        {"ymm", "h", 16, 16, "uint128"},
                                                        {"zmm", "h", 32, 32, "v2ui128"}}) {
      for (unsigned i = 16; i < 32; ++i) {
        make.extended(part.first + std::to_string(i) + part.last, kAvx512, kHighZmm,
                      places.offsets[kHighZmm] + 64 * (i - 16) + part.offset, part.size,
                      part.size * 8, part.type, "");
      }
    }
  }
  if (has(kPkru)) {
    make.extended("pkru", kPkeys, kPkru, places.offsets[kPkru], 4, 32, "int32", "");
  }
}

// FXSAVE keeps one bit for each physical register, "not empty"; the tag word has two: 0 a valid
// number, 1 zero, 2 special, 3 empty.
std::uint16_t full_tags(std::span<const std::byte> fxsave) {
  const unsigned abridged = std::to_integer<unsigned>(fxsave[4]);
  const unsigned top = std::to_integer<unsigned>(fxsave[3]) >> 3 & 7;
  std::uint16_t tags = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = 3;
    if ((abridged >> physical & 1) != 0) {
      std::uint64_t mantissa = 0;
      std::uint16_t exponent = 0;
      const std::size_t at = kFirstSt + 16 * ((physical + 8 - top) % 8);
      std::memcpy(&mantissa, fxsave.data() + at, 8);
      std::memcpy(&exponent, fxsave.data() + at + 8, 2);
      exponent &= 0x7fff;
      const bool integer_bit = mantissa >> 63 != 0;
      if (exponent == 0x7fff) {
        tag = 2;
      } else if (exponent == 0) {
        tag = mantissa == 0 ? 1 : 2;
      } else {
        tag = integer_bit ? 0 : 2;
      }
    }
    tags = static_cast<std::uint16_t>(tags | tag << (2 * physical));
  }
  return tags;
}

std::byte abridged_tags(std::uint16_t tags) {
  unsigned abridged = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    if ((tags >> (2 * physical) & 3) != 3) {
      abridged |= 1U << physical;
    }
  }
  return std::byte(abridged);
}

} // namespace

RegisterTable::RegisterTable(const XsavePlaces& places) {
  Maker make;
  add_core(make);
  add_vectors(make, places);
  registers_ = std::move(make.registers);
  for (const RegisterInfo& info : registers_) {
    if (features_.empty() || features_.back() != info.feature) {
      features_.push_back(info.feature);
    }
  }
}

const RegisterInfo* RegisterTable::find(std::uint64_t number) const {
  return number < registers_.size() ? &registers_[static_cast<std::size_t>(number)] : nullptr;
}

std::optional<unsigned> RegisterTable::number_of(std::string_view name) const {
  const auto found = std::find_if(registers_.begin(), registers_.end(),
                                  [&](const RegisterInfo& info) { return info.name == name; });
  if (found == registers_.end()) {
    return std::nullopt;
  }
  return static_cast<unsigned>(found - registers_.begin());
}

std::optional<std::vector<std::byte>> RegisterTable::value(const RegisterInfo& info,
                                                           std::span<const std::byte> set) {
  const std::size_t needed = info.tags ? kFirstXmm : std::size_t{info.offset} + info.size;
  if (set.size() < needed) {
    return std::nullopt;
  }
  std::vector<std::byte> bytes(info.bytes());
  if (info.tags) {
    const std::uint16_t tags = full_tags(set);
    std::memcpy(bytes.data(), &tags, sizeof tags);
  } else {
    std::memcpy(bytes.data(), set.data() + info.offset, info.size);
  }
  return bytes;
}

bool RegisterTable::put(const RegisterInfo& info, std::span<const std::byte> bytes,
                        std::span<std::byte> set) {
  if (bytes.size() != info.bytes() || set.size() < std::size_t{info.offset} + info.size) {
    return false;
  }
  if (info.tags) {
    std::uint16_t tags = 0;
    std::memcpy(&tags, bytes.data(), sizeof tags);
    set[info.offset] = abridged_tags(tags);
  } else {
    std::memcpy(set.data() + info.offset, bytes.data(), info.size);
  }
  if (info.note == kNoteXsave && set.size() >= kXstateBv + 8) {
    std::uint64_t in_use = 0;
    std::memcpy(&in_use, set.data() + kXstateBv, sizeof in_use);
    in_use |= std::uint64_t{1} << info.component;
    std::memcpy(set.data() + kXstateBv, &in_use, sizeof in_use);
  }
  return true;
}

} // namespace rrpcp::gdbserver
