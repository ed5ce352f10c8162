// Sends signals to its own process group, in which its recorder is too, and counts what it gets.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t counts[NSIG];

static void count(int signal) {
  ++counts[signal];
}

int main(void) {
  struct sigaction action = {0};
  action.sa_handler = count;
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGABRT || signal == SIGPROF) {
      struct sigaction ignore = {0};
      ignore.sa_handler = SIG_IGN;
      sigaction(signal, &ignore, NULL);
    } else if (signal != SIGKILL && signal != SIGSTOP) {
      sigaction(signal, &action, NULL);
    }
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    // What a shell uses for jobs stops the recorder too, as it would stop anybody in the group.
    if (signal != SIGKILL && signal != SIGSTOP && signal != SIGTSTP && signal != SIGTTIN &&
        signal != SIGTTOU && signal != 32 && signal != 33) {
      kill(0, signal);
    }
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    printf("%d%c", (int)counts[signal], signal % 16 == 0 ? '\n' : ' ');
  }
  puts("\nstill here");
  return 0;
}
