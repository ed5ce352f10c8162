// Follows a tree of processes and threads through fork, vfork, clone and exec, counts their system
// calls, and skips some of them (PTRACE_SYSEMU).
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

static void require(int good, const char* what) {
  if (!good) {
    printf("FAILED: %s (%s)\n", what, strerror(errno));
    exit(1);
  }
}

static void* thread(void* argument) {
  syscall(SYS_getppid);
  return argument;
}

static int family(void) {
  pthread_t other;
  pthread_create(&other, NULL, thread, NULL);
  pthread_join(other, NULL);
  const pid_t child = fork();
  if (child == 0) {
    syscall(SYS_getppid);
    _exit(3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  pid_t spawned = 0;
  char* const words[] = {"/bin/true", NULL};
  posix_spawn(&spawned, words[0], NULL, NULL, words, environ);
  waitpid(spawned, &status, 0);
  return 4;
}

struct counts {
  int forks, vforks, clones, execs, exits, ends, vforks_done, entries, exits_of_calls, parents,
      starts;
};

static struct counts follow(int seized) {
  struct counts counts;
  memset(&counts, 0, sizeof counts);
  const pid_t pid = fork();
  if (pid == 0) {
    if (!seized) {
      ptrace(PTRACE_TRACEME, 0, 0, 0);
    }
    raise(SIGSTOP);
    _exit(family());
  }
  int status = 0;
  require(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "the first stop");
  const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                       PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT |
                       PTRACE_O_TRACEVFORKDONE;
  if (seized) {
    require(ptrace(PTRACE_SEIZE, pid, 0, options) == 0, "PTRACE_SEIZE");
    require(waitpid(pid, &status, 0) == pid, "the stop of one that was stopped");
    require(status >> 8 == (SIGSTOP | PTRACE_EVENT_STOP << 8), "that it is a group stop");
    kill(pid, SIGCONT);
  } else {
    require(ptrace(PTRACE_SETOPTIONS, pid, 0, options) == 0, "PTRACE_SETOPTIONS");
  }
  require(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0, "PTRACE_SYSCALL");
  for (;;) {
    const pid_t tid = waitpid(-1, &status, __WALL);
    if (tid < 0) {
      require(errno == ECHILD, "that nobody is left");
      break;
    }
    if (!WIFSTOPPED(status)) {
      ++counts.ends;
      continue;
    }
    int signal = WSTOPSIG(status);
    const int event = status >> 16;
    unsigned long message = 0;
    ptrace(PTRACE_GETEVENTMSG, tid, 0, &message);
    if (event != 0 || signal == (SIGTRAP | 0x80)) {
      if (event == 0) {
        struct __ptrace_syscall_info call;
        require(ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof call, &call) > 0, "which call");
        if (call.op == PTRACE_SYSCALL_INFO_ENTRY) {
          ++counts.entries;
          counts.parents += call.entry.nr == SYS_getppid;
        } else {
          ++counts.exits_of_calls;
        }
      }
      counts.forks += event == PTRACE_EVENT_FORK && message != 0;
      counts.vforks += event == PTRACE_EVENT_VFORK && message != 0;
      counts.clones += event == PTRACE_EVENT_CLONE && message != 0;
      counts.execs += event == PTRACE_EVENT_EXEC;
      counts.exits += event == PTRACE_EVENT_EXIT;
      counts.vforks_done += event == PTRACE_EVENT_VFORK_DONE && message != 0;
      counts.starts += event == PTRACE_EVENT_STOP;
      signal = 0;
    } else if (signal == SIGSTOP && tid != pid) {
      ++counts.starts;
      signal = 0;
    }
    ptrace(PTRACE_SYSCALL, tid, 0, (long)signal);
  }
  return counts;
}

static void emulate(void) {
  const pid_t pid = fork();
  if (pid == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    const long first = syscall(SYS_getppid);
    const long second = syscall(SYS_getpid) == getpid();
    _exit(first == 77 && second ? 5 : 6);
  }
  int status = 0;
  require(waitpid(pid, &status, 0) == pid, "the first stop");
  for (;;) {
    require(ptrace(PTRACE_SYSEMU, pid, 0, 0) == 0, "PTRACE_SYSEMU");
    require(waitpid(pid, &status, 0) == pid && WSTOPSIG(status) == SIGTRAP, "an entry");
    struct user_regs_struct registers;
    require(ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0, "PTRACE_GETREGS");
    if (registers.orig_rax == SYS_getppid) {
      registers.rax = 77;
      require(ptrace(PTRACE_SETREGS, pid, 0, &registers) == 0, "PTRACE_SETREGS");
      break;
    }
  }
  require(ptrace(PTRACE_DETACH, pid, 0, 0) == 0, "PTRACE_DETACH");
  require(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "the end");
  printf("emulated: %d\n", WEXITSTATUS(status));
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int seized = 0; seized < 2; ++seized) {
    const struct counts counts = follow(seized);
    printf("forks %d, vforks %d, done %d, clones %d, execs %d, exits %d, ends %d, getppid %d, "
           "starts %d, calls %d, as many exits %d\n",
           counts.forks, counts.vforks, counts.vforks_done, counts.clones, counts.execs,
           counts.exits, counts.ends, counts.parents, counts.starts - seized, counts.entries > 20,
           counts.entries - counts.exits_of_calls);
  }
  emulate();
  return 0;
}
