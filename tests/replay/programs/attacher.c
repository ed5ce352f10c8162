// Attaches to processes that run, sleep and are stopped, interrupts them, lets them listen, and
// ends with tracees left; a SIGCHLD comes for each stop.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t told, told_code, told_pid;

static void require(int good, const char* what) {
  if (!good) {
    printf("FAILED: %s (%s)\n", what, strerror(errno));
    exit(1);
  }
}

static void on_child(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  ++told;
  told_code = info->si_code;
  told_pid = info->si_pid;
}

static int wait_for(pid_t pid, const char* what) {
  int status = 0;
  pid_t found = 0;
  do {
    found = waitpid(pid, &status, __WALL);
  } while (found < 0 && errno == EINTR);
  require(found == pid, what);
  return status;
}

static pid_t sleeper(void) {
  const pid_t pid = fork();
  if (pid == 0) {
    for (;;) {
      sleep(1000);
    }
  }
  return pid;
}

static pid_t spinner(void) {
  int ready[2];
  require(pipe(ready) == 0, "pipe");
  const pid_t pid = fork();
  if (pid == 0) {
    require(write(ready[1], "x", 1) == 1, "write");
    for (volatile long i = 0;; ++i) {
    }
  }
  char byte = 0;
  require(read(ready[0], &byte, 1) == 1, "read");
  return pid;
}

static void attach(pid_t pid, const char* what) {
  require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "PTRACE_ATTACH");
  require(ptrace(PTRACE_ATTACH, pid, 0, 0) == -1 && errno == EPERM, "PTRACE_ATTACH twice");
  const int status = wait_for(pid, what);
  siginfo_t info;
  const int group = ptrace(PTRACE_GETSIGINFO, pid, 0, &info) != 0;
  struct user_regs_struct registers;
  require(ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0, "PTRACE_GETREGS");
  printf("%s: %x, group stop %d\n", what, (unsigned)status, group);
}

static void end(pid_t pid) {
  kill(pid, SIGKILL);
  printf("ended by %d\n", WTERMSIG(wait_for(pid, "the end")));
}

static void seize(void) {
  const pid_t pid = sleeper();
  require(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0, "PTRACE_SEIZE");
  int status = 0;
  require(waitpid(pid, &status, WNOHANG) == 0, "that it goes on");
  require(ptrace(PTRACE_CONT, pid, 0, 0) == -1 && errno == ESRCH, "one that runs");
  require(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0, "PTRACE_INTERRUPT");
  printf("interrupted: %x\n", (unsigned)wait_for(pid, "the interruption"));
  require(ptrace(PTRACE_CONT, pid, 0, 0) == 0, "PTRACE_CONT");
  kill(pid, SIGSTOP);
  printf("signal: %x\n", (unsigned)wait_for(pid, "the signal"));
  require(ptrace(PTRACE_CONT, pid, 0, (void*)SIGSTOP) == 0, "PTRACE_CONT");
  printf("group stop: %x\n", (unsigned)wait_for(pid, "the group stop"));
  require(ptrace(PTRACE_LISTEN, pid, 0, 0) == 0, "PTRACE_LISTEN");
  kill(pid, SIGCONT);
  printf("listened: %x\n", (unsigned)wait_for(pid, "the end of the group stop"));
  require(ptrace(PTRACE_CONT, pid, 0, 0) == 0, "PTRACE_CONT");
  printf("signal: %x\n", (unsigned)wait_for(pid, "SIGCONT"));
  siginfo_t info;
  require(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
  printf("from me: %d\n", info.si_pid == getpid());
  require(ptrace(PTRACE_DETACH, pid, 0, 0) == 0, "PTRACE_DETACH");
  end(pid);
}

static void by_waitid(void) {
  const pid_t pid = sleeper();
  require(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0, "PTRACE_SEIZE");
  require(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0, "PTRACE_INTERRUPT");
  siginfo_t info;
  for (int again = 0; again < 2; ++again) {
    memset(&info, 0, sizeof info);
    require(waitid(P_ALL, 0, &info, WSTOPPED | (again ? 0 : WNOWAIT)) == 0, "waitid");
    printf("waitid: code %d, status %x, mine %d\n", info.si_code, (unsigned)info.si_status,
           info.si_pid == pid);
  }
  end(pid);
}

// A process that is no child of its tracer.
static void of_others(void) {
  int ids[2];
  require(pipe(ids) == 0, "pipe");
  const pid_t between = fork();
  if (between == 0) {
    pid_t pid = sleeper();
    require(write(ids[1], &pid, sizeof pid) == sizeof pid, "write");
    int status = 0;
    waitpid(pid, &status, 0);
    _exit(WTERMSIG(status));
  }
  pid_t pid = 0;
  require(read(ids[0], &pid, sizeof pid) == sizeof pid, "read");
  int status = 0;
  require(waitpid(pid, &status, WNOHANG) == -1 && errno == ECHILD, "that it is no child");
  attach(pid, "a process of another");
  end(pid);
  printf("its parent: %d\n", WEXITSTATUS(wait_for(between, "the parent")));
}

static void end_of_tracer(int options, const char* what) {
  const pid_t pid = sleeper();
  const pid_t tracer = fork();
  if (tracer == 0) {
    require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "PTRACE_ATTACH");
    wait_for(pid, "the tracer's stop");
    require(ptrace(PTRACE_SETOPTIONS, pid, 0, options) == 0, "PTRACE_SETOPTIONS");
    _exit(7);
  }
  printf("%s: tracer %d\n", what, WEXITSTATUS(wait_for(tracer, "the tracer")));
  if (options == 0) {
    kill(pid, SIGTERM);
  }
  printf("its tracee: %d\n", WTERMSIG(wait_for(pid, "the tracee")));
}

static void* waiting_thread(void* argument) {
  int status = 0;
  const pid_t pid = waitpid(-1, &status, 0);
  printf("another thread: %d, %x\n", pid == *(pid_t*)argument, (unsigned)status);
  return NULL;
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  pid_t pid = sleeper();
  usleep(20000);
  attach(pid, "asleep");
  require(ptrace(PTRACE_DETACH, pid, 0, 0) == 0, "PTRACE_DETACH");
  end(pid);
  pid = spinner();
  attach(pid, "computing");
  require(ptrace(PTRACE_CONT, pid, 0, 0) == 0, "PTRACE_CONT");
  end(pid);
  pid = sleeper();
  kill(pid, SIGSTOP);
  int status = 0;
  require(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "a stop");
  attach(pid, "stopped");
  end(pid);
  seize();
  by_waitid();
  of_others();
  end_of_tracer(0, "left");
  end_of_tracer(PTRACE_O_EXITKILL, "ended too");

  // A thread that did not attach waits.
  pid = sleeper();
  pthread_t thread;
  pthread_create(&thread, NULL, waiting_thread, &pid);
  require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "PTRACE_ATTACH");
  pthread_join(thread, NULL);
  end(pid);

  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_child;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGCHLD, &action, NULL);
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  pid = sleeper();
  require(ptrace(PTRACE_ATTACH, pid, 0, 0) == 0, "PTRACE_ATTACH");
  require(sigsuspend(&before) == -1 && errno == EINTR, "sigsuspend");
  printf("told: %d, of the child %d, code %d\n", told, told_pid == pid, told_code);
  wait_for(pid, "the stop");
  end(pid);
  require(sigwaitinfo(&blocked, NULL) == SIGCHLD, "sigwaitinfo");
  return 0;
}
