// The code in recorded programs that makes calls without a stop (buffer_abi.h).
//
// It is copied out of the library and runs in the middle of somebody else's program: it has a stack
// of its own, changes no register that a system call does not change, and uses nothing outside of
// its own section: no library function, no constant data, no thread pointer. It is built on its own
// with flags that keep the compiler from adding any (CMakeLists.txt). No signal handler runs here
// (the recorder holds signals back), and no other task does.
#include "replay/buffer/buffer_abi.h"

#include <asm/stat.h>
#include <asm/statfs.h>
#include <asm/unistd.h>
#include <cstddef>

#if !defined(__x86_64__)
#error "programs are recorded on x86-64 only"
#endif

using namespace rrpcp::replay::buffer; // NOLINT

static_assert(offsetof(Control, rcx) == 8 && offsetof(Control, r11) == 16 &&
              offsetof(Control, rsp) == 24 && offsetof(Control, entry) == 32 &&
              offsetof(Control, number) == 40 && offsetof(Control, result) == 48 &&
              offsetof(Control, stack_top) == 56 && offsetof(Control, leave) == 68 &&
              offsetof(Control, done) == 72 && offsetof(Control, going_on_at) == 88 &&
              offsetof(Control, led_from) == 104 && kExecutableSize == 0x12000);
static_assert(offsetof(SavedRegisters, rbx) == 40 && offsetof(SavedRegisters, flags) == 48 &&
              offsetof(SavedRegisters, r10) == 56 && offsetof(SavedRegisters, r9) == 64 &&
              offsetof(SavedRegisters, r8) == 72 && offsetof(SavedRegisters, rdx) == 80 &&
              offsetof(SavedRegisters, rsi) == 88 && offsetof(SavedRegisters, rdi) == 96 &&
              offsetof(SavedRegisters, rip) == 104);

// Led in with rax: Control, rcx: address behind the program's `syscall`. Registers are saved in the
// order of SavedRegisters.
asm(R"(
  .pushsection rrpcp_calls, "ax", @progbits
.Lbegin:
rrpcp_calls_begin:      # first of the section: from here to Control is a known way
  .globl rrpcp_calls_begin
  .hidden rrpcp_calls_begin
  .macro rrpcp_restore_saved  # all but the last of SavedRegisters
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  popfq
  pop %r10
  pop %r9
  pop %r8
  pop %rdx
  pop %rsi
  pop %rdi
  .endm
  .p2align 4
  .globl rrpcp_calls_enter
  .hidden rrpcp_calls_enter
  .type rrpcp_calls_enter, @function
rrpcp_calls_enter:
  movl $0, 104(%rax)
  jmp 3f
  .globl rrpcp_saves_enter
  .hidden rrpcp_saves_enter
rrpcp_saves_enter:
  movl $1, 104(%rax)
  jmp 3f
  .globl rrpcp_cpuid_enter
  .hidden rrpcp_cpuid_enter
rrpcp_cpuid_enter:
  movl $2, 104(%rax)
3:
  mov %r11, 16(%rax)
  mov %rsp, 24(%rax)
  mov 56(%rax), %rsp
  pushfq
  pop %r11
  cld
  push %rcx
  push %rdi
  push %rsi
  push %rdx
  push %r8
  push %r9
  push %r10
  push %r11
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rax, %rbx
  mov %rax, %rdi
  mov %rsp, %rsi
  call rrpcp_calls_run
  .globl rrpcp_calls_returning
  .hidden rrpcp_calls_returning
rrpcp_calls_returning:  # from here on the registers of the program are known (program_registers())
  mov %eax, 72(%rbx)
  cmpl $0, 68(%rbx)
  je 2f
  mov $39, %eax         # a call at which the recorder stops it, and does not let it return
  syscall
  .globl rrpcp_calls_left
  .hidden rrpcp_calls_left
rrpcp_calls_left:
2:
  cmpl $0, 104(%rbx)
  mov %rbx, %rax
  jne 4f
  cmpl $0, 72(%rbx)
  je 1f
  rrpcp_restore_saved
  pop %rcx              # where it goes on, which is what the kernel leaves in rcx
  mov -64(%rsp), %r11   # and the flags in r11
  mov 24(%rax), %rsp
  mov 48(%rax), %rax
  jmp *%rcx
1:                      # to the program's `syscall`
  rrpcp_restore_saved
  pop %rcx
  lea -2(%rcx), %rcx
  mov 16(%rax), %r11
  mov 24(%rax), %rsp
  mov 40(%rax), %rax
  jmp *%rcx
4:                      # XSAVEC, which changes no register, or CPUID, which has changed the saved ones
  cmpl $0, 72(%rbx)
  je 5f
  rrpcp_restore_saved
  pop 88(%rax)
  mov 8(%rax), %rcx
  mov 16(%rax), %r11
  mov 24(%rax), %rsp
  mov 40(%rax), %rax
  jmp *.Lbegin + 0x12000 + 88(%rip)
5:
  rrpcp_restore_saved
  mov 8(%rax), %rcx
  mov 16(%rax), %r11
  mov 24(%rax), %rsp
  mov 40(%rax), %rax
  .globl rrpcp_saves_refused
  .hidden rrpcp_saves_refused
rrpcp_saves_refused:    # the recorder carries it out where the program has it
  ud2
  .globl rrpcp_calls_returned
  .hidden rrpcp_calls_returned
rrpcp_calls_returned:

  .p2align 4
  .globl rrpcp_calls_make
  .hidden rrpcp_calls_make
  .type rrpcp_calls_make, @function
rrpcp_calls_make:       # (Control*, const SavedRegisters*)
  push %rbx
  mov %rdi, %rbx
  mov %rsi, %r11
  mov 40(%rbx), %rax
  mov 96(%r11), %rdi
  mov 88(%r11), %rsi
  mov 80(%r11), %rdx
  mov 56(%r11), %r10
  mov 72(%r11), %r8
  mov 64(%r11), %r9
  syscall
  .globl rrpcp_calls_made
  .hidden rrpcp_calls_made
rrpcp_calls_made:
  mov %rax, 48(%rbx)
  pop %rbx
  ret

  .p2align 4
  .globl rrpcp_saves_make
  .hidden rrpcp_saves_make
  .type rrpcp_saves_make, @function
rrpcp_saves_make:       # (area, EAX, EDX)
  mov %rsi, %rax
  .globl rrpcp_saves_store
  .hidden rrpcp_saves_store
rrpcp_saves_store:
  xsavec (%rdi)
  ret
  .popsection
)");

extern "C" {
[[gnu::visibility("hidden")]] std::int64_t rrpcp_calls_make(Control* control,
                                                            const SavedRegisters* saved);
[[gnu::visibility("hidden")]] void rrpcp_saves_make(std::uint64_t area, std::uint64_t eax,
                                                    std::uint64_t edx);
}

namespace {

constexpr std::uint64_t kMostText = 4096;
constexpr std::uint64_t kMostBytes = 0x10000; // of one argument
constexpr std::int64_t kFirstErrno = -4095;
constexpr std::int64_t kFault = -14;         // EFAULT
constexpr std::int64_t kFirstRestart = -516; // ERESTART_RESTARTBLOCK
constexpr std::int64_t kLastRestart = -512;  // ERESTARTSYS

// What the kernel says only after it has read the path.
[[gnu::always_inline]] inline bool has_read_path(std::int64_t result) {
  return result >= 0 || result == -2 || result == -13 || result == -20 || result == -40 ||
         result == -17 || result == -21; // ENOENT, EACCES, ENOTDIR, ELOOP, EEXIST, EISDIR
}

[[gnu::always_inline]] inline void copy(std::uint8_t* to, std::uint64_t from,
                                        std::uint64_t length) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

[[gnu::always_inline]] inline std::uint64_t argument(const SavedRegisters* saved, unsigned i) {
  return i == 0   ? saved->rdi
         : i == 1 ? saved->rsi
         : i == 2 ? saved->rdx
         : i == 3 ? saved->r10
         : i == 4 ? saved->r8
                  : saved->r9;
}

[[gnu::always_inline]] inline bool passes(const CallShape* shape, const SavedRegisters* saved) {
  const std::uint64_t value = argument(saved, shape->checked);
  if (shape->check == CallCheck::kNoTruncation) {
    return (value & 01000) == 0; // O_TRUNC
  }
  if (shape->check == CallCheck::kNotFault) {
    const auto signal = static_cast<std::uint32_t>(value);
    return signal != 4 && signal != 5 && signal != 11;
  }
  if (shape->check == CallCheck::kReading) {
    const auto command = static_cast<std::uint32_t>(value);
    return command >= 1 && command <= 3;
  }
  if (shape->check == CallCheck::kTerminal) {
    return static_cast<std::uint32_t>(value) == 0x5401; // TCGETS
  }
  if (shape->check == CallCheck::kAsking) {
    return value == 0;
  }
  if (shape->check == CallCheck::kPrivate) {
    // MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_FIXED_NOREPLACE
    return saved->rdi == 0 && (saved->rdx & 4) == 0 && (saved->r10 & 0x100133) == 0x22;
  }
  return true;
}

[[gnu::always_inline]] inline std::uint64_t to_pages(std::uint64_t length) {
  return (length + 0xfff) & ~std::uint64_t{0xfff};
}

// A system call of this code's own. It must not be one that can be interrupted.
[[gnu::noinline, gnu::section("rrpcp_calls")]] std::int64_t
ask(Control* control, std::uint64_t number, std::uint64_t first, std::uint64_t second,
    std::uint64_t third) {
  SavedRegisters registers;
  registers.rdi = first;
  registers.rsi = second;
  registers.rdx = third;
  registers.r10 = 0;
  registers.r8 = 0;
  registers.r9 = 0;
  const std::uint64_t former = control->number;
  const std::int64_t result = control->result;
  control->number = number;
  const std::int64_t answer = rrpcp_calls_make(control, &registers);
  control->number = former;
  control->result = result;
  return answer;
}

// A mapping is remembered that has been made here.
[[gnu::always_inline]] inline void remember_mapping(Control* control, std::uint64_t start,
                                                    std::uint64_t length) {
  if (control->keeps_mappings == 0) {
    for (unsigned i = 0; i < kMappings; ++i) {
      control->mappings[i].start = 0;
    }
    control->keeps_mappings = 1;
  }
  const unsigned i = control->next_mapping++ % kMappings;
  control->mappings[i].start = start;
  control->mappings[i].end = start + to_pages(length);
}

// Forgets it where it is one of those.
[[gnu::always_inline]] inline bool take_mapping(Control* control, std::uint64_t start,
                                                std::uint64_t length) {
  if (control->keeps_mappings == 0 || start == 0 || length > ~std::uint64_t{0} - 0x1000) {
    return false;
  }
  for (unsigned i = 0; i < kMappings; ++i) {
    if (control->mappings[i].start == start &&
        control->mappings[i].end == start + to_pages(length)) {
      control->mappings[i].start = 0;
      return true;
    }
  }
  return false;
}

// What a descriptor is that has just been opened with the flags `flags`, where that can be told
// without knowing who has the file mapped. Returns the bytes of the piece that it notes at `piece`.
[[gnu::noinline, gnu::section("rrpcp_calls")]] std::uint64_t
learn(Control* control, std::uint64_t flags, std::uint64_t descriptor, CallPiece* piece) {
  const bool reads = (flags & 3) == 0;         // O_ACCMODE
  const bool creates = (flags & 0300) == 0300; // O_CREAT, O_EXCL
  struct stat status;
  struct statfs system;
  if (control->learns == 0 || descriptor >= kDescriptors || (!reads && !creates) ||
      ask(control, __NR_fstat, descriptor, reinterpret_cast<std::uint64_t>(&status), 0) != 0 ||
      ask(control, __NR_fstatfs, descriptor, reinterpret_cast<std::uint64_t>(&system), 0) != 0 ||
      !is_plain_file_system(static_cast<std::uint64_t>(system.f_type))) {
    return 0;
  }
  const unsigned kind = status.st_mode & 0170000; // S_IFMT
  if (kind != 0100000 && kind != 0040000) {       // S_IFREG, S_IFDIR
    return 0;
  }
  const std::uint8_t bits = reads ? kRegular : kRegular | kWritable;
  control->descriptors[descriptor] = bits;
  piece->address = 0;
  piece->length = sizeof(FileFacts);
  piece->kind = kPieceFile;
  auto* const facts = reinterpret_cast<FileFacts*>(piece + 1);
  facts->device = status.st_dev;
  facts->inode = status.st_ino;
  facts->size = static_cast<std::uint64_t>(status.st_size);
  facts->bits = bits;
  return sizeof(CallPiece) + sizeof(FileFacts);
}

// Whether the call writes to where its path is: that has to be looked at before (readlink(2) into
// the buffer that has the path, for one).
[[gnu::always_inline]] inline bool overwrites_text(const CallShape* shape,
                                                   const SavedRegisters* saved) {
  bool any = false;
  for (unsigned i = 0; i < 3; ++i) {
    for (unsigned j = 0; j < 3; ++j) {
      const CallPart* text = &shape->parts[i];
      const CallPart* part = &shape->parts[j];
      if (text->kind == PartKind::kText &&
          (part->kind == PartKind::kWritten || part->kind == PartKind::kResult)) {
        const std::uint64_t length =
            part->kind == PartKind::kWritten ? part->size : argument(saved, part->from);
        any = any || argument(saved, text->argument) - argument(saved, part->argument) < length;
      }
    }
  }
  return any;
}

constexpr std::uint64_t kHeader = 512;   // of an XSAVE area: XSTATE_BV, XCOMP_BV
constexpr std::uint64_t kExtended = 576; // where its components begin

// Bytes of a compacted XSAVE area up to the end of the last component that was stored
// (Intel SDM volume 1, sections 13.4.3 and 13.10). 0: not known.
[[gnu::always_inline]] inline std::uint64_t stored_length(const Control* control,
                                                          std::uint64_t area) {
  const auto* header = reinterpret_cast<const std::uint64_t*>(area + kHeader);
  const std::uint64_t stored = header[0];
  const std::uint64_t laid_out = header[1];
  std::uint64_t length = kExtended;
  std::uint64_t next = kExtended;
  for (unsigned i = 2; i < kComponents; ++i) {
    if ((laid_out >> i & 1) == 0) {
      continue;
    }
    if (control->components[i].aligned != 0) {
      next = (next + 63) & ~std::uint64_t{63};
    }
    next += control->components[i].size;
    if ((stored >> i & 1) != 0) {
      length = next;
    }
  }
  return (stored >> kComponents) != 0 ? 0 : length;
}

[[gnu::always_inline]] inline void set_segments(const Control* control, CallEntry* entry) {
  entry->fs_base = 0;
  entry->gs_base = 0;
  if (control->reads_bases != 0) {
    std::uint64_t base;
    asm volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xc0" : "=a"(base)); // rdfsbase %rax
    entry->fs_base = base;
    asm volatile(".byte 0xf3, 0x48, 0x0f, 0xae, 0xc8" : "=a"(base)); // rdgsbase %rax
    entry->gs_base = base;
  }
  asm volatile("mov %%ds, %0" : "=m"(entry->ds));
  asm volatile("mov %%es, %0" : "=m"(entry->es));
  asm volatile("mov %%fs, %0" : "=m"(entry->fs));
  asm volatile("mov %%gs, %0" : "=m"(entry->gs));
}

// What every entry ends with: who has come here. It counts from then on.
[[gnu::always_inline]] inline void finish(Control* control, const SavedRegisters* saved,
                                          CallEntry* entry) {
  copy(reinterpret_cast<std::uint8_t*>(&entry->registers), reinterpret_cast<std::uint64_t>(saved),
       sizeof entry->registers);
  entry->rsp = control->rsp;
  set_segments(control, entry);
  asm volatile("" : : : "memory");
  control->used += entry->size;
}

// Whether memory has a byte that is not 0.
[[gnu::always_inline]] inline bool any_set(std::uint64_t from, std::uint64_t to) {
  std::uint64_t any = 0;
  for (; from < to && from % 8 != 0; ++from) {
    any |= *reinterpret_cast<const std::uint8_t*>(from);
  }
  for (; from < to; from += 8) {
    any |= *reinterpret_cast<const std::uint64_t*>(from);
  }
  return any != 0;
}

// mmap(2) of a file: where that is small, private and read-only, its contents are noted, and a
// replay needs no copy of it. So is what the last page has behind them, where another mapping has
// written there. What may be a part of a program keeps its name.
[[gnu::noinline, gnu::section("rrpcp_calls")]] std::uint64_t map_file(Control* control,
                                                                      const SavedRegisters* saved) {
  const std::uint64_t length = saved->rsi;
  const std::uint64_t descriptor = saved->r8 & 0xffffffff;
  // PROT_READ, MAP_PRIVATE
  if (control->maps == 0 || saved->rdi != 0 || saved->rdx != 1 || saved->r10 != 2 ||
      saved->r9 != 0 || length == 0 || length > kMostMapped || descriptor >= kDescriptors ||
      (control->descriptors[descriptor] & kRegular) == 0) {
    return 0;
  }
  struct stat status;
  if (ask(control, __NR_fstat, descriptor, reinterpret_cast<std::uint64_t>(&status), 0) != 0 ||
      (status.st_mode & 0170000) != 0100000) {
    return 0;
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t shown = size < to_pages(length) ? size : to_pages(length);
  std::uint8_t* const begin = control->entries + control->used;
  auto* const entry = reinterpret_cast<CallEntry*>(begin);
  auto* const of_file = reinterpret_cast<CallPiece*>(begin + sizeof(CallEntry));
  auto* const facts = reinterpret_cast<FileFacts*>(of_file + 1);
  auto* const contents = reinterpret_cast<CallPiece*>(facts + 1);
  auto* const bytes = reinterpret_cast<std::uint8_t*>(contents + 1);
  // (Behind the last page of the file there is nothing.)
  if (size > kMostMapped || to_pages(size) < to_pages(length) ||
      sizeof(CallEntry) + 2 * sizeof(CallPiece) + sizeof(FileFacts) + to_pages(shown) + 8 >
          kEntriesSize - control->used ||
      ask(control, __NR_pread64, descriptor, reinterpret_cast<std::uint64_t>(bytes), shown) !=
          static_cast<std::int64_t>(shown) ||
      (bytes[0] == 0x7f && bytes[1] == 'E' && bytes[2] == 'L' && bytes[3] == 'F')) {
    return 0;
  }
  const std::int64_t result = rrpcp_calls_make(control, saved);
  const bool failed = result < 0 && result >= kFirstErrno;
  of_file->address = 0;
  of_file->length = sizeof(FileFacts);
  of_file->kind = kPieceFile;
  facts->device = status.st_dev;
  facts->inode = status.st_ino;
  facts->size = size;
  facts->bits = 0;
  const auto start = static_cast<std::uint64_t>(result);
  std::uint64_t noted = shown;
  if (!failed && shown == size && any_set(start + size, start + to_pages(size))) {
    noted = to_pages(size);
    copy(bytes + shown, start + shown, noted - shown);
  }
  contents->address = start;
  contents->length = static_cast<std::uint32_t>(noted);
  contents->kind = kPieceWritten;
  const std::uint8_t* const end =
      failed ? reinterpret_cast<std::uint8_t*>(of_file) : bytes + ((noted + 7) & ~std::uint64_t{7});
  entry->size = static_cast<std::uint32_t>(end - begin);
  entry->number = __NR_mmap;
  entry->pieces = failed ? 0 : 2;
  entry->result = result;
  finish(control, saved, entry);
  if (!failed) {
    remember_mapping(control, static_cast<std::uint64_t>(result), length);
    control->has_mapped = 1;
  }
  return 1;
}

// CPUID, and whether it was carried out.
[[gnu::always_inline]] inline std::uint64_t identify(Control* control, SavedRegisters* saved) {
  const std::uint64_t room = sizeof(CallEntry) + sizeof(CallPiece) + sizeof(CpuidFacts);
  if (control->saves == 0 || control->leave != 0 || room > kEntriesSize - control->used) {
    return 0;
  }
  auto* const entry = reinterpret_cast<CallEntry*>(control->entries + control->used);
  auto* const piece = reinterpret_cast<CallPiece*>(entry + 1);
  auto* const facts = reinterpret_cast<CpuidFacts*>(piece + 1);
  piece->address = 0;
  piece->length = sizeof(CpuidFacts);
  piece->kind = kPieceRead;
  facts->rcx = control->rcx;
  facts->r11 = control->r11;
  asm volatile("cpuid"
               : "=a"(facts->eax), "=b"(facts->ebx), "=c"(facts->ecx), "=d"(facts->edx)
               : "a"(static_cast<std::uint32_t>(control->number)),
                 "c"(static_cast<std::uint32_t>(control->rcx)));
  entry->size = static_cast<std::uint32_t>(room);
  entry->number = kIdentified;
  entry->pieces = 1;
  entry->result = static_cast<std::int64_t>(control->number);
  finish(control, saved, entry);
  control->number = facts->eax;
  control->rcx = facts->ecx;
  saved->rbx = facts->ebx;
  saved->rdx = facts->edx;
  return 1;
}

// XSAVEC, and whether it was carried out.
[[gnu::always_inline]] inline std::uint64_t save_state(Control* control,
                                                       const SavedRegisters* saved) {
  const std::uint64_t room =
      sizeof(CallEntry) + 2 * (sizeof(CallPiece) + 8) + control->saved_size + 16;
  if (control->saves == 0 || control->leave != 0 || room > kEntriesSize - control->used) {
    return 0;
  }
  rrpcp_saves_make(control->stored_at, control->number, saved->rdx);
  const std::uint64_t length = stored_length(control, control->stored_at);
  if (length == 0 || length > control->saved_size) {
    return 0;
  }
  std::uint8_t* const begin = control->entries + control->used;
  auto* const entry = reinterpret_cast<CallEntry*>(begin);
  auto* const others = reinterpret_cast<CallPiece*>(begin + sizeof(CallEntry));
  others->address = 0;
  others->length = 2 * sizeof(std::uint64_t);
  others->kind = kPieceRead;
  auto* const values = reinterpret_cast<std::uint64_t*>(others + 1);
  values[0] = control->rcx;
  values[1] = control->r11;
  auto* const piece = reinterpret_cast<CallPiece*>(values + 2);
  piece->address = control->stored_at;
  piece->length = static_cast<std::uint32_t>(length);
  piece->kind = kPieceWritten;
  auto* const bytes = reinterpret_cast<std::uint8_t*>(piece + 1);
  copy(bytes, control->stored_at, length);
  entry->size = static_cast<std::uint32_t>(bytes + ((length + 7) & ~std::uint64_t{7}) - begin);
  entry->number = kSavedState;
  entry->pieces = 2;
  entry->result = static_cast<std::int64_t>(control->number);
  finish(control, saved, entry);
  return 1;
}

} // namespace

// Makes the call where that is possible, and says so. Else nothing has happened.
extern "C" [[gnu::section("rrpcp_calls"), gnu::used, gnu::visibility("hidden")]] std::uint64_t
rrpcp_calls_run(Control* control, SavedRegisters* saved) {
  if (control->led_from == kFromXsavec) {
    return save_state(control, saved);
  }
  if (control->led_from == kFromCpuid) {
    return identify(control, saved);
  }
  std::uint64_t made = 0;
  const std::uint64_t number = control->number;
  do {
    if (control->enabled == 0 || control->leave != 0 || number >= kNumbers) {
      break;
    }
    const CallShape* shape = &control->shapes[number];
    if (shape->known == 0) {
      break;
    }
    if (shape->check == CallCheck::kPrivate && (saved->r10 & 0x20) == 0) { // MAP_ANONYMOUS
      return map_file(control, saved);
    }
    std::uint64_t descriptor = 0;
    if (shape->needs != 0) {
      descriptor = argument(saved, shape->descriptor) & 0xffffffff;
      if (descriptor >= kDescriptors ||
          (control->descriptors[descriptor] & shape->needs) != shape->needs ||
          ((shape->needs & kWritable) != 0 && control->has_mapped != 0)) {
        break;
      }
    }
    if (!passes(shape, saved)) {
      break;
    }
    // Room for everything that may come of it.
    std::uint64_t room = sizeof(CallEntry) + sizeof(CallPiece) + sizeof(FileFacts);
    bool fits = true;
    for (unsigned i = 0; i < 3; ++i) {
      const CallPart* part = &shape->parts[i];
      std::uint64_t length = 0;
      if (part->kind == PartKind::kText) {
        length = kMostText;
      } else if (part->kind == PartKind::kRead || part->kind == PartKind::kWritten) {
        length = part->size;
      } else if (part->kind != PartKind::kNone) {
        length = argument(saved, part->from);
      } else {
        continue;
      }
      fits = fits && length <= kMostBytes;
      room += sizeof(CallPiece) + ((length + 7) & ~std::uint64_t{7});
    }
    if (!fits || room > kEntriesSize - control->used || overwrites_text(shape, saved)) {
      break;
    }
    if (shape->check == CallCheck::kMappedHere && !take_mapping(control, saved->rdi, saved->rsi)) {
      break;
    }
    const std::int64_t result = rrpcp_calls_make(control, saved);
    if (result == kFault || (result >= kFirstRestart && result <= kLastRestart)) {
      break; // it has done nothing, and the recorder has to see it
    }
    std::uint8_t* const begin = control->entries + control->used;
    auto* const entry = reinterpret_cast<CallEntry*>(begin);
    std::uint8_t* at = begin + sizeof(CallEntry);
    const bool failed = result < 0 && result >= kFirstErrno;
    std::uint16_t pieces = 0;
    bool texts = false; // of a call that has failed, the kernel may have read the first only
    for (unsigned i = 0; i < 3; ++i) {
      const CallPart* part = &shape->parts[i];
      if (part->kind == PartKind::kNone) {
        continue;
      }
      const std::uint64_t address = argument(saved, part->argument);
      const bool written = part->kind == PartKind::kWritten || part->kind == PartKind::kResult;
      if (address == 0 ||
          (failed && (part->kind != PartKind::kText || texts || !has_read_path(result)))) {
        continue;
      }
      auto* const piece = reinterpret_cast<CallPiece*>(at);
      std::uint8_t* const bytes = at + sizeof(CallPiece);
      std::uint64_t length = 0;
      if (part->kind == PartKind::kText) {
        texts = true;
        const auto* text = reinterpret_cast<const std::uint8_t*>(address);
        while (length < kMostText) {
          const std::uint8_t byte = text[length];
          bytes[length++] = byte;
          if (byte == 0) {
            break;
          }
        }
      } else {
        length = part->kind == PartKind::kRead || part->kind == PartKind::kWritten
                     ? part->size
                     : static_cast<std::uint64_t>(result);
        copy(bytes, address, length);
      }
      if (length == 0) {
        continue;
      }
      piece->address = address;
      piece->length = static_cast<std::uint32_t>(length);
      piece->kind = written ? kPieceWritten : kPieceRead;
      at = bytes + ((length + 7) & ~std::uint64_t{7});
      ++pieces;
    }
    if (!failed) {
      if (shape->check == CallCheck::kClose) {
        control->descriptors[descriptor] = 0;
      } else if (shape->check == CallCheck::kPrivate) {
        remember_mapping(control, static_cast<std::uint64_t>(result), saved->rsi);
      } else if (shape->check == CallCheck::kNoTruncation) {
        const std::uint64_t size =
            learn(control, argument(saved, shape->checked), static_cast<std::uint64_t>(result),
                  reinterpret_cast<CallPiece*>(at));
        at += size;
        pieces = static_cast<std::uint16_t>(pieces + (size != 0 ? 1 : 0));
      }
    }
    entry->size = static_cast<std::uint32_t>(at - begin);
    entry->number = static_cast<std::uint16_t>(number);
    entry->pieces = pieces;
    entry->result = result;
    finish(control, saved, entry);
    made = 1;
  } while (false);
  return made;
}
