// Filters of seccomp(2) of all kinds: calls that fail, that raise a signal, that kill a thread or
// the process, and that are let through; in threads, and kept over fork and exec.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static int signals;
static volatile int shared;

static void on_system_call(int signal, siginfo_t* info, void* context) {
  (void)context;
  ++signals;
  char text[80];
  const int n = snprintf(text, sizeof text, "signal %d, code %d, call %d\n", signal, info->si_code,
                         info->si_syscall);
  struct {
    const char* base;
    size_t length;
  } piece = {text, (size_t)n};
  syscall(SYS_writev, 1, &piece, 1); // write(2) may be what is filtered
}

// From now on `call` ends as `action` says.
static int filter(int call, unsigned action) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, action),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void* die(void* argument) {
  (void)argument;
  filter(SYS_getpgrp, SECCOMP_RET_KILL_THREAD);
  shared = 42;
  syscall(SYS_getpgrp);
  shared = 43;
  return NULL;
}

static void say(const char* text) {
  printf("%s\n", text);
  fflush(stdout);
}

int main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    printf("after exec: %ld, %s\n", syscall(SYS_getsid, 0), strerror(errno));
    return 5;
  }
  printf("mode %d\n", prctl(PR_GET_SECCOMP));
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_system_call;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSYS, &action, NULL);

  printf("filter %d\n", filter(SYS_getsid, SECCOMP_RET_ERRNO | EXDEV));
  errno = 0;
  printf("getsid %ld, %s\n", syscall(SYS_getsid, 0), strerror(errno));
  printf("mode %d\n", prctl(PR_GET_SECCOMP));
  fflush(stdout);

  // In another process, because filters stay. Calls that a replay would carry out if it took the
  // number in the register for a result, and a byte that is not written.
  pid_t child = fork();
  if (child == 0) {
    char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[0] = 'x';
    filter(SYS_munmap, SECCOMP_RET_TRAP);
    filter(SYS_mremap, SECCOMP_RET_TRAP);
    printf("munmap %ld\n", syscall(SYS_munmap, page, 4096));
    printf("mremap %ld\n", syscall(SYS_mremap, page, 4096, 8192, MREMAP_MAYMOVE));
    printf("page %c, signals %d\n", page[0], signals);
    fflush(stdout);
    filter(SYS_write, SECCOMP_RET_TRAP);
    const long result = syscall(SYS_write, 1, "?", 1);
    _exit((int)result * 10 + signals);
  }
  int status;
  waitpid(child, &status, 0);
  printf("write: status %d\n", WEXITSTATUS(status));
  fflush(stdout);

  child = fork();
  if (child == 0) {
    say("to be killed");
    filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
    syscall(SYS_getppid);
    say("not killed");
    _exit(0);
  }
  waitpid(child, &status, 0);
  printf("killed by %d\n", WTERMSIG(status));

  pthread_t thread;
  pthread_create(&thread, NULL, die, NULL);
  pthread_join(thread, NULL);
  printf("the thread said %d\n", shared);
  fflush(stdout);

  child = fork();
  if (child == 0) {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    syscall(SYS_write, 1, "strict\n", 7);
    syscall(SYS_exit, 9);
  }
  waitpid(child, &status, 0);
  printf("strict: status %d\n", WEXITSTATUS(status));
  fflush(stdout);
  child = fork();
  if (child == 0) {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); // takes the time-stamp counter away as well
    const unsigned long counter = __rdtsc();
    syscall(SYS_exit, counter != 0);
  }
  waitpid(child, &status, 0);
  printf("strict counter: signal %d\n", WTERMSIG(status));
  fflush(stdout);

  // A filter that the recorder itself would fall over where it prepares a new program.
  child = fork();
  if (child == 0) {
    filter(SYS_prctl, SECCOMP_RET_ERRNO | EPERM);
    execl("/proc/self/exe", "filters", "again", NULL);
    _exit(1);
  }
  waitpid(child, &status, 0);
  printf("without prctl: status %d\n", WEXITSTATUS(status));
  fflush(stdout);
  execl("/proc/self/exe", "filters", "again", NULL);
  return 1;
}
