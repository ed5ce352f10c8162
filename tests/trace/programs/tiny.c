// A program without a library, so that its trace is small: a child process, a thread, some memory.
// Prints the same lines always.

#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/sched.h>

static long call(long number, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static void say(const char* text) {
  long length = 0;
  while (text[length] != 0) {
    ++length;
  }
  call(__NR_write, 1, (long)text, length, 0, 0, 0);
}

static char stack[8192] __attribute__((aligned(16)));
static int thread_id = 1;
static volatile int counter;

// Makes a thread that counts and ends; it gets its first word from its own stack.
long make_thread(long flags, void* top, int* id);
__asm__(".globl make_thread\n"
        "make_thread:\n"
        "  mov $56, %eax\n" // clone(flags, stack, parent_tid, child_tid, tls)
        "  mov %rdx, %r10\n"
        "  syscall\n"
        "  test %rax, %rax\n"
        "  jz 1f\n"
        "  ret\n"
        "1: call run_thread\n");

void run_thread(void) {
  for (int i = 0; i < 1000; ++i) {
    counter += i;
  }
  say("thread\n");
  call(__NR_exit, 0, 0, 0, 0, 0, 0);
}

void _start(void) {
  say("begin\n");
  long child = call(__NR_fork, 0, 0, 0, 0, 0, 0);
  if (child == 0) {
    say("child\n");
    call(__NR_exit_group, 3, 0, 0, 0, 0, 0);
  }
  int status = 0;
  call(__NR_wait4, child, (long)&status, 0, 0, 0, 0);
  say(status == 3 << 8 ? "child ended\n" : "child ended wrongly\n");
  make_thread(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                  CLONE_CHILD_CLEARTID,
              stack + sizeof stack, &thread_id);
  while (*(volatile int*)&thread_id != 0) {
    call(__NR_futex, (long)&thread_id, FUTEX_WAIT, 1, 0, 0, 0);
  }
  char* memory = (char*)call(__NR_mmap, 0, 65536, 3, 0x22, -1, 0);
  for (int i = 0; i < 16; ++i) {
    memory[i * 4096] = (char)i;
    call(__NR_getppid, 0, 0, 0, 0, 0, 0);
  }
  say(counter == 499500 && memory[4096 * 7] == 7 ? "end\n" : "wrong end\n");
  call(__NR_exit_group, 0, 0, 0, 0, 0, 0);
}
