// Numbers of the kernel's and the processors' interfaces by name.
#pragma once

#include <capnp/dynamic.h>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rrpcp::tools {

// ELF e_machine (elf.h): "x86-64", "AArch64", "i386", …; "machine 999" for one without a name here.
std::string machine_name(std::uint16_t machine);

// ELF core note type (elf.h): "NT_PRSTATUS", …; "note 0x123" for one without a name here.
std::string note_name(std::uint32_t type);
// The reverse, also of the end of a name ("prstatus", "xstate") in any case, and of a number.
// Throws UsageError.
std::uint32_t parse_note(std::string_view text);

// signal(7): "SIGINT"; real-time signals and others "SIG40".
std::string signal_name(std::int64_t signal);
// Names of a set with bit N-1 for signal N, as "SIGINT SIGTERM"; "-" for none, "all" for all that
// can be blocked, "all but …" where that is shorter.
std::string signal_set(std::uint64_t set);

// "rw-p" of PROT_* and MAP_*, as /proc/PID/maps shows them.
std::string permissions(std::uint32_t protection, std::uint32_t flags);

// O_* flags of open(2), as "O_RDWR|O_APPEND|0x…". Some numbers depend on the machine.
std::string open_flags(std::uint32_t flags, std::uint16_t machine);

// "raw", "zstd", "codec 7".
std::string codec_name(std::uint16_t codec);

// "none", "atEvent", "forwardTo", "between", or the number.
std::string position_kind_name(std::uint16_t kind);

// getauxval(3): "AT_SYSINFO_EHDR"; a number where there is no name here.
std::string auxiliary_name(std::uint64_t type);

// What a value is called that is newer than this program: "unknown (77)".
std::string unknown_name(std::uint64_t number);

// Name of an enum's value by the schema, or unknown_name().
std::string enum_name(capnp::DynamicEnum value);
template <typename Enum> std::string enum_name_of(Enum value) {
  return enum_name(capnp::DynamicEnum(Enum(value)));
}

// "major:minor" of a device number as stat(2) gives it, in hexadecimal as /proc/PID/maps shows it.
std::string device_name(std::uint64_t device);

} // namespace rrpcp::tools
