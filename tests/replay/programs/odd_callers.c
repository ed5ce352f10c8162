// System calls made in states that a program is rarely in: registers, flags and stack that code
// which makes calls for it must neither need nor change; memory that is not all there; limits;
// code that is looked at.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t signals;

static void count(int signal) {
  (void)signal;
  signals += 1;
}

static int new_file(void) {
  char name[] = "/tmp/odd-callers-XXXXXX";
  int fd = mkstemp(name);
  unlink(name);
  char page[8192];
  memset(page, 'f', sizeof page);
  if (write(fd, page, sizeof page) != (ssize_t)sizeof page) {
    exit(1);
  }
  // What is known of a descriptor is known from the second call on.
  pwrite(fd, "x", 1, 0);
  pread(fd, page, 1, 0);
  return fd;
}

static void show(const char* what, long result) {
  printf("%s: %ld%s%s\n", what, result, result < 0 ? " " : "", result < 0 ? strerror(errno) : "");
}

// Memory that ends in the middle of what a call reads or writes.
static void half_there(void) {
  int fd = new_file();
  char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(page, 'z', 8192);
  munmap(page + 4096, 4096);
  for (int i = 0; i < 2; ++i) {
    show("write", write(fd, page + 4000, 200));
    show("pwrite", pwrite(fd, page + 4000, 200, 50));
    show("pread", pread(fd, page + 4000, 200, 10));
    show("fstat", fstat(fd, (struct stat*)(page + 4000)));
    show("readlink", readlink("/proc/self/exe", page + 4094, 100));
    show("getcwd", syscall(SYS_getcwd, page + 4096, 100));
    memcpy(page + 4091, "/etc/", 5);
    show("access", access(page + 4091, F_OK));
  }
  close(fd);
}

// The same call with the registers that the lines before it leave. rsp is put back.
#define CALL(before, after, result)                                                                \
  __asm__ volatile("mov %%rsp, %%r12\n" before "mov $39, %%eax\n"                                  \
                   "syscall\n"                                                                     \
                   "mov %%r12, %%rsp\n" after                                                      \
                   : "=a"(result)                                                                  \
                   :                                                                               \
                   : "rbx", "rcx", "rdx", "rdi", "rsi", "r8", "r9", "r10", "r11", "r12", "cc",     \
                     "memory")

static void odd_registers(void) {
  long pid = getpid();
  for (int i = 0; i < 2; ++i) {
    long a, b, c, d, e;
    CALL("xor %%esp, %%esp\n", "", a);
    CALL("mov $1, %%rsp\nror $1, %%rsp\n", "", b);
    CALL("std\n", "cld\n", c);
    CALL("pushfq\norq $0x40000, (%%rsp)\npopfq\n", "pushfq\nandq $~0x40000, (%%rsp)\npopfq\n", d);
    CALL("mov $0x2b, %%eax\nmov %%eax, %%ds\nmov %%eax, %%es\n",
         "mov %%rax, %%rbx\nxor %%eax, %%eax\nmov %%eax, %%ds\nmov %%eax, %%es\nmov %%rbx, %%rax\n",
         e);
    printf("registers: %d %d %d %d %d\n", a == pid, b == pid, c == pid, d == pid, e == pid);
    getppid();
  }
}

// Without the right to write to memory of protection key 0, which nearly all is.
static void protected_memory(void) {
  long pid = getpid();
  long key = syscall(SYS_pkey_alloc, 0, 0);
  int as_well = 1;
  for (int i = 0; i < 2 && key >= 0; ++i) {
    long a;
    CALL("mov $2, %%eax\nxor %%ecx, %%ecx\nxor %%edx, %%edx\nwrpkru\n",
         "mov %%rax, %%rbx\nxor %%eax, %%eax\nxor %%ecx, %%ecx\nxor %%edx, %%edx\nwrpkru\n"
         "mov %%rbx, %%rax\n",
         a);
    as_well &= a == pid;
  }
  printf("protected: %d\n", as_well);
}

// A program that steps itself from directly before a call on.
static void stepped(void) {
  struct sigaction action = {.sa_handler = count};
  sigaction(SIGTRAP, &action, NULL);
  long pid = getpid();
  for (int i = 0; i < 3; ++i) {
    long a;
    signals = 0;
    CALL("pushfq\norq $0x100, (%%rsp)\npopfq\n", "pushfq\nandq $~0x100, (%%rsp)\npopfq\n", a);
    printf("stepped: %d, %d steps\n", a == pid, (int)signals);
  }
}

// A signal that the kernel cannot queue is delivered all the same.
static void no_queue(void) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_SIGPENDING, &none);
  struct sigaction action = {.sa_handler = count};
  sigaction(SIGUSR1, &action, NULL);
  signals = 0;
  raise(SIGUSR1);
  printf("not queued: %d\n", (int)signals);
}

// A segment in place of what may be mapped there.
static void remapped(void) {
  void* place = (void*)0x7fffe8000000;
  int id = shmget(IPC_PRIVATE, 4 << 20, 0600);
  char* segment = shmat(id, place, SHM_REMAP);
  shmctl(id, IPC_RMID, NULL);
  printf("remapped: %d\n", segment == place);
  memset(segment, 1, 4 << 20);
  int fd = new_file();
  char bytes[4];
  for (int i = 0; i < 3; ++i) {
    show("pread", pread(fd, bytes, sizeof bytes, 0));
  }
  close(fd);
}

// The program's code, as others see it and as it sees it itself.
static void own_code(void) {
  const unsigned char* code = (const unsigned char*)(unsigned long)getppid;
  unsigned char bytes[32] = {0};
  getppid();
  int fd = open("/proc/self/mem", O_RDONLY);
  show("mem", pread(fd, bytes, sizeof bytes, (off_t)(unsigned long)code));
  close(fd);
  printf("code: %s\n", memcmp(code, bytes, sizeof bytes) == 0 ? "the same" : "other");
}

static void others_code(void) {
  const unsigned char* code = (const unsigned char*)(unsigned long)getppid;
  unsigned char bytes[32] = {0};
  struct iovec to = {bytes, sizeof bytes};
  struct iovec from = {(void*)(unsigned long)code, sizeof bytes};
  show("process_vm_readv", process_vm_readv(getpid(), &to, 1, &from, 1, 0));
  printf("code: %s\n", memcmp(code, bytes, sizeof bytes) == 0 ? "the same" : "other");
}

// Argument: number of a part that is left out.
int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  // Each in a process of its own, whose code is as it was when the program began.
  void (*const parts[])(void) = {half_there, odd_registers, protected_memory, stepped,
                                 no_queue,   remapped,      own_code,         others_code};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; ++i) {
    if (argc > 1 && (size_t)atoi(argv[1]) == i) {
      continue;
    }
    pid_t child = fork();
    if (child == 0) {
      parts[i]();
      return 0;
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("%zu: %x\n", i, (unsigned)status);
  }
  return 0;
}
