// Alarms that end a program at any time from before it is executed until after: none may get lost.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    for (;;) {
      pause();
    }
  }
  int alarms = 0;
  for (int i = 1; i <= 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      struct itimerval timer;
      memset(&timer, 0, sizeof timer);
      timer.it_value.tv_usec = i * 97;
      setitimer(ITIMER_REAL, &timer, NULL);
      execl("/proc/self/exe", "early_alarms", "wait", NULL);
      _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    alarms += WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  }
  printf("%d programs, %d ended by an alarm\n", 100, alarms);
  return 0;
}
