#include "common/names.h"

#include "common/command.h"
#include "common/text.h"
#include "rrpcp/format.h"

#include <algorithm>
#include <array>
#include <elf.h>
#include <sys/sysmacros.h>
#include <utility>

namespace rrpcp::tools {
namespace {

template <typename Number> struct Name {
  Number number;
  const char* name;
};

constexpr Name<std::uint16_t> kMachines[] = {
    {EM_386, "i386"},        {EM_X86_64, "x86-64"},
    {EM_ARM, "ARM"},         {EM_AARCH64, "AArch64"},
    {EM_PPC64, "PowerPC64"}, {EM_S390, "S/390"},
    {EM_RISCV, "RISC-V"},    {258 /* EM_LOONGARCH */, "LoongArch"},
};

constexpr Name<std::uint32_t> kNotes[] = {
    {1, "NT_PRSTATUS"},
    {2, "NT_PRFPREG"},
    {3, "NT_PRPSINFO"},
    {4, "NT_TASKSTRUCT"},
    {6, "NT_AUXV"},
    {0x200, "NT_386_TLS"},
    {0x201, "NT_386_IOPERM"},
    {0x202, "NT_X86_XSTATE"},
    {0x204, "NT_X86_SHSTK"},
    {0x400, "NT_ARM_VFP"},
    {0x401, "NT_ARM_TLS"},
    {0x402, "NT_ARM_HW_BREAK"},
    {0x403, "NT_ARM_HW_WATCH"},
    {0x404, "NT_ARM_SYSTEM_CALL"},
    {0x405, "NT_ARM_SVE"},
    {0x406, "NT_ARM_PAC_MASK"},
    {0x407, "NT_ARM_PACA_KEYS"},
    {0x408, "NT_ARM_PACG_KEYS"},
    {0x409, "NT_ARM_TAGGED_ADDR_CTRL"},
    {0x40a, "NT_ARM_PAC_ENABLED_KEYS"},
    {0x40b, "NT_ARM_SSVE"},
    {0x40c, "NT_ARM_ZA"},
    {0x40d, "NT_ARM_ZT"},
    {0x40e, "NT_ARM_FPMR"},
    {0x40f, "NT_ARM_POE"},
    {0x410, "NT_ARM_GCS"},
};

constexpr const char* kSignals[] = {
    "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",  "SIGFPE",
    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT",
    "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",  "SIGXCPU",
    "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
};

constexpr Name<std::uint64_t> kAuxiliary[] = {
    {2, "AT_EXECFD"},       {3, "AT_PHDR"},      {4, "AT_PHENT"},
    {5, "AT_PHNUM"},        {6, "AT_PAGESZ"},    {7, "AT_BASE"},
    {8, "AT_FLAGS"},        {9, "AT_ENTRY"},     {10, "AT_NOTELF"},
    {11, "AT_UID"},         {12, "AT_EUID"},     {13, "AT_GID"},
    {14, "AT_EGID"},        {15, "AT_PLATFORM"}, {16, "AT_HWCAP"},
    {17, "AT_CLKTCK"},      {23, "AT_SECURE"},   {24, "AT_BASE_PLATFORM"},
    {25, "AT_RANDOM"},      {26, "AT_HWCAP2"},   {27, "AT_RSEQ_FEATURE_SIZE"},
    {28, "AT_RSEQ_ALIGN"},  {29, "AT_HWCAP3"},   {30, "AT_HWCAP4"},
    {31, "AT_EXECFN"},      {32, "AT_SYSINFO"},  {33, "AT_SYSINFO_EHDR"},
    {51, "AT_MINSIGSTKSZ"},
};

template <typename Number, std::size_t N>
const char* find_name(const Name<Number> (&names)[N], std::uint64_t number) {
  for (const Name<Number>& entry : names) {
    if (entry.number == number) {
      return entry.name;
    }
  }
  return nullptr;
}

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return result;
}

std::string names_of(std::uint64_t set) {
  std::string text;
  for (int signal = 1; signal <= 64; ++signal) {
    if ((set >> (signal - 1) & 1) != 0) {
      text += (text.empty() ? "" : " ") + signal_name(signal);
    }
  }
  return text;
}

} // namespace

std::string machine_name(std::uint16_t machine) {
  const char* name = find_name(kMachines, machine);
  return name != nullptr ? name : "machine " + std::to_string(machine);
}

std::string note_name(std::uint32_t type) {
  const char* name = find_name(kNotes, type);
  return name != nullptr ? name : format_text("note 0x%x", type);
}

std::uint32_t parse_note(std::string_view text) {
  const std::string name = upper(text);
  for (const auto& entry : kNotes) {
    const std::string_view full = entry.name;
    if (full == name || (!name.empty() && full.ends_with("_" + name))) {
      return entry.number;
    }
  }
  if (text.empty() || text[0] < '0' || text[0] > '9') {
    throw UsageError("'" + printable(text) +
                     "' is no register set; a name as NT_PRSTATUS or a number "
                     "is one");
  }
  return static_cast<std::uint32_t>(parse_number(text, "the register set", UINT32_MAX));
}

std::string signal_name(std::int64_t signal) {
  if (signal >= 1 && signal <= static_cast<std::int64_t>(std::size(kSignals))) {
    return kSignals[signal - 1];
  }
  return "SIG" + std::to_string(signal);
}

std::string signal_set(std::uint64_t set) {
  // SIGKILL and SIGSTOP cannot be blocked.
  constexpr std::uint64_t kBlockable = ~(1ull << 8 | 1ull << 18);
  if (set == 0) {
    return "-";
  }
  const std::uint64_t missing = kBlockable & ~set;
  if (missing == 0) {
    return "all";
  }
  const std::string names = names_of(set);
  const std::string but = "all but " + names_of(missing);
  return but.size() < names.size() ? but : names;
}

std::string permissions(std::uint32_t protection, std::uint32_t flags) {
  std::string text = "---p";
  if ((protection & 1) != 0) {
    text[0] = 'r';
  }
  if ((protection & 2) != 0) {
    text[1] = 'w';
  }
  if ((protection & 4) != 0) {
    text[2] = 'x';
  }
  if ((flags & 1) != 0) {
    text[3] = 's';
  }
  return text;
}

std::string open_flags(std::uint32_t flags, std::uint16_t machine) {
  // asm-generic/fcntl.h; ARM has its own numbers for three of them.
  const bool arm = machine == EM_AARCH64 || machine == EM_ARM;
  const Name<std::uint32_t> names[] = {
      {02000, "O_APPEND"},
      {04000, "O_NONBLOCK"},
      {04010000, "O_SYNC"},
      {010000, "O_DSYNC"},
      {020000, "O_ASYNC"},
      {arm ? 0200000u : 040000u, "O_DIRECT"},
      {arm ? 0400000u : 0100000u, "O_LARGEFILE"},
      {020000000 | (arm ? 040000u : 0200000u), "O_TMPFILE"},
      {arm ? 040000u : 0200000u, "O_DIRECTORY"},
      {arm ? 0100000u : 0400000u, "O_NOFOLLOW"},
      {01000000, "O_NOATIME"},
      {02000000, "O_CLOEXEC"},
      {010000000, "O_PATH"},
  };
  static constexpr const char* kAccess[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};
  std::string text = kAccess[flags & 3];
  std::uint32_t rest = flags & ~3u;
  for (const auto& [bits, name] : names) {
    if ((rest & bits) == bits) {
      text += std::string("|") + name;
      rest &= ~bits;
    }
  }
  return rest == 0 ? text : text + format_text("|0x%x", rest);
}

std::string codec_name(std::uint16_t codec) {
  switch (codec) {
  case format::kCodecRaw:
    return "raw";
  case format::kCodecZstd:
    return "zstd";
  default:
    return "codec " + std::to_string(codec);
  }
}

std::string position_kind_name(std::uint16_t kind) {
  static constexpr const char* kNames[] = {"none", "atEvent", "forwardTo", "between"};
  return kind < std::size(kNames) ? kNames[kind] : std::to_string(kind);
}

std::string auxiliary_name(std::uint64_t type) {
  const char* name = find_name(kAuxiliary, type);
  return name != nullptr ? name : std::to_string(type);
}

std::string enum_name(capnp::DynamicEnum value) {
  KJ_IF_MAYBE (enumerant, value.getEnumerant()) {
    return enumerant->getProto().getName().cStr();
  }
  return unknown_name(value.getRaw());
}

std::string unknown_name(std::uint64_t number) {
  return "unknown (" + std::to_string(number) + ")";
}

std::string device_name(std::uint64_t device) {
  return format_text("%02x:%02x", gnu_dev_major(device), gnu_dev_minor(device));
}

} // namespace rrpcp::tools
