// A thread that spins without a system call until another one has changed a variable, and a process
// that does so until a signal comes.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int flag;
static volatile sig_atomic_t alarms;
static unsigned long spins;
static double value = 1.0;

static void* spin(void* argument) {
  (void)argument;
  while (atomic_load(&flag) == 0) {
    ++spins;
    value = value * 1.0000001 + 0.25;
  }
  return NULL;
}

static void on_alarm(int signal) {
  (void)signal;
  ++alarms;
}

int main(void) {
  signal(SIGALRM, on_alarm);
  pthread_t thread;
  pthread_create(&thread, NULL, spin, NULL);
  usleep(10000);
  atomic_store(&flag, 1);
  pthread_join(thread, NULL);
  alarm(1);
  while (alarms == 0) {
    ++spins;
  }
  printf("%lu spins, %a\n", spins, value);
  return 0;
}
