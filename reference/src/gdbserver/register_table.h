// The registers of a 64-bit x86 task: their names and numbers in the protocol, and where their
// bytes lie in what ptrace(2) gives. Sources: the manual of gdb, "i386 Features"; <sys/user.h>;
// Intel SDM volume 1, sections 10.5.1 (FXSAVE) and 13.4 (XSAVE).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::gdbserver {

// NT_* numbers of elf.h.
inline constexpr std::uint32_t kNoteGeneral = 1;   // NT_PRSTATUS: user_regs_struct
inline constexpr std::uint32_t kNoteXsave = 0x202; // NT_X86_XSTATE
// Where the components of an XSAVE area lie, and which there are (bits of XCR0).
struct XsavePlaces {
  std::uint64_t components = 3;
  std::array<std::uint32_t, 64> offsets{};
};

struct RegisterInfo {
  std::string name;
  // Of the protocol.
  unsigned bits = 64;
  // Of gdb's target descriptions: "int64", "code_ptr", "vec128", …
  std::string type;
  // "general", "float", "vector", "system".
  std::string group;
  // The feature that it belongs to: "org.gnu.gdb.i386.core".
  std::string_view feature;
  // The set and the first byte and number of bytes in it. The rest of `bits` is zero.
  std::uint32_t note = kNoteGeneral;
  std::uint32_t offset = 0;
  std::uint32_t size = 8;
  // Number of the XSAVE component, which has to be marked as in use when it is written.
  unsigned component = 0;
  // The tag word of the x87 registers, which FXSAVE abridges.
  bool tags = false;

  std::size_t bytes() const { return bits / 8; }
};

// Reads a register set of the task that is meant; nothing where it has none.
using ReadSet = std::function<std::optional<std::vector<std::byte>>(std::uint32_t note)>;

// Immutable.
class RegisterTable {
public:
  explicit RegisterTable(const XsavePlaces& places);

  // A register's number is its index.
  const std::vector<RegisterInfo>& registers() const { return registers_; }
  const RegisterInfo* find(std::uint64_t number) const;
  std::optional<unsigned> number_of(std::string_view name) const;
  // The names of the features, in the order of their registers.
  const std::vector<std::string_view>& features() const { return features_; }

  // The bytes of a register in `set`, its register set; nothing where the set is too short.
  static std::optional<std::vector<std::byte>> value(const RegisterInfo& info,
                                                     std::span<const std::byte> set);
  // Puts `bytes`, as many as the register has, into `set`. False where the set is too short.
  static bool put(const RegisterInfo& info, std::span<const std::byte> bytes,
                  std::span<std::byte> set);

private:
  std::vector<RegisterInfo> registers_;
  std::vector<std::string_view> features_;
};

// The document that qXfer:features:read gives for `annex`: "target.xml", or a feature that it
// includes. Nothing for another.
std::optional<std::string> target_description(const RegisterTable& table, std::string_view annex);

} // namespace rrpcp::gdbserver
