// The kernel's structures in the notes of core files, by machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rrpcp {

// Offsets and sizes in bytes. Sources: linux/elfcore.h (struct elf_prstatus, elf_prpsinfo) with the
// types of each machine.
struct CoreLayout {
  std::uint16_t machine;
  std::uint8_t elf_class;
  std::uint8_t word; // of an unsigned long
  const char* name;

  struct Status { // struct elf_prstatus; it begins with signo, code, errno and at 12 cursig
    std::uint16_t pending;
    std::uint16_t held;
    std::uint16_t pid; // then ppid, pgrp, sid
    std::uint16_t registers;
    std::uint16_t registers_size;
    std::uint16_t has_fp;
    std::uint16_t size;
  } status;

  struct Info { // struct elf_prpsinfo; it begins with state, sname, zomb, nice
    std::uint16_t uid;
    std::uint16_t gid;
    std::uint16_t id_size;   // of uid and gid
    std::uint16_t pid;       // then ppid, pgrp, sid
    std::uint16_t name;      // 16 bytes
    std::uint16_t arguments; // 80 bytes
    std::uint16_t size;
  } info;
};

inline constexpr std::size_t kCoreNameSize = 16;
inline constexpr std::size_t kCoreArgumentsSize = 80;

// The layout of a machine, null where there is none here.
const CoreLayout* find_core_layout(std::uint16_t machine, std::uint8_t elf_class);

// Note types that elf.h of all releases in use does not have.
inline constexpr std::uint32_t kNoteXsaveLayout = 0x205; // NT_X86_XSAVE_LAYOUT, Linux 6.12
// Numbers that nobody has: readers go by the type alone where they do not know the owner.
// Owner "rrpcp": pairs of addresses (64 bits each) between which memory reads as zeros. In every
// core that this program writes.
inline constexpr std::uint32_t kNoteZeroRanges = 0x72720101;
// Owner "rrpcp", behind the notes of a thread: its name.
inline constexpr std::uint32_t kNoteThreadName = 0x72720102;

inline constexpr const char* kOwnerCore = "CORE";
inline constexpr const char* kOwnerLinux = "LINUX";
inline constexpr const char* kOwnerOurs = "rrpcp";

} // namespace rrpcp
