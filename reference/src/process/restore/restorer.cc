// The code that runs in the new process (restorer_abi.h).
//
// It is copied out of the library into the arena and runs there while everything else of the
// address space goes away. So it uses nothing outside of its own section: no library function, no
// constant data, no thread pointer, no stack protector, no instrumentation. It is built on its own
// with flags that keep the compiler from adding any (CMakeLists.txt), and a test looks at the
// object file's relocations.
#include "process/restore/restorer_abi.h"

#include <asm/unistd.h>

#if !defined(__x86_64__)
#error "processes are restored on x86-64 only"
#endif

#define RESTORER_CODE __attribute__((section("rrpcp_restorer"), used, noinline))

namespace rrpcp::process::restorer {
namespace {

constexpr std::int64_t kFirstErrno = -4095;
constexpr std::int64_t kEintr = -4;
constexpr std::int64_t kEnodata = -61;
constexpr std::uint64_t kFutexWait = 0; // FUTEX_WAIT, not private: the library waits on the same
constexpr std::uint64_t kFutexWake = 1;

struct Iovec {
  std::uint64_t base;
  std::uint64_t length;
};

[[gnu::always_inline]] inline std::int64_t system_call(std::uint64_t number, std::uint64_t a,
                                                       std::uint64_t b = 0, std::uint64_t c = 0,
                                                       std::uint64_t d = 0, std::uint64_t e = 0,
                                                       std::uint64_t f = 0) {
  std::int64_t result;
  register std::uint64_t r10 asm("r10") = d;
  register std::uint64_t r8 asm("r8") = e;
  register std::uint64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

[[gnu::always_inline]] inline std::uint64_t address_of(const void* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

[[gnu::always_inline]] inline void tell_library(Control* control) {
  __atomic_add_fetch(&control->ticket, 1, __ATOMIC_SEQ_CST);
  system_call(__NR_futex, address_of(&control->ticket), kFutexWake, 1);
}

[[gnu::always_inline]] inline std::int64_t read_vector(const Op* op) {
  Iovec* piece = reinterpret_cast<Iovec*>(op->args[1]);
  std::uint64_t pieces = op->args[2];
  std::uint64_t offset = op->args[3];
  std::uint64_t left = op->args[4];
  while (left > 0) {
    std::int64_t n = system_call(__NR_preadv, op->args[0], address_of(piece), pieces, offset, 0);
    if (n == kEintr) {
      continue;
    }
    if (n <= 0) {
      return n == 0 ? kEnodata : n;
    }
    std::uint64_t got = static_cast<std::uint64_t>(n);
    offset += got;
    left -= got;
    while (got > 0 && got >= piece->length) {
      got -= piece->length;
      ++piece;
      --pieces;
    }
    if (got > 0) {
      piece->base += got;
      piece->length -= got;
    }
  }
  return 0;
}

[[gnu::always_inline]] inline std::int64_t read_exactly(const Op* op) {
  std::uint64_t address = op->args[1];
  std::uint64_t left = op->args[2];
  std::uint64_t offset = op->args[3];
  while (left > 0) {
    std::int64_t n = system_call(__NR_pread64, op->args[0], address, left, offset);
    if (n == kEintr) {
      continue;
    }
    if (n <= 0) {
      return n == 0 ? kEnodata : n;
    }
    address += static_cast<std::uint64_t>(n);
    offset += static_cast<std::uint64_t>(n);
    left -= static_cast<std::uint64_t>(n);
  }
  return 0;
}

[[gnu::always_inline]] inline std::int64_t fill_zero(const Op* op) {
  std::uint64_t address = op->args[0];
  std::uint64_t count = op->args[1];
  asm volatile("rep stosb" : "+D"(address), "+c"(count) : "a"(0) : "memory");
  return 0;
}

// The new thread starts behind the instruction with the registers of this one but its own stack.
// There its Thread takes the place of ours, and it enters the loop from its beginning.
[[gnu::always_inline]] inline std::int64_t start_thread(const Op* op) {
  std::int64_t result;
  asm volatile("syscall\n\t"
               "test %%rax, %%rax\n\t"
               "jnz 1f\n\t"
               "mov %[thread], %%rdi\n\t"
               "xor %%ebp, %%ebp\n\t"
               "jmp rrpcp_restorer_run\n"
               "1:"
               : "=a"(result)
               : "a"(static_cast<std::uint64_t>(__NR_clone3)), "D"(op->args[0]),
                 "S"(op->args[1]), [thread] "r"(op->args[2])
               : "rcx", "r11", "memory");
  return result;
}

// The kernel takes a siginfo_t of any kind only for the sender's own process and thread.
[[gnu::always_inline]] inline std::int64_t queue_signal(const Op* op) {
  const std::uint64_t process = static_cast<std::uint64_t>(system_call(__NR_getpid, 0));
  if (op->args[2] != 0) {
    return system_call(__NR_rt_sigqueueinfo, process, op->args[1], op->args[0]);
  }
  const std::uint64_t thread = static_cast<std::uint64_t>(system_call(__NR_gettid, 0));
  return system_call(__NR_rt_tgsigqueueinfo, process, thread, op->args[1], op->args[0]);
}

} // namespace

extern "C" [[noreturn]] RESTORER_CODE void rrpcp_restorer_run(Thread* thread) {
  Control* control = thread->control;
  Op* op = thread->ops;
  Op* end = op + thread->op_count;
  for (; op != end; ++op) {
    std::int64_t result = 0;
    const OpKind kind = op->kind;
    if (kind == OpKind::kSyscall) {
      result = system_call(op->number, op->args[0], op->args[1], op->args[2], op->args[3],
                           op->args[4], op->args[5]);
    } else if (kind == OpKind::kRead) {
      result = read_exactly(op);
    } else if (kind == OpKind::kReadVector) {
      result = read_vector(op);
    } else if (kind == OpKind::kZero) {
      result = fill_zero(op);
    } else if (kind == OpKind::kLoad) {
      result = *reinterpret_cast<const volatile std::int64_t*>(op->args[0]);
    } else if (kind == OpKind::kStartThread) {
      result = start_thread(op);
    } else if (kind == OpKind::kQueueSignal) {
      result = queue_signal(op);
    } else if (kind == OpKind::kReachStage) {
      __atomic_store_n(&control->stage, static_cast<std::uint32_t>(op->args[0]), __ATOMIC_SEQ_CST);
      tell_library(control);
    } else if (kind == OpKind::kEndIfOrphan) {
      if (static_cast<std::uint64_t>(system_call(__NR_getppid, 0)) != op->args[0]) {
        system_call(__NR_exit_group, 1);
      }
    } else { // kAwaitStage
      for (;;) {
        std::uint32_t stage = __atomic_load_n(&control->permitted_stage, __ATOMIC_SEQ_CST);
        if (stage >= op->args[0]) {
          break;
        }
        system_call(__NR_futex, address_of(&control->permitted_stage), kFutexWait, stage);
      }
    }
    op->result = result;
    if (result < 0 && result >= kFirstErrno && (op->flags & kMayFail) == 0) {
      __atomic_store_n(&control->failed_op, address_of(op), __ATOMIC_SEQ_CST);
      __atomic_store_n(&control->failed, 1u, __ATOMIC_SEQ_CST);
      break;
    }
  }
  if (op == end) {
    __atomic_add_fetch(&control->threads_done, 1, __ATOMIC_SEQ_CST);
  }
  tell_library(control);
  for (;;) { // until the library takes the thread over, or kills it
    system_call(__NR_futex, address_of(&control->never), kFutexWait, 0);
  }
}

// Where the first thread enters: leaves the stack of the process it was born in.
asm(".pushsection rrpcp_restorer, \"ax\", @progbits\n"
    ".globl rrpcp_restorer_enter\n"
    ".hidden rrpcp_restorer_enter\n"
    ".type rrpcp_restorer_enter, @function\n"
    "rrpcp_restorer_enter:\n"
    "  mov 24(%rdi), %rsp\n" // Thread::stack_top
    "  xor %ebp, %ebp\n"
    "  jmp rrpcp_restorer_run\n"
    ".size rrpcp_restorer_enter, . - rrpcp_restorer_enter\n"
    // A system call to be made through ptrace while nothing but the arena is known to be there.
    ".globl rrpcp_restorer_syscall\n"
    ".hidden rrpcp_restorer_syscall\n"
    "rrpcp_restorer_syscall:\n"
    "  syscall\n"
    "  ud2\n"
    ".popsection\n");
static_assert(__builtin_offsetof(Thread, stack_top) == 24);

} // namespace rrpcp::process::restorer
