// What the recorder and the code in recorded programs that makes calls without a stop know of each
// other.
//
// The recorder has an area of its own in the memory of each recorded program. Where the program
// sets the number of a call that needs no stop (call_sites.h), it is led into that code, which
// makes the call, notes everything about it in the buffer, and goes back to behind the program's
// `syscall`. What it cannot do goes on to the program's `syscall` itself, at which the recorder
// stops it. A replay has nothing of all this: there the program is as it was built, and each call
// is one that it comes to by itself. XSAVEC, which a lazily binding linker executes for each
// function, is carried out in the same way: what it stores differs from run to run; and CPUID, of
// which each program that is linked to a C library executes dozens.
#pragma once

#include <cstdint>

namespace rrpcp::replay::buffer {

// Where the area lies in every recorded program: below what the kernel maps from the top, and
// within 2 GiB of it.
inline constexpr std::uint64_t kArea = 0x7fffe8000000;
inline constexpr std::uint64_t kCodeSize = 0x2000;
inline constexpr std::uint64_t kBridgesSize = 0x10000; // for the code around kArea
inline constexpr std::uint64_t kExecutableSize = kCodeSize + kBridgesSize;
inline constexpr std::uint64_t kControl = kArea + kExecutableSize;

inline constexpr std::uint32_t kDescriptors = 1024; // those above are not known
inline constexpr std::uint32_t kNumbers = 512;      // of calls
inline constexpr std::uint64_t kStackSize = 0x2000;
inline constexpr std::uint64_t kEntriesSize = 0x80000;
inline constexpr std::uint32_t kComponents = 32; // of extended registers; those above are not known
inline constexpr std::uint64_t kMostMapped = 0x4000; // of a file whose contents are noted
inline constexpr std::uint32_t kMappings = 32;       // that are remembered

// What is known of a descriptor: bits. 0: nothing.
inline constexpr std::uint8_t kRegular = 1;  // a file of a file system whose calls do not block
inline constexpr std::uint8_t kWritable = 2; // and nobody has it mapped
inline constexpr std::uint8_t kOther = 0x80; // something else, which the recorder has looked at

// How the code has to treat an argument that is a pointer.
enum class PartKind : std::uint8_t {
  kNone,
  kText,     // read: up to and with a zero byte
  kRead,     // read: `size` bytes
  kReadMany, // read: as many as argument `from` says, or fewer: then the result says how many
  kWritten,  // written: `size` bytes
  kResult,   // written: as many as the result says
};

struct CallPart {
  PartKind kind;
  std::uint8_t argument;
  std::uint8_t from;
  std::uint8_t reserved;
  std::uint32_t size;
};

// What else has to be looked at before the call is made.
enum class CallCheck : std::uint8_t {
  kNone,
  kNoTruncation, // the flags, argument `checked`, must not have O_TRUNC
  kNotFault,     // the signal, argument `checked`, must not be SIGILL, SIGTRAP or SIGSEGV
  kPrivate,      // mmap(2): private, anywhere, not executable; anonymous, or of a small file
  kMappedHere,   // munmap(2): what such a call has mapped, as a whole
  kReading,      // fcntl(2): F_GETFD, F_SETFD, F_GETFL
  kTerminal,     // ioctl(2): TCGETS
  kAsking,       // prlimit64(2): argument `checked` must be 0
  kClose,        // close(2)
};

struct CallShape {
  std::uint8_t known;      // 0: the call needs a stop
  std::uint8_t descriptor; // the argument that must be a descriptor …
  std::uint8_t needs;      // … of which these bits are known; 0: no descriptor
  CallCheck check;
  std::uint8_t checked;
  std::uint8_t reserved[3];
  CallPart parts[3];
};
static_assert(sizeof(CallShape) == 32);

// Registers of the program at its call, as the code pushes them.
struct SavedRegisters {
  std::uint64_t r15, r14, r13, r12, rbp, rbx, flags, r10, r9, r8, rdx, rsi, rdi, rip;
};

// One call in the buffer, followed by `pieces` times a CallPiece with its bytes, each filled up to
// a multiple of 8.
struct CallEntry {
  std::uint32_t size; // with everything
  std::uint16_t number;
  std::uint16_t pieces;
  std::int64_t result;
  SavedRegisters registers; // rip: behind the `syscall`
  std::uint64_t rsp;
  std::uint64_t fs_base; // 0 where the processor does not let programs read it
  std::uint64_t gs_base;
  std::uint16_t ds, es, fs, gs;
};

// The number of an entry that is not a call's: XSAVEC. Its result is rax, and its first piece, of
// no address, has rcx and r11: it changes no register.
inline constexpr std::uint16_t kSavedState = 0xffff;
// CPUID: its result is rax before, and its only piece, of no address, a CpuidFacts.
inline constexpr std::uint16_t kIdentified = 0xfffe;

struct CpuidFacts {
  std::uint64_t rcx; // before
  std::uint64_t r11;
  std::uint32_t eax; // behind it
  std::uint32_t ebx;
  std::uint32_t ecx;
  std::uint32_t edx;
};

// What the program was led from.
inline constexpr std::uint32_t kFromCall = 0;
inline constexpr std::uint32_t kFromXsavec = 1;
inline constexpr std::uint32_t kFromCpuid = 2;

struct CallPiece {
  std::uint64_t address;
  std::uint32_t length;
  std::uint32_t kind; // kPieceRead …
};
inline constexpr std::uint32_t kPieceRead = 0;    // by the call
inline constexpr std::uint32_t kPieceWritten = 1; // by it
inline constexpr std::uint32_t kPieceFile = 2;    // a FileFacts: of what it has opened or mapped

struct FileFacts {
  std::uint64_t device; // st_dev
  std::uint64_t inode;
  std::uint64_t size; // bytes
  std::uint64_t bits; // of a new descriptor: kRegular …
};

// Whether calls on files of the file system (statfs(2)) wait for nothing but a disk. Others may be
// served by a process that is recorded, or have files that are read like a pipe.
constexpr bool is_plain_file_system(std::uint64_t type) {
  constexpr std::uint64_t kXfs = 0x58465342;
  constexpr std::uint64_t kBtrfs = 0x9123683e;
  constexpr std::uint64_t kZfs = 0x2fc12fc1;
  constexpr std::uint64_t kF2fs = 0xf2f52010;
  constexpr std::uint64_t kOverlay = 0x794c7630;
  constexpr std::uint64_t kSquash = 0x73717368;
  constexpr std::uint64_t kErofs = 0xe0f5e1e2;
  constexpr std::uint64_t kExt = 0xef53;
  constexpr std::uint64_t kTemporary = 0x01021994;
  constexpr std::uint64_t kRam = 0x858458f6;
  return type == kExt || type == kTemporary || type == kOverlay || type == kXfs || type == kBtrfs ||
         type == kZfs || type == kF2fs || type == kSquash || type == kErofs || type == kRam;
}

// A component of the extended registers in a compacted XSAVE area (leaf 0xd of CPUID).
struct StateComponent {
  std::uint32_t size;
  std::uint32_t aligned; // 1: to 64 bytes
};

struct Control {
  // Written where the program is led in, and used by the code (offsets in call_code.cc).
  std::uint64_t stored_at; // 0: of XSAVEC, address of its operand
  std::uint64_t rcx;       // 8
  std::uint64_t r11;       // 16
  std::uint64_t rsp;       // 24
  std::uint64_t entry;     // 32: address of the code
  std::uint64_t number;    // 40: what the program has set: rax at its call
  std::int64_t result;     // 48
  std::uint64_t stack_top; // 56
  // Of the recorder.
  std::uint32_t enabled; // 64
  std::uint32_t leave;   // 68: come to a stop of the recorder's before going back to the program
  std::uint32_t done;    // 72: the call was made
  std::uint32_t reads_bases;  // the processor lets programs read the bases of fs and gs
  std::uint64_t used;         // bytes of entries
  std::uint64_t going_on_at;  // 88: of XSAVEC and CPUID, where the program goes on
  std::uint64_t saving_entry; // 96: as `entry`, of XSAVEC
  std::uint32_t led_from;     // 104: kFromCall …
  std::uint32_t saves;        // of the recorder: XSAVEC and CPUID are carried out here
  std::uint64_t cpuid_entry;  // 112: as `entry`, of CPUID
  std::uint64_t saved_size;   // the most that XSAVEC stores
  std::uint32_t learns;       // of the recorder: what open(2) gives is looked at here
  std::uint32_t maps;         // of the recorder: small files are mapped here
  std::uint32_t has_mapped;   // such a file; nothing may be written until the recorder knows of it
  std::uint32_t next_mapping;
  std::uint32_t keeps_mappings; // 0: `mappings` are not true any more
  std::uint32_t reserved;
  StateComponent components[kComponents];
  std::uint8_t descriptors[kDescriptors];
  CallShape shapes[kNumbers];
  struct {
    std::uint64_t start; // 0: of none
    std::uint64_t end;
  } mappings[kMappings]; // the latest that were made here
  alignas(16) std::uint8_t stack[kStackSize];
  alignas(16) std::uint8_t entries[kEntriesSize];
};

inline constexpr std::uint64_t kAreaSize =
    (kExecutableSize + sizeof(Control) + 0xfff) & ~std::uint64_t{0xfff};

} // namespace rrpcp::replay::buffer
