// A process that notices if anything is done to it. Its threads are in the states in which a
// capture has most to put back: computing, with registers and vector registers that must stay;
// asleep; in calls that have a signal mask of their own; talking through a pipe; waiting for
// children. Each counts its rounds in the file that it is given (struct Watch), where errors are
// noted as well. With a second argument, all its threads wait in calls with a time-out that the
// kernel takes up again by itself.
//
// Built without sanitizers, whose runtime would have memory and threads of its own.
#include "process/kill_subject.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <iterator>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace {

rrpcp::test::Watch* watch;

void fail(std::uint64_t code) {
  __atomic_store_n(&watch->code, code, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(&watch->errors, 1, __ATOMIC_SEQ_CST);
}

void count(unsigned thread) {
  __atomic_add_fetch(&watch->rounds[thread], 1, __ATOMIC_SEQ_CST);
}

std::uint64_t mask_of(int signal) {
  return std::uint64_t{1} << (signal - 1);
}

void set_mask(std::uint64_t mask) {
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

void expect_mask(std::uint64_t mask, std::uint64_t code) {
  std::uint64_t now = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &now, sizeof now);
  if (now != mask) {
    fail(code);
    set_mask(mask);
  }
}

// General and vector registers keep their values over a loop of 200,000 instructions.
void compute() {
  for (;;) {
    std::uint64_t wrong = 0;
    asm volatile("mov $0x1111, %%r8\n\t"
                 "mov $0x2222, %%r9\n\t"
                 "mov $0x3333, %%r10\n\t"
                 "mov $0x4444, %%rdi\n\t"
                 "mov $0x5555, %%rsi\n\t"
                 "mov $0x6666, %%rdx\n\t"
                 "movq %%r8, %%xmm3\n\t"
                 "movq %%r9, %%xmm14\n\t"
                 "xor %%r11, %%r11\n\t"
                 "mov $200000, %%rcx\n"
                 "1: inc %%r11\n\t"
                 "dec %%rcx\n\t"
                 "jnz 1b\n\t"
                 "sub $200000, %%r11\n\t"
                 "or %%r11, %0\n\t"
                 "sub $0x4444, %%rdi\n\t"
                 "or %%rdi, %0\n\t"
                 "sub $0x5555, %%rsi\n\t"
                 "or %%rsi, %0\n\t"
                 "sub $0x6666, %%rdx\n\t"
                 "or %%rdx, %0\n\t"
                 "movq %%xmm3, %%rdi\n\t"
                 "sub %%r8, %%rdi\n\t"
                 "or %%rdi, %0\n\t"
                 "movq %%xmm14, %%rdi\n\t"
                 "sub %%r9, %%rdi\n\t"
                 "or %%rdi, %0\n\t"
                 "sub $0x1111, %%r8\n\t"
                 "or %%r8, %0\n\t"
                 "sub $0x2222, %%r9\n\t"
                 "or %%r9, %0\n\t"
                 "sub $0x3333, %%r10\n\t"
                 "or %%r10, %0\n\t"
                 : "+a"(wrong)
                 :
                 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm3", "xmm14", "memory",
                   "cc");
    if (wrong != 0) {
      fail(100);
    }
    count(0);
    ::usleep(1000);
  }
}

void suspend() {
  const std::uint64_t mask = mask_of(SIGUSR1) | mask_of(SIGHUP);
  const std::uint64_t inside = mask_of(SIGHUP);
  set_mask(mask);
  for (;;) {
    if (::syscall(SYS_rt_sigsuspend, &inside, sizeof inside) != -1 || errno != EINTR) {
      fail(200);
    }
    expect_mask(mask, 201);
    count(1);
  }
}

void poll_with_mask() {
  const std::uint64_t mask = mask_of(SIGUSR2);
  set_mask(mask);
  sigset_t none;
  ::sigemptyset(&none);
  for (;;) {
    const timespec time{0, 20'000'000};
    if (::ppoll(nullptr, 0, &time, &none) != 0 && errno != EINTR) {
      fail(300);
    }
    expect_mask(mask, 301);
    count(2);
  }
}

void epoll_with_mask() {
  const std::uint64_t mask = mask_of(SIGWINCH);
  set_mask(mask);
  sigset_t none;
  ::sigemptyset(&none);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (;;) {
    epoll_event event;
    if (::epoll_pwait(epoll, &event, 1, 20, &none) != 0 && errno != EINTR) {
      fail(400);
    }
    expect_mask(mask, 401);
    count(3);
  }
}

void sleep_exactly() {
  for (;;) {
    timespec before;
    timespec after;
    ::clock_gettime(CLOCK_MONOTONIC, &before);
    const timespec time{0, 20'000'000};
    if (::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr) != 0) {
      fail(500);
    }
    ::clock_gettime(CLOCK_MONOTONIC, &after);
    if ((after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec <
        time.tv_nsec) {
      fail(501);
    }
    count(4);
  }
}

int ends[2];

void read_in_order() {
  for (std::uint64_t expected = 0;; ++expected) {
    std::uint64_t value = 0;
    if (::read(ends[0], &value, sizeof value) != sizeof value || value != expected) {
      fail(600);
    }
    count(5);
  }
}

void write_in_order() {
  for (std::uint64_t value = 0;; ++value) {
    if (::write(ends[1], &value, sizeof value) != sizeof value) {
      fail(700);
    }
    count(6);
    ::usleep(2000);
  }
}

// A child is found by its own parent only, and nobody else's is.
void call_and_wait() {
  const pid_t own = ::getpid();
  for (;;) {
    for (int i = 0; i < 200; ++i) {
      if (::syscall(SYS_getpid) != own) {
        fail(800);
      }
    }
    const pid_t child = ::fork();
    if (child == 0) {
      ::_exit(37);
    }
    int status = 0;
    pid_t found;
    do {
      found = ::waitpid(-1, &status, 0);
    } while (found < 0 && errno == EINTR);
    if (found != child || !WIFEXITED(status) || WEXITSTATUS(status) != 37) {
      fail(801);
    }
    count(7);
    ::usleep(3000);
  }
}

timespec add(timespec time, long nanoseconds) {
  time.tv_nsec += nanoseconds;
  if (time.tv_nsec >= 1'000'000'000) {
    time.tv_nsec -= 1'000'000'000;
    ++time.tv_sec;
  }
  return time;
}

timespec now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time;
}

// Calls that end by their time-out, which several captures fall into. Those by syscall(3) have no
// number in front of them.
constexpr long kTimeOut = 50'000'000;
constexpr timespec kTime{0, kTimeOut};

bool timed_out(long result) {
  return result == -1 && errno == ETIMEDOUT;
}

bool (*const kCalls[])() = {
    [] { return ::syscall(SYS_nanosleep, &kTime, nullptr) == 0; },
    [] { return ::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &kTime, nullptr) == 0; },
    [] { return ::clock_nanosleep(CLOCK_REALTIME, 0, &kTime, nullptr) == 0; },
    [] {
      const timespec end = add(now(), kTimeOut);
      return ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr) == 0;
    },
    [] { return ::poll(nullptr, 0, kTimeOut / 1'000'000) == 0; },
    [] { return ::ppoll(nullptr, 0, &kTime, nullptr) == 0; },
    [] {
      timeval time{0, kTimeOut / 1000};
      return ::select(0, nullptr, nullptr, nullptr, &time) == 0;
    },
    [] {
      const std::uint32_t word = 3;
      return timed_out(::syscall(SYS_futex, &word, FUTEX_WAIT, 3, &kTime, nullptr, 0));
    },
    [] {
      const std::uint32_t word = 0;
      const timespec end = add(now(), kTimeOut);
      return timed_out(::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &end, nullptr,
                                 FUTEX_BITSET_MATCH_ANY));
    }};
static_assert(std::size(kCalls) == rrpcp::test::Watch::kThreads);

void make_calls(unsigned thread) {
  for (;;) {
    if (!kCalls[thread]()) {
      fail(900 + thread);
    }
    count(thread);
  }
}

} // namespace

int main(int count_of_arguments, char** arguments) {
  if (count_of_arguments != 2 && count_of_arguments != 3) {
    return 2;
  }
  const int file = ::open(arguments[1], O_RDWR | O_CLOEXEC);
  void* memory = ::mmap(nullptr, sizeof *watch, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || memory == MAP_FAILED || ::pipe(ends) != 0) {
    return 2;
  }
  ::close(file);
  watch = static_cast<rrpcp::test::Watch*>(memory);
  if (count_of_arguments == 3) {
    for (unsigned i = 1; i < std::size(kCalls); ++i) {
      std::thread(make_calls, i).detach();
    }
    make_calls(0);
  }
  struct sigaction action {};
  action.sa_handler = [](int) {};
  for (int signal : {SIGUSR1, SIGUSR2, SIGWINCH}) {
    ::sigaction(signal, &action, nullptr);
  }
  std::thread threads[] = {std::thread(compute),        std::thread(suspend),
                           std::thread(poll_with_mask), std::thread(epoll_with_mask),
                           std::thread(sleep_exactly),  std::thread(read_in_order),
                           std::thread(write_in_order), std::thread(call_and_wait)};
  for (;;) {
    ::usleep(10'000);
    ::pthread_kill(threads[1].native_handle(), SIGUSR1);
    count(8);
  }
}
