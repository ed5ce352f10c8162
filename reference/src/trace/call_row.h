// What is known of a system call: the vocabulary of the table in call_table.cc.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rrpcp::trace {

// How many bytes an argument points to. `from` is an argument too.
struct Extent {
  enum class Kind : std::uint8_t {
    kBytes,    // `size`
    kArgument, // `from` times `size`
    kResult,   // the result times `size`; at most `from` times `size`
    kBits,     // `from` bits, in words of 8 bytes
    kIntAt,    // as many as the 32-bit number that `from` points to says; at most `size`
    kWordAt,   // as many as the 64-bit number that `from` points to says; at most `size`
    kPages,    // one for each page of `from` bytes
    kText,     // up to and with a zero byte; at most `size`
    kTexts,    // a list of pointers to texts, up to a null pointer, and the texts
    kBuffers,  // a list of `from` iovecs; the bytes are those of the buffers
    kMessage,  // a msghdr and what it points to
    kMessages, // `from` mmsghdrs and what they point to
    kRequest,  // what the request number `from` of an ioctl(2) says (_IOC_SIZE)
  };
  Kind kind = Kind::kBytes;
  std::uint8_t from = 0;
  std::uint32_t size = 0;
  std::uint8_t plus = 0; // bytes more
};

// An argument that is a pointer.
struct Part {
  enum class Access : std::uint8_t {
    kNone,
    kIn,
    kOut,
    kInOut,
    kPayload, // what is read and, as far as the result says, gone to the descriptor
  };
  // When what is written is there.
  enum class When : std::uint8_t {
    kSucceeded, // the call has ended without an error (or with EFAULT, of which nobody knows)
    kEnded,     // also with an error
    kBegun,     // also where it blocks
  };
  Access access = Access::kNone;
  When when = When::kSucceeded;
  std::uint8_t argument = 0;
  Extent extent;

  constexpr bool is_input() const {
    return access == Access::kIn || access == Access::kInOut || access == Access::kPayload;
  }
  constexpr bool is_output() const { return access == Access::kOut || access == Access::kInOut; }
};

// What the call may have changed of a file, which tasks may have mapped.
struct FileChange {
  enum class Kind : std::uint8_t {
    kNone,
    kWritten,      // as many bytes as the result says, of descriptor `descriptor`
    kSize,         // the size of descriptor `descriptor`
    kSizeOfPath,   // the size of the file that the path, the first text, names
    kSizeOfResult, // the size of the new descriptor, where the flags `at` have O_TRUNC
    kAnywhere,     // contents and size of descriptor `descriptor`
  };
  static constexpr std::uint8_t kAlways = 0xff; // `at` of kSizeOfResult: whatever the flags are
  // Where they were written.
  enum class Place : std::uint8_t {
    kPosition, // before the position of the descriptor
    kArgument, // at argument `at`; -1: kPosition
    kPointer,  // before the number that argument `at` points to; a null pointer: kPosition
  };
  Kind kind = Kind::kNone;
  std::uint8_t descriptor = 0;
  Place place = Place::kPosition;
  std::uint8_t at = 0;
};

// What a replay does besides writing the outputs, because the kernel's view of the process has to
// be right.
enum class Made : std::uint8_t {
  kNothing,
  kAgain,          // the same call, which must have the same result
  kAgainAlways,    // also one that failed: half of it may have been done
  kAgainUnchecked, // the same call, whatever its result
  kMap,            // mmap(2): at the recorded address, of the trace's file
  kBreak,          // brk(2)
  kMove,           // mremap(2): to the recorded address
  kAdvise,         // madvise(2): advice with an effect on contents
  kAdviseList,     // process_madvise(2): the same
  kAttach,         // shmat(2): of the trace's object
  kDetach,         // shmdt(2)
  kStackLimit,     // RLIMIT_STACK: how far the stack grows is the kernel's business
  kPersonality,    // personality(2): the bits that change mappings
  kTask,           // tasks come and go by events of their own
};

// What the recorder has to look at or change when the call begins.
enum class Care : std::uint8_t {
  kNone,
  kCounter,       // prctl(2) PR_SET_TSC
  kSetDumpable,   // prctl(2)
  kGetDumpable,   // prctl(2)
  kDispatch,      // prctl(2) PR_SET_SYSCALL_USER_DISPATCH
  kClone,         // clone(2): CLONE_UNTRACED
  kClone3,        // clone3(2): the same
  kAdvice,        // madvise(2): MADV_FREE, locked pages
  kMapping,       // mmap(2): devices
  kUserfault,     // ioctl(2) USERFAULTFD_IOC_NEW
  kPersonality,   // personality(2)
  kProtectionKey, // pkey_alloc(2)
  kOtherProcess,  // process_vm_writev(2): writes into another process
  kTracing,       // ptrace(2): of other recorded tasks
  kWaiting,       // wait4(2), waitid(2): for tasks that are traced so
  kAffinity,      // sched_setaffinity(2), sched_getaffinity(2)
};

// The call is not made; the program gets `error`.
struct Refusal {
  int error = 0;                // 0: it is not refused
  std::string_view notice = {}; // for people; empty: nobody needs to know
};

struct CallRow {
  long number = -1;
  std::string_view name;
  // Of a call that is many calls: the row is for those whose argument `selector`, masked, is in
  // [low, high].
  std::int8_t selector = -1;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::uint64_t mask = ~std::uint64_t{0};
  std::string_view label = {}; // "PR_SET_NAME"
  std::array<Part, 6> parts = {};
  // What it writes is not known in every case: all writable pages are compared.
  bool compared = false;
  FileChange file = {};
  Made made = Made::kNothing;
  Care care = Care::kNone;
  Refusal refusal = {};
};

} // namespace rrpcp::trace
