// The process that the round-trip tests capture and restore.
//
// Usage: subject KIND DIRECTORY
//
// Sets up what KIND says, makes the file DIRECTORY/ready, waits until the first byte of
// DIRECTORY/control becomes 1, then checks and uses all that it had set up and writes what it found
// to DIRECTORY/result. The result must not depend on having been captured and restored meanwhile.
// Built without sanitizers: it holds values in registers and plays with its own memory.

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t kPage = 4096;

std::string directory;
volatile std::uint8_t* control; // the file, mapped shared

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "subject: %s: %s\n", what, std::strerror(errno));
  std::_Exit(2);
}

template <typename T> T check(T result, const char* what) {
  if (result == static_cast<T>(-1)) {
    die(what);
  }
  return result;
}

std::string file(const char* name) {
  return directory + "/" + name;
}

// The file of results, written by plain calls so that its position is part of the test.
int result_fd = -1;

void report(const char* format, ...) __attribute__((format(printf, 1, 2)));
void report(const char* format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  check(write(result_fd, line, static_cast<std::size_t>(length)), "writing the result");
}

void* map(std::size_t length, int protection, int flags, int fd = -1, off_t offset = 0) {
  void* memory = mmap(nullptr, length, protection, flags, fd, offset);
  if (memory == MAP_FAILED) {
    die("mmap");
  }
  return memory;
}

void announce_ready() {
  close(check(open(file("ready").c_str(), O_WRONLY | O_CREAT, 0600), "ready"));
}

bool told_to_go() {
  return *control == 1;
}

void wait_for_go() {
  while (!told_to_go()) {
    timespec pause{0, 2'000'000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
}

std::uint64_t mix(std::uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t digest(const volatile void* data, std::size_t length, std::uint64_t seed = 7) {
  const auto* words = static_cast<const volatile std::uint64_t*>(data);
  for (std::size_t i = 0; i < length / 8; ++i) {
    seed = mix(seed ^ words[i]);
  }
  return seed;
}

void fill(void* data, std::size_t length, std::uint64_t seed) {
  auto* words = static_cast<std::uint64_t*>(data);
  for (std::size_t i = 0; i < length / 8; ++i) {
    words[i] = mix(seed + i);
  }
}

// --- single -------------------------------------------------------------------------------------

void single() {
  std::vector<std::uint64_t> heap(300'000);
  fill(heap.data(), heap.size() * 8, 1);
  std::uint64_t stack[2048];
  fill(stack, sizeof stack, 2);
  // A private mapping of a file, with one page changed and one page of zeros over it.
  int fd = check(open(file("data").c_str(), O_RDONLY), "data");
  auto* mapped = static_cast<char*>(map(8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd));
  mapped[2 * kPage] = 'x';
  std::memset(mapped + 5 * kPage, 0, kPage);
  // Memory without access, once written; and memory never touched.
  auto* hidden =
      static_cast<char*>(map(4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  fill(hidden, 4 * kPage, 3);
  mprotect(hidden, 4 * kPage, PROT_NONE);
  auto* reserve = static_cast<char*>(
      map(std::size_t{1} << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE));
  auto* read_only =
      static_cast<char*>(map(2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  fill(read_only, 2 * kPage, 4);
  mprotect(read_only, 2 * kPage, PROT_READ);
  auto* advised =
      static_cast<char*>(map(64 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  fill(advised, 32 * kPage, 5);
  madvise(advised, 16 * kPage, MADV_DONTFORK);
  madvise(advised + 16 * kPage, 16 * kPage, MADV_DONTDUMP);
  madvise(advised + 32 * kPage, 16 * kPage, MADV_NOHUGEPAGE);
  // Code of our own, of which one copy is changed after it was made executable.
  auto* code = static_cast<unsigned char*>(
      map(kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS));
  const unsigned char kReturn77[] = {0xb8, 77, 0, 0, 0, 0xc3};
  std::memcpy(code, kReturn77, sizeof kReturn77);
  prctl(PR_SET_NAME, "sub ject\xff");
  umask(027);
  check(chdir(directory.c_str()), "chdir");
  void* brk_before = sbrk(0);

  announce_ready();
  // Registers that nobody saves for us.
  std::uint64_t sum = 0;
  asm volatile("mov $0x1111, %%r12\n mov $0x2222, %%r13\n mov $0x3333, %%r14\n mov $0x4444, %%r15\n"
               "1: pause\n cmpb $1, (%[control])\n jne 1b\n"
               "lea (%%r12,%%r13,2), %[sum]\n lea (%[sum],%%r14,4), %[sum]\n"
               "lea (%[sum],%%r15,8), %[sum]\n"
               : [sum] "=&r"(sum)
               : [control] "r"(control)
               : "r12", "r13", "r14", "r15", "memory");
  report("registers %lx\n", sum);
  report("heap %lx stack %lx\n", digest(heap.data(), heap.size() * 8), digest(stack, sizeof stack));
  report("file %lx\n", digest(mapped, 8 * kPage));
  mprotect(hidden, 4 * kPage, PROT_READ);
  report("hidden %lx\n", digest(hidden, 4 * kPage));
  mprotect(reserve + (std::size_t{1} << 35), kPage, PROT_READ | PROT_WRITE);
  reserve[std::size_t{1} << 35] = 1;
  report("read-only %lx advised %lx\n", digest(read_only, 2 * kPage), digest(advised, 64 * kPage));
  report("code %d\n", reinterpret_cast<int (*)()>(code)());
  char name[17] = {};
  prctl(PR_GET_NAME, name);
  report("name %s umask %o cwd %d\n", name, umask(0), access("ready", F_OK));
  report("pid %d\n", getpid() == syscall(SYS_gettid));
  // The heap goes on growing where it was, and is zero there.
  report("brk %d\n", sbrk(0) == brk_before);
  auto* grown = static_cast<unsigned char*>(sbrk(64 * kPage));
  report("grown %d\n", static_cast<int>(std::count(grown, grown + 64 * kPage, 0)));
  std::vector<std::uint64_t> more(heap);
  more.resize(heap.size() * 4);
  report("more %lx\n", digest(more.data(), more.size() * 8));
  timespec now;
  report("time %d\n", clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec > 0);
}

// --- threads ------------------------------------------------------------------------------------

thread_local std::uint64_t local = 0;
std::atomic<int> running{0};
std::atomic<int> turn{0};
pthread_mutex_t robust;
pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
std::array<std::uint64_t, 8> found;
std::array<pid_t, 8> tids;

void thread_body(int number) {
  tids[static_cast<std::size_t>(number)] = static_cast<pid_t>(syscall(SYS_gettid));
  char name[16];
  std::snprintf(name, sizeof name, "worker-%d", number);
  pthread_setname_np(pthread_self(), name);
  local = mix(static_cast<std::uint64_t>(number));
  std::uint64_t value = local;
  if (number == 3) {
    pthread_mutex_lock(&robust); // dies with it: another one must be told
  }
  ++running;
  switch (number % 4) {
  case 0: // spins in user space
    while (!told_to_go()) {
      value = value * 6364136223846793005u + 1;
      value = value / 3 * 3 == value ? value : value;
    }
    value = local;
    break;
  case 1: // waits for a condition
    pthread_mutex_lock(&plain);
    while (!told_to_go()) {
      timespec until;
      clock_gettime(CLOCK_REALTIME, &until);
      until.tv_sec += 600;
      pthread_cond_timedwait(&changed, &plain, &until);
    }
    pthread_mutex_unlock(&plain);
    break;
  case 2: // sleeps in short pieces
    wait_for_go();
    break;
  case 3: // waits in poll with a time limit
    while (!told_to_go()) {
      poll(nullptr, 0, 50);
    }
    break;
  }
  while (turn != number) {
    sched_yield();
  }
  char now[16] = {};
  pthread_getname_np(pthread_self(), now, sizeof now);
  const bool same_tid = tids[static_cast<std::size_t>(number)] == syscall(SYS_gettid);
  report("thread %d name %s local %lx value %lx tid %d\n", number, now, local, value, same_tid);
  found[static_cast<std::size_t>(number)] = local;
  ++turn;
}

void threads() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attributes);
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back(thread_body, i);
  }
  while (running != 8) {
    sched_yield();
  }
  announce_ready();
  wait_for_go();
  pthread_mutex_lock(&plain);
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&plain);
  for (std::thread& worker : workers) {
    worker.join();
  }
  report("robust mutex: %s\n", std::strerror(pthread_mutex_lock(&robust)));
  report("all %lx\n", digest(found.data(), sizeof found));
}

// --- avx512 -------------------------------------------------------------------------------------

[[gnu::target("avx512f,avx512bw")]] void avx512_body() {
  alignas(64) std::array<std::uint64_t, 32 * 8> pattern;
  alignas(64) std::array<std::uint64_t, 32 * 8> after{};
  std::array<std::uint64_t, 8> masks_before;
  std::array<std::uint64_t, 8> masks{};
  fill(pattern.data(), sizeof pattern, 11);
  fill(masks_before.data(), sizeof masks_before, 12);
  announce_ready();
#define LOAD(n) "vmovdqu64 " #n "*64(%[in]), %%zmm" #n "\n"
#define STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[out])\n"
#define LOADK(n) "kmovq " #n "*8(%[mi]), %%k" #n "\n"
#define STOREK(n) "kmovq %%k" #n ", " #n "*8(%[mo])\n"
#define ALL(X)                                                                                     \
  X(0)                                                                                             \
  X(1)                                                                                             \
  X(2)                                                                                             \
  X(3)                                                                                             \
  X(4)                                                                                             \
  X(5)                                                                                             \
  X(6)                                                                                             \
  X(7)                                                                                             \
  X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)    \
      X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define ALLK(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
  asm volatile(ALL(LOAD) ALLK(LOADK) "1: pause\n cmpb $1, (%[control])\n jne 1b\n" ALL(STORE)
                   ALLK(STOREK)
               :
               : [in] "r"(pattern.data()), [out] "r"(after.data()), [mi] "r"(masks_before.data()),
                 [mo] "r"(masks.data()), [control] "r"(control)
               : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  report("vector registers %s, masks %s\n", pattern == after ? "equal" : "DIFFER",
         masks == masks_before ? "equal" : "DIFFER");
}

void avx512() {
  if (!__builtin_cpu_supports("avx512bw")) {
    std::_Exit(77);
  }
  // Rounding mode and exception masks too.
  unsigned control_word = 0x5fa0; // round down, all exceptions masked, flags to zero...
  asm volatile("ldmxcsr %0" : : "m"(control_word));
  unsigned short x87 = 0x0f7f; // round to zero
  asm volatile("fldcw %0\n fldpi\n fldl2e" : : "m"(x87));
  avx512_body();
  unsigned mxcsr = 0;
  unsigned short x87_after = 0;
  double pi = 0;
  double log2e = 0;
  asm volatile("stmxcsr %0\n fnstcw %1\n fstpl %2\n fstpl %3"
               : "=m"(mxcsr), "=m"(x87_after), "=m"(log2e), "=m"(pi));
  control_word = 0x1f80;
  asm volatile("ldmxcsr %0" : : "m"(control_word));
  report("mxcsr %x x87 %x pi %a log2e %a\n", mxcsr & 0xffc0, x87_after, pi, log2e);
}

// --- avx: what every processor of the last years has beyond SSE ---------------------------------

[[gnu::target("avx2")]] void avx_body() {
  alignas(32) std::array<std::uint64_t, 16 * 4> pattern;
  alignas(32) std::array<std::uint64_t, 16 * 4> after{};
  fill(pattern.data(), sizeof pattern, 13);
  announce_ready();
#define LOADY(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define STOREY(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
#define ALLY(X)                                                                                    \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
  asm volatile(ALLY(LOADY) "1: pause\n cmpb $1, (%[control])\n jne 1b\n" ALLY(STOREY) "vzeroupper\n"
               :
               : [in] "r"(pattern.data()), [out] "r"(after.data()), [control] "r"(control)
               : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  report("vector registers %s\n", pattern == after ? "equal" : "DIFFER");
}

void avx() {
  if (!__builtin_cpu_supports("avx2")) {
    std::_Exit(77);
  }
  avx_body();
}

// --- fragmented ---------------------------------------------------------------------------------

void fragmented() {
  constexpr std::size_t kPieces = 2000;
  auto* memory = static_cast<char*>(
      map(kPieces * 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  for (std::size_t i = 0; i < kPieces; ++i) {
    char* piece = memory + 2 * i * kPage;
    fill(piece, (i % 3 + 1) * kPage / 2, i);
    mprotect(piece, kPage, PROT_READ);
    if (i % 7 == 0) {
      munmap(piece + kPage, kPage);
    }
  }
  // One mapping with many short rows of touched pages.
  auto* scattered =
      static_cast<char*>(map(4096 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  for (std::size_t i = 0; i < 4090; i = i + 2 + i % 5) {
    fill(scattered + i * kPage, (1 + i % 2) * kPage, i);
  }
  announce_ready();
  wait_for_go();
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < kPieces; ++i) {
    all = digest(memory + 2 * i * kPage, (i % 7 == 0 ? 1 : 2) * kPage, all);
  }
  report("pieces %lx scattered %lx\n", all, digest(scattered, 4096 * kPage));
}

// --- gigabyte -----------------------------------------------------------------------------------

void gigabyte() {
  constexpr std::size_t kSize = std::size_t{1} << 30;
  auto* memory =
      static_cast<std::uint64_t*>(map(kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
  constexpr std::size_t kWords = kPage / 8;
  for (std::size_t page = 0; page < kSize / kPage; ++page) {
    if (page % 218 == 217) {
      continue; // never touched: 1,200 rows
    }
    // Every page is different, and most of it easy to compress.
    std::uint64_t* words = memory + page * kWords;
    for (std::size_t i = 0; i < kWords; i += 1 + i % 3) {
      words[i] = page;
    }
    words[page % kWords] = mix(page);
  }
  announce_ready();
  wait_for_go();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kSize / 8; ++i) {
    sum = sum * 31 + memory[i];
  }
  report("sum %lx\n", sum);
}

// --- signals ------------------------------------------------------------------------------------

std::atomic<int> signal_count{0};
std::array<char[96], 128> signal_log;

void on_signal(int number, siginfo_t* info, void*) {
  stack_t stack;
  sigaltstack(nullptr, &stack);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  const int at = signal_count++;
  std::snprintf(signal_log[static_cast<std::size_t>(at)], sizeof signal_log[0],
                "signal %d code %d value %d on-stack %d blocked-usr1 %d\n", number, info->si_code,
                info->si_code == SI_QUEUE ? info->si_value.sival_int : 0,
                (stack.ss_flags & SS_ONSTACK) != 0, sigismember(&mask, SIGUSR1));
}

void install(int number, int flags, int also_blocked) {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | flags;
  if (also_blocked != 0) {
    sigaddset(&action.sa_mask, also_blocked);
  }
  check(sigaction(number, &action, nullptr), "sigaction");
}

std::atomic<int> waiters{0};
std::atomic<int> woken{0};

// Threads that wait for signals in every way.
void waiter(int kind) {
  sigset_t set;
  sigfillset(&set);
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
  ++waiters;
  int got = 0;
  switch (kind) {
  case 0: {
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, SIGRTMIN + 10);
    sigwait(&only, &got);
    break;
  }
  case 1: {
    sigset_t mask = set;
    sigdelset(&mask, SIGRTMIN + 11);
    sigsuspend(&mask); // its handler runs
    got = SIGRTMIN + 11;
    break;
  }
  case 2: {
    sigset_t mask = set;
    sigdelset(&mask, SIGRTMIN + 12);
    timespec limit{3600, 0};
    if (ppoll(nullptr, 0, &limit, &mask) == -1 && errno == EINTR) {
      got = SIGRTMIN + 12;
    }
    break;
  }
  case 3: { // a time limit that is over soon after it goes on, wherever that is
    timespec pause{0, 300'000'000};
    while (nanosleep(&pause, &pause) != 0) {
    }
    while (!told_to_go()) {
      poll(nullptr, 0, 20);
    }
    got = 1;
    break;
  }
  }
  while (woken != kind) {
    sched_yield();
  }
  report("waiter %d got %d\n", kind, got);
  ++woken;
}

void signals() {
  static std::array<char, 65536> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  check(sigaltstack(&alternate, nullptr), "sigaltstack");
  install(SIGUSR1, SA_ONSTACK, SIGUSR2);
  install(SIGUSR2, SA_RESTART, SIGUSR1);
  install(SIGTERM, SA_NODEFER, 0);
  install(SIGALRM, 0, 0);
  install(SIGCONT, SA_RESTART, 0);
  for (int i = 1; i <= 12; ++i) {
    install(SIGRTMIN + i, i % 2 != 0 ? SA_ONSTACK | SA_RESTART : SA_RESTART, SIGUSR1);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back(waiter, i);
  }
  while (waiters != 4) {
    sched_yield();
  }
  sigset_t blocked;
  sigfillset(&blocked);
  sigdelset(&blocked, SIGINT);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  // Pending: for the process and for this thread, queued ones in order.
  kill(getpid(), SIGUSR1);
  kill(getpid(), SIGTERM);
  for (int i = 0; i < 5; ++i) {
    sigval value;
    value.sival_int = 100 + i;
    check(sigqueue(getpid(), SIGRTMIN + 3, value), "sigqueue");
    value.sival_int = 200 + i;
    check(pthread_sigqueue(pthread_self(), SIGRTMIN + 4, value), "pthread_sigqueue");
  }
  pthread_kill(pthread_self(), SIGUSR2);
  itimerval timer{};
  timer.it_value.tv_sec = 3000;
  timer.it_interval.tv_usec = 250'000;
  setitimer(ITIMER_REAL, &timer, nullptr);
  rlimit limit{};
  getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = 0;
  setrlimit(RLIMIT_CORE, &limit);
  announce_ready();
  wait_for_go();
  sigval value;
  value.sival_int = 1;
  pthread_sigqueue(threads[0].native_handle(), SIGRTMIN + 10, value);
  threads[0].join();
  pthread_sigqueue(threads[1].native_handle(), SIGRTMIN + 11, value);
  threads[1].join();
  pthread_sigqueue(threads[2].native_handle(), SIGRTMIN + 12, value);
  threads[2].join();
  threads[3].join();
  sigemptyset(&blocked);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
  for (int i = 0; i < signal_count; ++i) {
    // SIGCONT is how a stopped process is made to go on: not part of the undisturbed run.
    if (std::strncmp(signal_log[static_cast<std::size_t>(i)], "signal 18 ", 10) != 0) {
      report("%s", signal_log[static_cast<std::size_t>(i)]);
    }
  }
  getitimer(ITIMER_REAL, &timer);
  report("timer %d %ld\n", timer.it_value.tv_sec > 2000, timer.it_interval.tv_usec);
  struct sigaction action {};
  sigaction(SIGUSR1, nullptr, &action);
  report("flags %x mask %d ignored %d\n", static_cast<unsigned>(action.sa_flags),
         sigismember(&action.sa_mask, SIGUSR2), signal(SIGPIPE, SIG_DFL) == SIG_IGN);
  getrlimit(RLIMIT_CORE, &limit);
  report("core limit %lu\n", limit.rlim_cur);
}

// --- shared -------------------------------------------------------------------------------------

void shared() {
  // The same anonymous memory at two places, the second one only from its fourth page on.
  auto* anonymous =
      static_cast<char*>(map(16 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
  fill(anonymous, 10 * kPage, 21);
  auto* again = static_cast<char*>(mremap(anonymous + 4 * kPage, 0, 8 * kPage, MREMAP_MAYMOVE));
  if (again == MAP_FAILED) {
    die("mremap");
  }
  int memory_file = check(memfd_create("a name", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd");
  check(ftruncate(memory_file, 5 * kPage + 100), "ftruncate");
  auto* of_memfd =
      static_cast<char*>(map(6 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, memory_file));
  fill(of_memfd, 5 * kPage, 22);
  auto* copy = static_cast<char*>(map(6 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, memory_file));
  copy[kPage] = 'c';
  check(fcntl(memory_file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), "seals");
  check(lseek(memory_file, 1234, SEEK_SET), "lseek");
  int segment = check(shmget(IPC_PRIVATE, 7 * kPage, IPC_CREAT | 0600), "shmget");
  auto* system_v = static_cast<char*>(shmat(segment, nullptr, 0));
  if (system_v == reinterpret_cast<char*>(-1)) {
    die("shmat");
  }
  shmctl(segment, IPC_RMID, nullptr); // goes with the last process
  fill(system_v, 3 * kPage, 23);
  munmap(system_v + 5 * kPage, kPage);
  mprotect(system_v + 6 * kPage, kPage, PROT_READ);
  int fd = check(open(file("shared-file").c_str(), O_RDWR), "shared-file");
  auto* of_file = static_cast<char*>(map(4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd));
  of_file[100] = 'f';
  int only_reading = check(open(file("data").c_str(), O_RDONLY), "data");
  auto* never_writable =
      static_cast<char*>(map(2 * kPage, PROT_READ, MAP_SHARED, only_reading, kPage));
  mprotect(of_file + kPage, kPage, PROT_READ);

  announce_ready();
  wait_for_go();
  again[0] = 'A';
  report("anonymous %c %lx\n", anonymous[4 * kPage], digest(anonymous, 16 * kPage));
  of_memfd[3] = 'M';
  char byte = 0;
  check(pread(memory_file, &byte, 1, 3), "pread");
  struct stat status;
  fstat(memory_file, &status);
  report("memfd %c %c size %ld at %ld seals %x %lx\n", byte, copy[3], status.st_size,
         lseek(memory_file, 0, SEEK_CUR), fcntl(memory_file, F_GET_SEALS),
         digest(of_memfd, 5 * kPage));
  report("copy %c %lx\n", copy[kPage], digest(copy + kPage, 4 * kPage));
  report("system v %lx %lx\n", digest(system_v, 5 * kPage), digest(system_v + 6 * kPage, kPage));
  of_file[101] = 'g';
  char bytes[3] = {};
  check(pread(fd, bytes, 2, 100), "pread");
  report("file %s\n", bytes);
  report("may become writable %d %d\n", mprotect(never_writable, kPage, PROT_READ | PROT_WRITE),
         mprotect(of_file + kPage, kPage, PROT_READ | PROT_WRITE));
}

// --- files --------------------------------------------------------------------------------------

// Bytes of the file "data", read by the way.
std::string data_at(off_t offset, std::size_t length) {
  int fd = check(open(file("data").c_str(), O_RDONLY), "data");
  std::string bytes(length, '\0');
  check(pread(fd, bytes.data(), length, offset), "pread");
  close(fd);
  return bytes;
}

void files() {
  int reading = check(open(file("data").c_str(), O_RDONLY), "data");
  check(lseek(reading, 777, SEEK_SET), "lseek");
  int duplicate = check(dup(reading), "dup");
  int other = check(open(file("data").c_str(), O_RDONLY | O_CLOEXEC), "data");
  int high = check(dup2(other, 500), "dup2");
  close(other);
  int appending = check(open(file("log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), "log");
  check(write(appending, "before\n", 7), "write");
  int both = check(open(file("both").c_str(), O_RDWR | O_CREAT | O_NONBLOCK, 0600), "both");
  check(ftruncate(both, 10000), "ftruncate");
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_start = 100;
  lock.l_len = 50;
  check(fcntl(both, F_SETLK, &lock), "lock");
  lock.l_type = F_RDLCK;
  lock.l_start = 1000;
  lock.l_len = 0;
  check(fcntl(both, F_OFD_SETLK, &lock), "ofd lock");
  check(flock(reading, LOCK_SH), "flock");
  int pipe_ends[2];
  check(pipe2(pipe_ends, O_NONBLOCK), "pipe");
  check(fcntl(pipe_ends[0], F_SETPIPE_SZ, 131072), "pipe size");
  std::vector<char> text(70000, 'p');
  text.back() = 'q';
  check(write(pipe_ends[1], text.data(), text.size()), "pipe write");
  int closed_pipe[2]; // nobody writes any more
  check(pipe(closed_pipe), "pipe");
  check(write(closed_pipe[1], "end", 3), "pipe write");
  close(closed_pipe[1]);
  int counter = check(eventfd(5, EFD_SEMAPHORE), "eventfd");
  int epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0x1122334455667788;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_ends[0], &event), "epoll_ctl");
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = 99;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event), "epoll_ctl");
  int folder = check(open(directory.c_str(), O_RDONLY | O_DIRECTORY), "directory");
  int path = check(open(file("data").c_str(), O_PATH), "path");
  int null = check(open("/dev/null", O_RDWR), "null");
  int owned = check(dup(both), "dup");
  check(fcntl(owned, F_SETOWN, getpid()), "owner");

  announce_ready();
  wait_for_go();
  char bytes[8] = {};
  check(read(duplicate, bytes, 5), "read");
  report("shared offset %ld %d own %ld\n", lseek(reading, 0, SEEK_CUR),
         std::memcmp(bytes, data_at(777, 5).data(), 5), lseek(high, 0, SEEK_CUR));
  check(write(appending, "after\n", 6), "write");
  report("append at %ld flags %x\n", lseek(appending, 0, SEEK_CUR), fcntl(appending, F_GETFL));
  report("both flags %x owner %d\n", fcntl(both, F_GETFL), fcntl(owned, F_GETOWN) == getpid());
  pid_t child = fork(); // does not inherit the record lock, so it can see it
  if (child == 0) {
    struct flock test {};
    test.l_type = F_WRLCK;
    test.l_start = 120;
    test.l_len = 1;
    fcntl(both, F_GETLK, &test);
    _exit(test.l_type == F_WRLCK && test.l_pid == getppid() ? 11 : 12);
  }
  int status = 0;
  check(waitpid(child, &status, 0), "waitpid");
  report("record lock %d\n", WEXITSTATUS(status));
  int fresh = check(open(file("both").c_str(), O_RDWR), "both");
  struct flock test {};
  test.l_type = F_WRLCK;
  test.l_start = 5000;
  report("ofd lock %d\n", fcntl(fresh, F_OFD_SETLK, &test) == -1);
  int second = check(open(file("data").c_str(), O_RDONLY), "data");
  report("flock %d\n", flock(second, LOCK_EX | LOCK_NB) == -1);
  std::vector<char> got(100000);
  ssize_t n = read(pipe_ends[0], got.data(), got.size());
  report("pipe %zd %c size %d flags %x\n", n, got[static_cast<std::size_t>(n - 1)],
         fcntl(pipe_ends[1], F_GETPIPE_SZ), fcntl(pipe_ends[1], F_GETFL));
  report("closed pipe %zd", read(closed_pipe[0], bytes, 8));
  report(" then %zd\n", read(closed_pipe[0], bytes, 8));
  check(write(pipe_ends[1], "x", 1), "write");
  std::vector<epoll_event> events(4);
  events.resize(static_cast<std::size_t>(std::max(0, epoll_wait(epoll, events.data(), 4, 0))));
  std::sort(events.begin(), events.end(),
            [](const epoll_event& a, const epoll_event& b) { return a.data.u64 < b.data.u64; });
  for (const epoll_event& seen : events) {
    report("epoll %lx %x\n", static_cast<unsigned long>(seen.data.u64), seen.events);
  }
  std::uint64_t value = 0;
  check(read(counter, &value, 8), "eventfd");
  report("eventfd %lu\n", value);
  struct stat found_status;
  report("folder %d path %d null %zd\n", fstatat(folder, "data", &found_status, 0),
         fstat(path, &found_status), write(null, "x", 1));
  report("close-on-exec %d %d\n", fcntl(high, F_GETFD), fcntl(epoll, F_GETFD));
}

// --- outside: what leads out of the process, and cannot be carried ------------------------------

void outside() {
  int listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
  check(listen(listener, 1), "listen");
  socklen_t length = sizeof address;
  check(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "name");
  int ends[2];
  ends[0] = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
  check(connect(ends[0], reinterpret_cast<sockaddr*>(&address), sizeof address), "connect");
  ends[1] = check(accept(listener, nullptr, nullptr), "accept");
  check(write(ends[1], "ab", 2), "socket write");
  int other = check(static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0)), "pidfd");
  int removed = check(open(file("removed").c_str(), O_RDWR | O_CREAT, 0600), "removed");
  check(write(removed, "gone", 4), "write");
  check(unlink(file("removed").c_str()), "unlink");
  int terminal = check(posix_openpt(O_RDWR | O_NOCTTY), "terminal");

  announce_ready();
  wait_for_go();
  char bytes[4] = {};
  ssize_t n = recv(ends[0], bytes, 1, MSG_DONTWAIT);
  report("socket %zd %s", n, n < 0 ? std::strerror(errno) : bytes);
  n = recv(ends[0], bytes, 1, MSG_DONTWAIT);
  report(" then %zd\n", n);
  report("listens %d\n", listen(listener, 1) == 0);
  report("signals %d\n", syscall(SYS_pidfd_send_signal, other, 0, nullptr, 0) == 0);
  n = pread(removed, bytes, 4, 0);
  report("removed %zd %s\n", n, std::memcmp(bytes, "gone", 4) == 0 ? "gone" : "lost");
  report("terminal %d\n", isatty(terminal));
}

// --- parent: with a child process ---------------------------------------------------------------

void parent() {
  pid_t child = check(fork(), "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    _exit(0);
  }
  announce_ready();
  wait_for_go();
  int status = 0;
  report("runs %d\n", waitpid(child, &status, WNOHANG) == 0);
  kill(child, SIGTERM);
  check(waitpid(child, &status, 0), "waitpid");
  report("ended by %d\n", WTERMSIG(status));
  report("children left %d\n", waitpid(-1, &status, __WALL) != -1);
}

// --- confined: by a filter that makes getppid(2) fail -------------------------------------------

void confined() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(code), code};
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
  check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
  announce_ready();
  wait_for_go();
  report("confined %d\n", syscall(SYS_getppid) == -1 && errno == EPERM);
}

// --- failing: ends with another status than 0 ---------------------------------------------------

void failing() {
  announce_ready();
  wait_for_go();
  _exit(7);
}

// --- crowd: the same, by one of many threads, at once when it runs -------------------------------

void crowd() {
  constexpr int kIdle = 20; // before and behind the one that ends the program
  auto idle = [](void*) -> void* {
    for (;;) {
      ::pause();
    }
  };
  auto end = [](void*) -> void* {
    while (!told_to_go()) {
    }
    _exit(7);
  };
  pthread_t thread;
  for (int i = 0; i < 2 * kIdle + 1; ++i) {
    pthread_create(&thread, nullptr, i == kIdle ? +end : +idle, nullptr);
  }
  announce_ready();
  for (;;) {
    ::pause();
  }
}

// --- sleeps: one second, so that a restored sleep can be told from one that fails
// ------------------

void sleeper() {
  announce_ready();
  int failed = 0;
  while (!told_to_go()) {
    timespec pause{1, 0};
    failed += nanosleep(&pause, nullptr) != 0;
    failed += poll(nullptr, 0, 200) != 0;
    int word = 0;
    timespec limit{0, 200'000'000};
    failed +=
        syscall(SYS_futex, &word, FUTEX_WAIT, 0, &limit, nullptr, 0) != -1 || errno != ETIMEDOUT;
  }
  report("failed %d\n", failed);
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    return 2;
  }
  const std::string kind = argv[1];
  directory = argv[2];
  int fd = check(open(file("control").c_str(), O_RDWR), "control");
  control = static_cast<std::uint8_t*>(map(kPage, PROT_READ, MAP_SHARED, fd));
  close(fd);
  result_fd = check(open(file("result").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), "result");
  report("%s\n", kind.c_str());
  const struct {
    const char* name;
    void (*run)();
  } kinds[] = {{"single", single},     {"threads", threads},       {"avx512", avx512},
               {"avx", avx},           {"fragmented", fragmented}, {"gigabyte", gigabyte},
               {"signals", signals},   {"shared", shared},         {"files", files},
               {"sleeper", sleeper},   {"outside", outside},       {"parent", parent},
               {"confined", confined}, {"failing", failing},       {"crowd", crowd}};
  for (const auto& known : kinds) {
    if (kind == known.name) {
      known.run();
      report("done\n");
      return 0;
    }
  }
  return 2;
}
