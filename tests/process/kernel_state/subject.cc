// A program with a state of its own making, to be captured and restored.
//
//   kernel_subject DIRECTORY STATE[,STATE…]   with directory as its working directory
//   kernel_subject --list                     the states, with what is expected of a capture
//
// It puts itself into each STATE in turn, looks at everything that one of them concerns, makes the
// file "ready" and waits for the file "finish". Then it looks again and writes the file "result":
// "ok", or a line "STATE: before -> after" for each that is not as it was. A state that the machine
// does not have is passed over; the file "ready" names those that are there.
//
// Without sanitizers, and without the C library's threads where a state is about them.

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <grp.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/securebits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

// linux/prctl.h, linux/mman.h, linux/landlock.h, asm/unistd.h: newer than some headers.
constexpr int kSetMdwe = 65, kGetMdwe = 66, kSetMerge = 67, kGetMerge = 68;
constexpr int kDroppable = 0x08;
constexpr long kMseal = 462;

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

std::string read_file(const std::string& path) {
  std::string content;
  if (std::FILE* file = std::fopen(path.c_str(), "re")) {
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) {
      content.append(buffer, n);
    }
    std::fclose(file);
  }
  return content;
}

bool write_file(const std::string& path, const std::string& content) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool good = fd >= 0 && ::write(fd, content.data(), content.size()) ==
                                   static_cast<ssize_t>(content.size());
  if (fd >= 0) {
    ::close(fd);
  }
  return good;
}

// The lines of /proc/self/task/TID/status that begin with one of `keys`.
std::string status(std::initializer_list<const char*> keys, long tid = ::syscall(SYS_gettid)) {
  const std::string all = read_file("/proc/self/task/" + std::to_string(tid) + "/status");
  std::string found;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    const std::string line = all.substr(at, end - at);
    for (const char* key : keys) {
      if (line.rfind(std::string(key) + ":", 0) == 0) {
        found += line + " ";
      }
    }
    at = end + 1;
  }
  return found;
}

// VmFlags of the mapping at `address`, without "gu": there may be guard pages, or have been, in it or
// in what it was part of (Linux 6.18: it never goes away).
std::string vm_flags(const void* address) {
  const std::string all = read_file("/proc/self/smaps");
  const auto wanted = reinterpret_cast<unsigned long>(address);
  bool inside = false;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find('\n', at), all.size());
    const std::string line = all.substr(at, end - at);
    unsigned long start = 0;
    unsigned long last = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &last) == 2) {
      inside = start <= wanted && wanted < last;
    } else if (inside && line.rfind("VmFlags:", 0) == 0) {
      const std::size_t guarded = line.find(" gu");
      return guarded == std::string::npos ? line : line.substr(0, guarded) + line.substr(guarded + 3);
    }
    at = end + 1;
  }
  return "no mapping";
}

std::string fd_info(int fd) {
  std::string info = read_file("/proc/self/fdinfo/" + std::to_string(fd));
  std::string kept;
  for (std::size_t at = 0; at < info.size();) { // without what is the system's
    const std::size_t end = std::min(info.find('\n', at), info.size());
    const std::string line = info.substr(at, end - at);
    if (line.rfind("mnt_id:", 0) != 0 && line.rfind("ino:", 0) != 0 &&
        line.rfind("eventfd-id:", 0) != 0 && line.rfind("tfd:", 0) != 0 &&
        line.rfind("lock:", 0) != 0) {
      kept += line + " ";
    }
    at = end + 1;
  }
  return kept;
}

std::string without_line(const std::string& info, const std::string& key) {
  const std::size_t start = info.find(key + ":");
  if (start == std::string::npos) {
    return info;
  }
  const std::size_t end = info.find(key == "it_value" ? ')' : ' ', start + key.size() + 1);
  return info.substr(0, start) + info.substr(std::min(end + 1, info.size()));
}

// Of an open file that no directory names.
std::string unnamed_file(int fd) {
  struct stat status {};
  ::fstat(fd, &status);
  char start[40] = {};
  char far[16] = {};
  const ssize_t n = ::pread(fd, start, sizeof start - 1, 0);
  const ssize_t m = ::pread(fd, far, sizeof far - 1, 1 << 30);
  return text("%zd %.39s %zd %s %lu %lld %o %u %lld.%ld at %lld flags %o", n,
              start + (*start == 0 ? 3 : 0), m, far, static_cast<unsigned long>(status.st_nlink),
              static_cast<long long>(status.st_size), status.st_mode, status.st_uid,
              static_cast<long long>(status.st_mtim.tv_sec), status.st_mtim.tv_nsec,
              static_cast<long long>(::lseek(fd, 0, SEEK_CUR)),
              ::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
}

// An epoll that watches a descriptor as many programs do.
bool watch(int fd) {
  static const int kEpoll = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return fd >= 0 && ::epoll_ctl(kEpoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

// struct sock_filter and struct sock_fprog of linux/filter.h.
struct Instruction {
  std::uint16_t code;
  std::uint8_t jt, jf;
  std::uint32_t k;
};
constexpr std::uint32_t kAllow = 0x7fff0000; // SECCOMP_RET_ALLOW

bool confine(const Instruction* program, unsigned short length) {
  struct {
    unsigned short length;
    const Instruction* filter;
  } filter{length, program};
  return ::prctl(PR_SET_SECCOMP, 2, &filter, 0, 0) == 0;
}

char* map_pages(std::size_t pages, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
  void* memory = ::mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

// A thread that sets its own state, and looks at it when it is told to.
struct OwnThread {
  pthread_t id;
  std::function<bool()> set;
  std::function<std::string()> look;
  volatile int command = 0; // 1: look, 2: end
  volatile int done = 0;
  bool good = false;
  std::string seen;
};

void nap() {
  timespec time{0, 1'000'000};
  ::nanosleep(&time, nullptr);
}

void* run_thread(void* argument) {
  auto* own = static_cast<OwnThread*>(argument);
  own->good = own->set();
  own->done = 1;
  for (;;) {
    while (own->command == 0) {
      nap();
    }
    own->command = 0;
    own->seen = own->look();
    own->done = 1;
  }
}

OwnThread* start_thread(std::function<bool()> set, std::function<std::string()> look) {
  auto* own = new OwnThread;
  own->set = std::move(set);
  own->look = std::move(look);
  ::pthread_create(&own->id, nullptr, run_thread, own);
  while (own->done == 0) {
    nap();
  }
  return own->good ? own : nullptr;
}

std::string ask(OwnThread* own) {
  own->done = 0;
  own->command = 1;
  while (own->done == 0) {
    nap();
  }
  return own->seen;
}

const char* const kCredentialKeys[] = {"Uid",    "Gid",    "Groups", "CapInh",    "CapPrm",
                                       "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"};

std::string credentials(long tid = ::syscall(SYS_gettid)) {
  std::string all;
  for (const char* key : kCredentialKeys) {
    all += status({key}, tid);
  }
  return all + text("securebits %d", ::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
}

std::string scheduling() {
  struct {
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t times[3];
    std::uint32_t clamps[2];
  } attributes{};
  ::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
  return text("policy %u nice %d priority %u flags %lx", attributes.policy, attributes.nice,
              attributes.priority, static_cast<unsigned long>(attributes.flags));
}

// What is expected of a capture: that it takes the state, or refuses it.
enum class Expect { kCarried, kRefused };

struct State {
  const char* name;
  Expect expect;
  // Puts the program into the state; false where the machine does not have it.
  std::function<bool()> set;
  std::function<std::string()> look;
};

char* g_memory[32];
int g_fd[48];
int g_semaphores = -1;
int g_undone = -1;
pid_t g_maker = -1; // has ended

OwnThread* g_thread[8];
int g_segment = -1;
bool g_other_user; // who may lock little memory

// Has the end of the program undo an operation on a semaphore.
bool add_undone(int value, int operation) {
  if (g_undone < 0) {
    g_undone = ::semget(IPC_PRIVATE, 2, 0600 | IPC_CREAT);
    std::atexit([] { ::semctl(g_undone, 0, IPC_RMID); }); // when the program ends by itself
  }
  const unsigned short number = operation < 0 ? 1 : 0;
  sembuf operations[] = {{number, static_cast<short>(value), 0},
                         {number, static_cast<short>(operation), SEM_UNDO}};
  return g_undone >= 0 && ::semop(g_undone, operations, 2) == 0;
}

std::string peer(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
  return text("%d%d %u.%u ", credentials.pid == ::getpid(), credentials.pid == g_maker,
              credentials.uid, credentials.gid);
}

std::vector<State> all_states() {
  std::vector<State> states;
  auto carried = [&](const char* name, std::function<bool()> set,
                     std::function<std::string()> look) {
    states.push_back({name, Expect::kCarried, std::move(set), std::move(look)});
  };
  auto refused = [&](const char* name, std::function<bool()> set) {
    states.push_back({name, Expect::kRefused, std::move(set), [] { return std::string(); }});
  };
  auto own_credentials = [] { return credentials(); };

  // Memory and files first: some of the later states forbid to make them.
  carried(
      "locked-on-fault",
      [] {
        g_memory[0] = map_pages(64);
        ::madvise(g_memory[0], 64 * 4096, MADV_NOHUGEPAGE);
        g_memory[0][0] = 1;
        return ::mlock2(g_memory[0], 64 * 4096, MLOCK_ONFAULT) == 0;
      },
      [] {
        unsigned char there[64];
        ::mincore(g_memory[0], 64 * 4096, there);
        return vm_flags(g_memory[0]) +
               text(" %ld resident",
                    static_cast<long>(std::count_if(there, there + 64,
                                                    [](unsigned char c) { return (c & 1) != 0; })));
      });
  carried(
      "sequential",
      [] {
        g_memory[1] = map_pages(4);
        g_memory[1][0] = 1;
        return ::madvise(g_memory[1], 4 * 4096, MADV_SEQUENTIAL) == 0;
      },
      [] { return vm_flags(g_memory[1]); });
  carried(
      "random-access",
      [] {
        g_memory[2] = map_pages(4);
        return ::madvise(g_memory[2], 4 * 4096, MADV_RANDOM) == 0;
      },
      [] { return vm_flags(g_memory[2]); });
  carried(
      "droppable",
      [] { return (g_memory[3] = map_pages(4, kDroppable | MAP_ANONYMOUS)) != nullptr; },
      [] { return vm_flags(g_memory[3]); });
  carried(
      "sealed",
      [] {
        g_memory[4] = map_pages(4);
        g_memory[4][0] = 7;
        return ::syscall(kMseal, g_memory[4], 4 * 4096, 0) == 0;
      },
      [] {
        const int rc = ::mprotect(g_memory[4], 4096, PROT_READ);
        return vm_flags(g_memory[4]) + text(" mprotect %d, %d", rc, g_memory[4][0]);
      });
  carried(
      "bound-memory",
      [] {
        unsigned long nodes = 1;
        g_memory[5] = map_pages(4);
        return ::syscall(SYS_mbind, g_memory[5], 4 * 4096, 2, &nodes, 64ul, 0) == 0;
      },
      [] {
        int mode = -1;
        ::syscall(SYS_get_mempolicy, &mode, nullptr, 0ul, g_memory[5], 2ul);
        return text("mode %d", mode);
      });
  carried(
      "private-of-shared",
      [] {
        char* shared = map_pages(2, MAP_SHARED | MAP_ANONYMOUS);
        std::memset(shared, 0x11, 8192);
        const int fd = ::open(text("/proc/self/map_files/%lx-%lx", (unsigned long)shared,
                                   (unsigned long)shared + 8192)
                                  .c_str(),
                              O_RDWR);
        if (fd < 0) {
          return false;
        }
        g_memory[6] = shared;
        g_memory[7] =
            static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
        ::close(fd);
        g_memory[7][0] = 0x22;
        return true;
      },
      [] {
        return text("%d %d %d %d", g_memory[6][0], g_memory[6][4096], g_memory[7][0],
                    g_memory[7][4096]);
      });
  carried(
      "private-of-segment",
      [] {
        const int id = ::shmget(IPC_PRIVATE, 8192, 0600 | IPC_CREAT);
        g_memory[8] = static_cast<char*>(::shmat(id, nullptr, 0));
        ::shmctl(id, IPC_RMID, nullptr);
        std::memset(g_memory[8], 0x11, 8192);
        const int fd = ::open(text("/proc/self/map_files/%lx-%lx", (unsigned long)g_memory[8],
                                   (unsigned long)g_memory[8] + 8192)
                                  .c_str(),
                              O_RDWR);
        if (fd < 0) {
          return false;
        }
        g_memory[9] =
            static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
        ::close(fd);
        g_memory[9][0] = 0x22;
        return true;
      },
      [] {
        return text("%d %d %d %d", g_memory[8][0], g_memory[8][4096], g_memory[9][0],
                    g_memory[9][4096]);
      });
  carried(
      "memfd",
      [] {
        g_fd[0] = static_cast<int>(::syscall(SYS_memfd_create, "plain", 0));
        g_fd[1] = static_cast<int>(::syscall(SYS_memfd_create, "sealed", MFD_ALLOW_SEALING));
        g_fd[2] = static_cast<int>(::syscall(SYS_memfd_create, "no-exec", 8 /* NOEXEC_SEAL */));
        const timespec times[2] = {{0, UTIME_OMIT}, {1234567, 89}};
        return ::write(g_fd[0], "hello", 5) == 5 && ::write(g_fd[1], "hello", 5) == 5 &&
               ::fchmod(g_fd[0], 0640) == 0 && ::fchown(g_fd[0], 1000, 1001) == 0 &&
               ::futimens(g_fd[0], times) == 0 &&
               ::fcntl(g_fd[1], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0;
      },
      [] {
        std::string seen;
        for (int i = 0; i < 3; ++i) {
          struct stat state {};
          ::fstat(g_fd[i], &state);
          seen += text("seals %x mode %o owner %u.%u ", ::fcntl(g_fd[i], F_GET_SEALS),
                       state.st_mode, state.st_uid, state.st_gid);
          seen += i == 0 ? text("time %ld ", static_cast<long>(state.st_mtim.tv_sec)) : "";
        }
        return seen;
      });
  carried(
      "executable-memfd",
      [] {
        constexpr std::string_view kScript = "#!/bin/true";
        g_fd[41] = static_cast<int>(::syscall(SYS_memfd_create, "script", 0));
        const bool written = ::write(g_fd[41], kScript.data(), kScript.size()) ==
                             static_cast<ssize_t>(kScript.size());
        g_fd[42] = ::open(text("/proc/self/fd/%d", g_fd[41]).c_str(), O_RDONLY);
        return written && g_fd[42] >= 0 && ::lseek(g_fd[42], 3, SEEK_SET) == 3 &&
               ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, g_fd[41], 0) != MAP_FAILED;
      },
      [] {
        const pid_t child = ::fork();
        if (child == 0) {
          char* const arguments[] = {const_cast<char*>("true"), nullptr};
          ::syscall(SYS_execveat, g_fd[41], "", arguments, arguments + 1, AT_EMPTY_PATH);
          ::_exit(errno);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return text("%d %ld %ld ", WEXITSTATUS(status),
                    static_cast<long>(::lseek(g_fd[41], 0, SEEK_CUR)),
                    static_cast<long>(::lseek(g_fd[42], 0, SEEK_CUR))) +
               fd_info(g_fd[41]) + fd_info(g_fd[42]);
      });
  carried(
      "directory", [] { return (g_fd[3] = ::open(".", O_RDONLY)) >= 0; },
      [] { return fd_info(g_fd[3]); });
  carried(
      "proc-files",
      [] {
        g_fd[4] = ::open("/proc/self/maps", O_RDONLY);
        g_fd[5] = ::open("/proc/self/mem", O_RDONLY);
        g_fd[6] = ::open("/proc/meminfo", O_RDONLY);
        g_fd[7] = ::open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
        char byte;
        return g_fd[7] >= 0 && ::read(g_fd[6], &byte, 1) == 1;
      },
      [] {
        static volatile int x = 4711;
        int y = 0;
        char byte = 0;
        const ssize_t n = ::pread(g_fd[5], &y, sizeof y, reinterpret_cast<off_t>(&x));
        return text("%zd %d, maps %zd, at %ld, directory %ld", n, y, ::pread(g_fd[4], &byte, 1, 0),
                    static_cast<long>(::lseek(g_fd[6], 0, SEEK_CUR)),
                    static_cast<long>(::lseek(g_fd[7], 0, SEEK_CUR)));
      });
  carried(
      "odd-names",
      [] {
        const char* name = "back\\012slash\\ \n line";
        g_fd[8] = ::open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (g_fd[8] < 0 || ::ftruncate(g_fd[8], 8192) != 0) {
          return false;
        }
        g_memory[10] = static_cast<char*>(
            ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, g_fd[8], 0));
        g_memory[10][1] = 5;
        return true;
      },
      [] {
        char byte = 0;
        const ssize_t n = ::pread(g_fd[8], &byte, 1, 1);
        return text("%zd %d %d", n, byte, g_memory[10][1]);
      });
  carried(
      "leased",
      [] {
        write_file("leased", "x");
        g_fd[9] = ::open("leased", O_RDONLY);
        return ::fcntl(g_fd[9], F_SETLEASE, F_RDLCK) == 0;
      },
      [] { return text("lease %d", ::fcntl(g_fd[9], F_GETLEASE)); });
  carried(
      "signal-owner",
      [] {
        g_fd[10] = ::eventfd(3, 0);
        f_owner_ex owner{F_OWNER_TID, static_cast<pid_t>(::syscall(SYS_gettid))};
        return ::fcntl(g_fd[10], F_SETOWN_EX, &owner) == 0 && ::fcntl(g_fd[10], F_SETSIG, 40) == 0;
      },
      [] {
        f_owner_ex owner{};
        std::uint32_t uids[2] = {};
        ::fcntl(g_fd[10], F_GETOWN_EX, &owner);
        ::fcntl(g_fd[10], 17 /* F_GETOWNER_UIDS */, uids);
        return text("type %d id %d signal %d uids %u %u ", owner.type, owner.pid,
                    ::fcntl(g_fd[10], F_GETSIG), uids[0], uids[1]) +
               fd_info(g_fd[10]);
      });
  carried(
      "pipe-and-epoll",
      [] {
        int ends[2];
        if (::pipe(ends) != 0 || ::write(ends[1], "unread", 6) != 6) {
          return false;
        }
        g_fd[11] = ends[0];
        g_fd[12] = ends[1];
        g_fd[13] = ::epoll_create1(0);
        epoll_event event{EPOLLIN, {.u64 = 99}};
        return ::epoll_ctl(g_fd[13], EPOLL_CTL_ADD, g_fd[11], &event) == 0;
      },
      [] {
        epoll_event event{};
        const int n = ::epoll_wait(g_fd[13], &event, 1, 0);
        return text("%d %llu ", n, static_cast<unsigned long long>(event.data.u64)) +
               fd_info(g_fd[11]);
      });
  carried(
      "locks",
      [] {
        write_file("locked", "0123456789");
        g_fd[14] = ::open("locked", O_RDWR);
        struct flock lock {};
        lock.l_type = F_WRLCK;
        lock.l_len = 3;
        return ::fcntl(g_fd[14], F_SETLK, &lock) == 0 && ::flock(g_fd[14], LOCK_SH) == 0;
      },
      [] {
        const std::string all = read_file("/proc/self/fdinfo/" + std::to_string(g_fd[14]));
        return text("%ld locks", static_cast<long>(std::count(all.begin(), all.end(), 'k')));
      });

  carried(
      "guard-pages",
      [] {
        constexpr int kGuardInstall = 102;
        g_memory[11] = map_pages(8);
        g_memory[11][0] = g_memory[11][7 * 4096] = 1;
        g_memory[12] = map_pages(8, MAP_SHARED | MAP_ANONYMOUS);
        g_memory[13] = map_pages(8); // nothing but guards is touched
        return ::madvise(g_memory[11] + 4 * 4096, 2 * 4096, kGuardInstall) == 0 &&
               ::madvise(g_memory[12] + 4096, 4096, kGuardInstall) == 0 &&
               ::madvise(g_memory[13] + 4096, 4096, kGuardInstall) == 0;
      },
      [] {
        std::string seen;
        int ends[2];
        if (::pipe(ends) != 0) {
          return seen;
        }
        for (int i = 0; i < 8; ++i) { // write(2) fails with EFAULT where an access would fault
          seen += ::write(ends[1], g_memory[11] + i * 4096, 1) == 1 ? '.' : 'g';
          seen += ::write(ends[1], g_memory[12] + i * 4096, 1) == 1 ? '.' : 'g';
          seen += ::write(ends[1], g_memory[13] + i * 4096, 1) == 1 ? '.' : 'g';
        }
        ::close(ends[0]);
        ::close(ends[1]);
        return seen;
      });

  carried(
      "segment",
      [] {
        g_segment = ::shmget(0x50000000 | ::getpid(), 8192, IPC_CREAT | IPC_EXCL | 0640);
        shmid_ds status{};
        if (g_segment < 0 || ::shmctl(g_segment, IPC_STAT, &status) != 0) {
          return false;
        }
        status.shm_perm.uid = 1000;
        status.shm_perm.gid = 1001;
        g_memory[14] = static_cast<char*>(::shmat(g_segment, nullptr, 0));
        std::memset(g_memory[14], 0x33, 8192);
        return ::shmctl(g_segment, IPC_SET, &status) == 0;
      },
      [] {
        shmid_ds status{};
        ::shmctl(g_segment, IPC_STAT, &status);
        return text("%d %d mode %o owner %u.%u attached %lu", g_memory[14][0], g_memory[14][8191],
                    status.shm_perm.mode, status.shm_perm.uid, status.shm_perm.gid,
                    static_cast<unsigned long>(status.shm_nattch));
      });
  carried(
      "large-reserve",
      [] {
        g_memory[15] = static_cast<char*>(::mmap(
            nullptr, 64ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        return g_memory[15] != MAP_FAILED;
      },
      [] { return vm_flags(g_memory[15]); });

  // Attributes.
  carried(
      "core-dump-filter", [] { return write_file("/proc/self/coredump_filter", "0x7f"); },
      [] { return read_file("/proc/self/coredump_filter"); });
  carried(
      "out-of-memory", [] { return write_file("/proc/self/oom_score_adj", "321"); },
      [] { return read_file("/proc/self/oom_score_adj"); });
  carried(
      "no-huge-pages", [] { return ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0; },
      [] { return text("%d", ::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)); });
  carried(
      "merging", [] { return ::prctl(kSetMerge, 1, 0, 0, 0) == 0; },
      [] { return text("%d", ::prctl(kGetMerge, 0, 0, 0, 0)); });
  carried(
      "timer-slack", [] { return ::prctl(PR_SET_TIMERSLACK, 12345, 0, 0, 0) == 0; },
      [] { return text("%d", ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)); });
  carried(
      "machine-checks", [] { return ::prctl(PR_MCE_KILL, 1, 1, 0, 0) == 0; },
      [] { return text("%d", ::prctl(PR_MCE_KILL_GET, 0, 0, 0, 0)); });
  carried(
      "memory-policy",
      [] {
        unsigned long nodes = 1;
        return ::syscall(SYS_set_mempolicy, 2, &nodes, 64ul) == 0;
      },
      [] {
        int mode = -1;
        unsigned long nodes[16] = {};
        ::syscall(SYS_get_mempolicy, &mode, nodes, 1024ul, 0ul, 0ul);
        return text("mode %d nodes %lx", mode, nodes[0]);
      });
  carried(
      "scheduling",
      [] {
        sched_param parameters{};
        return ::setpriority(PRIO_PROCESS, 0, 7) == 0 &&
               ::sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &parameters) == 0;
      },
      scheduling);
  carried(
      "io-priority", [] { return ::syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0; },
      [] { return text("%lx", ::syscall(SYS_ioprio_get, 1, 0)); });
  carried(
      "one-processor",
      [] {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(0, &set);
        return ::sched_setaffinity(0, sizeof set, &set) == 0;
      },
      [] { return status({"Cpus_allowed_list"}); });
  carried(
      "membarrier",
      [] {
        return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
               ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0,
                         0) == 0;
      },
      [] {
        return text("%ld %ld",
                    ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0),
                    ::syscall(SYS_membarrier, 1 << 9, 0, 0));
      });
  carried(
      "subreaper", [] { return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0; },
      [] {
        int value = -1;
        ::prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0);
        return text("%d", value);
      });
  carried(
      "signals",
      [] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGUSR1);
        ::sigaddset(&set, SIGRTMIN + 3);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        return ::sigqueue(::getpid(), SIGRTMIN + 3, {.sival_int = 42}) == 0 &&
               ::raise(SIGUSR1) == 0;
      },
      [] {
        return status({"SigPnd", "ShdPnd", "SigBlk"});
      });
  carried(
      "timers",
      [] {
        ::signal(SIGALRM, SIG_IGN);
        const itimerval value{{0, 0}, {5000, 0}};
        return ::setitimer(ITIMER_REAL, &value, nullptr) == 0;
      },
      [] {
        itimerval value{};
        ::getitimer(ITIMER_REAL, &value);
        return text("%d", value.it_value.tv_sec > 4000 && value.it_value.tv_sec <= 5000);
      });
  carried(
      "future-locked", [] { return !g_other_user && ::mlockall(MCL_CURRENT | MCL_FUTURE) == 0; },
      [] {
        char* fresh = map_pages(4);
        const std::string flags = vm_flags(fresh);
        ::munmap(fresh, 4 * 4096);
        return std::string(flags.find(" lo") != std::string::npos ? "locked" : "not locked");
      });
  carried(
      "future-locks-only", [] { return !g_other_user && ::mlockall(MCL_FUTURE) == 0; },
      [] {
        static bool looked = false;
        if (!std::exchange(looked, true)) {
          return std::string("locked"); // nothing is mapped, so that nothing is locked yet
        }
        char* fresh = map_pages(4);
        const std::string flags = vm_flags(fresh);
        ::munmap(fresh, 4 * 4096);
        return std::string(flags.find(" lo") != std::string::npos ? "locked" : "not locked");
      });
  carried(
      "no-new-code", [] { return ::prctl(kSetMdwe, 1, 0, 0, 0) == 0; },
      [] { return text("%d", ::prctl(kGetMdwe, 0, 0, 0, 0)); });

  // Descriptors of what has no path.
  carried(
      "timer-descriptor",
      [] {
        g_fd[24] = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        const itimerspec value{{7, 5}, {now.tv_sec + 5000, 0}};
        return ::timerfd_settime(g_fd[24], TFD_TIMER_ABSTIME, &value, nullptr) == 0 &&
               watch(g_fd[24]);
      },
      [] {
        itimerspec left{};
        ::timerfd_gettime(g_fd[24], &left);
        const bool good = left.it_value.tv_sec > 4000 && left.it_value.tv_sec <= 5000;
        return text("%d ", good) + without_line(fd_info(g_fd[24]), "it_value");
      });
  carried(
      "timer-expired",
      [] {
        g_fd[25] = ::timerfd_create(CLOCK_REALTIME, 0);
        const itimerspec value{{0, 0}, {0, 1}};
        if (::timerfd_settime(g_fd[25], 0, &value, nullptr) != 0) {
          return false;
        }
        pollfd expired{g_fd[25], POLLIN, 0};
        return ::poll(&expired, 1, 10'000) == 1 && watch(g_fd[25]);
      },
      [] { return without_line(fd_info(g_fd[25]), "settime flags"); });
  carried(
      "signal-descriptor",
      [] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGUSR2);
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        g_fd[26] = ::signalfd(-1, &set, SFD_NONBLOCK);
        return g_fd[26] >= 0 && watch(g_fd[26]);
      },
      [] {
        signalfd_siginfo got{};
        ::raise(SIGUSR2);
        const ssize_t n = ::read(g_fd[26], &got, sizeof got);
        return text("%zd %u ", n, got.ssi_signo) + fd_info(g_fd[26]);
      });
  carried(
      "watched-directory",
      [] {
        g_fd[27] = ::inotify_init1(IN_NONBLOCK);
        ::mkdir("watched", 0777);
        ::mkdir("unwatched", 0777);
        const int other = ::inotify_add_watch(g_fd[27], "unwatched", IN_CREATE);
        const int watched = ::inotify_add_watch(g_fd[27], "watched", IN_CREATE | IN_DELETE);
        ::inotify_rm_watch(g_fd[27], other); // so that numbers begin with 2
        char buffer[4096];
        return watched >= 0 && ::read(g_fd[27], buffer, sizeof buffer) > 0 && watch(g_fd[27]);
      },
      [] {
        alignas(inotify_event) char buffer[4096] = {};
        write_file("watched/news", "");
        const ssize_t n = ::read(g_fd[27], buffer, sizeof buffer);
        ::unlink("watched/news");
        const ssize_t m = ::read(g_fd[27], buffer, sizeof buffer);
        const auto* event = reinterpret_cast<const inotify_event*>(buffer);
        return text("%zd %zd %d %s ", n, m, event->wd, event->name) + fd_info(g_fd[27]);
      });
  carried(
      "own-process",
      [] {
        g_fd[28] = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
        return g_fd[28] >= 0 && watch(g_fd[28]);
      },
      [] {
        return text("%ld ", ::syscall(SYS_pidfd_send_signal, g_fd[28], 0, nullptr, 0)) +
               fd_info(g_fd[28]);
      });
  carried(
      "ended-process",
      [] {
        const pid_t child = ::fork();
        if (child == 0) {
          ::_exit(0);
        }
        g_fd[29] = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
        return g_fd[29] >= 0 && ::waitpid(child, nullptr, 0) == child;
      },
      [] { return fd_info(g_fd[29]); });
  carried(
      "removed-file",
      [] {
        write_file("removed", "content of a file without a name");
        g_fd[22] = ::open("removed", O_RDWR | O_APPEND);
        ::fchmod(g_fd[22], 0751);
        const timespec times[2] = {{0, UTIME_OMIT}, {1'000'000'000, 5}};
        return g_fd[22] >= 0 && ::futimens(g_fd[22], times) == 0 && ::unlink("removed") == 0;
      },
      [] {
        char name[512] = {};
        const std::string link = text("/proc/self/fd/%d", g_fd[22]);
        return text("%zd %s ", ::readlink(link.c_str(), name, sizeof name - 1), name) +
               unnamed_file(g_fd[22]);
      });
  carried(
      "nameless-file",
      [] {
        g_fd[30] = ::open(".", O_TMPFILE | O_RDWR, 0600);
        return g_fd[30] >= 0 && ::pwrite(g_fd[30], "far away", 8, 1 << 30) == 8 &&
               ::pwrite(g_fd[30], "near", 4, 3) == 4 && ::lseek(g_fd[30], 77, SEEK_SET) == 77;
      },
      [] { return unnamed_file(g_fd[30]); });
  carried(
      "stream-pair",
      [] {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) {
          return false;
        }
        g_fd[31] = ends[0];
        g_fd[32] = ends[1];
        const timeval patience{5, 0};
        const std::string bytes(70'000, 'q');
        return ::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
               ::send(ends[1], bytes.data(), bytes.size(), 0) == 70'000 &&
               ::send(ends[0], "back", 4, 0) == 4 && ::shutdown(ends[1], SHUT_WR) == 0 &&
               watch(ends[1]);
      },
      [] {
        std::string bytes(100'000, 0);
        const ssize_t n = ::recv(g_fd[31], bytes.data(), bytes.size(), MSG_PEEK);
        const bool same = bytes.find_first_not_of('q') == static_cast<std::size_t>(n);
        const ssize_t m = ::recv(g_fd[32], bytes.data(), bytes.size(), MSG_PEEK);
        timeval patience{};
        socklen_t length = sizeof patience;
        ::getsockopt(g_fd[31], SOL_SOCKET, SO_RCVTIMEO, &patience, &length);
        int room = 0;
        length = sizeof room;
        ::getsockopt(g_fd[32], SOL_SOCKET, SO_SNDBUF, &room, &length);
        return text("%zd %d %zd %.4s %ld %d %zd ", n, same, m, bytes.c_str(), patience.tv_sec, room,
                    ::send(g_fd[32], "", 1, MSG_NOSIGNAL)) +
               fd_info(g_fd[31]);
      });
  carried(
      "packet-pair",
      [] {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0) {
          return false;
        }
        g_fd[33] = ends[0];
        g_fd[34] = ends[1];
        return ::send(ends[0], "first", 5, 0) == 5 && ::send(ends[0], "second", 6, 0) == 6;
      },
      [] { // takes the messages, and sends them again
        char first[16] = {};
        char second[16] = {};
        const ssize_t n = ::recv(g_fd[34], first, sizeof first, MSG_DONTWAIT);
        const ssize_t m = ::recv(g_fd[34], second, sizeof second, MSG_DONTWAIT);
        const ssize_t rest = ::recv(g_fd[34], second + 8, 8, MSG_DONTWAIT);
        ::send(g_fd[33], first, 5, 0);
        ::send(g_fd[33], second, 6, 0);
        return text("%zd %zd %zd %s %.6s", n, m, rest, first, second);
      });
  carried(
      "bereft-socket",
      [] {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
          return false;
        }
        g_fd[35] = ends[0];
        return ::send(ends[1], "last words", 10, 0) == 10 && ::close(ends[1]) == 0;
      },
      [] {
        char bytes[16] = {};
        const ssize_t n = ::recv(g_fd[35], bytes, sizeof bytes, MSG_PEEK);
        return text("%zd %s %zd", n, bytes, ::send(g_fd[35], "", 1, MSG_NOSIGNAL));
      });

  carried(
      "own-namespace-file",
      [] { return (g_fd[45] = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) >= 0; },
      [] {
        char target[64] = {};
        const ssize_t length =
            ::readlink(text("/proc/self/fd/%d", g_fd[45]).c_str(), target, sizeof target - 1);
        return text("%zd %s %d", length, target, ::setns(g_fd[45], CLONE_NEWNET) == 0 ? 0 : errno);
      });
  carried(
      "pair-of-another-user",
      [] {
        int ends[2];
        if (::syscall(SYS_setresgid, -1, 1001, -1) != 0 ||
            ::syscall(SYS_setresuid, -1, 1000, -1) != 0) {
          return false;
        }
        const int made = ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        ::syscall(SYS_setresuid, -1, 0, -1);
        ::syscall(SYS_setresgid, -1, 0, -1);
        g_fd[43] = ends[0];
        g_fd[44] = ends[1];
        return made == 0 && ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
      },
      [] { return peer(g_fd[43]) + peer(g_fd[44]); });
  carried(
      "pair-of-ended-process",
      [] {
        constexpr int kEnds = 60; // whatever numbers they get there
        g_maker = static_cast<pid_t>(
            ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
        if (g_maker == 0) {
          int ends[2];
          const bool made = ::syscall(SYS_setresuid, -1, 1000, -1) == 0 &&
                            ::socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0 &&
                            ::dup2(ends[0], kEnds) == kEnds &&
                            ::dup2(ends[1], kEnds + 1) == kEnds + 1;
          ::close(ends[0]);
          ::close(ends[1]);
          ::syscall(SYS_exit, made ? 0 : 1);
        }
        int status = 1;
        ::waitpid(g_maker, &status, 0);
        g_fd[46] = kEnds;
        g_fd[47] = kEnds + 1;
        return status == 0 && ::send(g_fd[46], "said", 4, 0) == 4;
      },
      [] {
        char bytes[8] = {};
        const ssize_t n = ::recv(g_fd[47], bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
        return text("%zd %.4s ", n, bytes) + peer(g_fd[46]) + peer(g_fd[47]);
      });
  carried(
      "undone-semaphores",
      [] {
        g_semaphores = ::semget(IPC_PRIVATE, 3, 0600 | IPC_CREAT);
        sembuf up{1, 2, SEM_UNDO};
        sembuf down{1, -2, SEM_UNDO};
        sembuf most{2, 32767, 0};
        return g_semaphores >= 0 && ::semop(g_semaphores, &up, 1) == 0 &&
               ::semop(g_semaphores, &down, 1) == 0 && ::semop(g_semaphores, &most, 1) == 0;
      },
      [] {
        return text("%d %d", ::semctl(g_semaphores, 1, GETVAL), ::semctl(g_semaphores, 2, GETVAL));
      });

  // Threads.
  carried(
      "thread-user",
      [] {
        g_thread[0] = start_thread([] { return ::syscall(SYS_setresuid, 1234, 1234, 1234) == 0; },
                                   [] { return credentials(); });
        return g_thread[0] != nullptr;
      },
      [] { return ask(g_thread[0]); });
  carried(
      "thread-attributes",
      [] {
        g_thread[1] = start_thread(
            [] {
              return ::prctl(PR_SET_TIMERSLACK, 777, 0, 0, 0) == 0 &&
                     ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 3) ==
                         0 &&
                     ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
            },
            [] {
              return scheduling() + text(" slack %d ", ::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)) +
                     status({"NoNewPrivs"});
            });
        return g_thread[1] != nullptr;
      },
      [] { return ask(g_thread[1]); });

  // Rights, from the smallest loss on.
  carried(
      "no-new-privileges", [] { return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0; },
      own_credentials);
  carried(
      "ambient",
      [] {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[2];
        ::syscall(SYS_capget, &header, data);
        data[0].inheritable |= 1u << CAP_CHOWN;
        ::syscall(SYS_capset, &header, data);
        return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0;
      },
      own_credentials);
  carried(
      "bounding", [] { return ::prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0) == 0; },
      own_credentials);
  carried(
      "securebits",
      [] { return ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) == 0; },
      own_credentials);
  carried(
      "groups",
      [] {
        const gid_t groups[] = {5, 50, 500};
        // Those of the C library would have every thread do it, and abort where one may not.
        return ::syscall(SYS_setgroups, 3, groups) == 0 &&
               ::syscall(SYS_setresgid, 11, 12, 13) == 0;
      },
      own_credentials);
  carried(
      "file-system-user",
      [] {
        ::setfsgid(4321);
        ::setfsuid(4321);
        return ::setfsuid(static_cast<uid_t>(-1)) == 4321;
      },
      own_credentials);
  carried(
      "keep-capabilities", [] { return ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0; },
      own_credentials);

  // As the last thing that the program may still do.
  carried(
      "filter",
      [] {
        // getppid(2) fails, everything else is allowed.
        const Instruction program[] = {
            {0x20, 0, 0, 0}, {0x15, 0, 1, SYS_getppid}, {6, 0, 0, 0x00050001}, {6, 0, 0, kAllow}};
        return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && confine(program, 4) &&
               confine(program + 3, 1);
      },
      [] {
        errno = 0;
        const long parent = ::syscall(SYS_getppid);
        return text("%ld %d ", parent, errno) + status({"Seccomp", "Seccomp_filters"});
      });

  // What is refused.
  refused("filter-that-asks", [] {
    const Instruction program[] = {{6, 0, 0, kAllow}, {6, 0, 0, 0x7ff00000}}; // SECCOMP_RET_TRACE
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && confine(program, 2);
  });
  refused("landlock", [] {
    std::uint64_t handled = 2; // LANDLOCK_ACCESS_FS_WRITE_FILE
    const int rules = static_cast<int>(::syscall(444, &handled, sizeof handled, 0));
    const int here = ::open(".", O_PATH);
    struct [[gnu::packed]] {
      std::uint64_t allowed = 2;
      std::int32_t parent;
    } beneath;
    beneath.parent = here;
    const bool good = rules >= 0 && ::syscall(445, rules, 1, &beneath, 0) == 0 &&
                      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                      ::syscall(446, rules, 0) == 0;
    ::close(rules);
    ::close(here);
    return good;
  });
  refused("own-host-name", [] { return ::unshare(CLONE_NEWUTS) == 0; });
  refused("own-network", [] { return ::unshare(CLONE_NEWNET) == 0; });
  refused("own-mounts", [] { return ::unshare(CLONE_NEWNS) == 0; });
  refused("own-ipc", [] { return ::unshare(CLONE_NEWIPC) == 0; });
  refused("own-children", [] { return ::unshare(CLONE_NEWPID) == 0; });
  refused("thread-directory", [] {
    g_thread[2] =
        start_thread([] { return ::unshare(CLONE_FS) == 0; }, [] { return std::string(); });
    return g_thread[2] != nullptr;
  });
  refused("thread-descriptors", [] {
    g_thread[3] =
        start_thread([] { return ::unshare(CLONE_FILES) == 0; }, [] { return std::string(); });
    return g_thread[3] != nullptr;
  });
  refused("semaphore-undo", [] { return add_undone(1, 1); });
  refused("semaphore-undo-of-thread", [] {
    g_thread[5] = start_thread([] { return add_undone(30000, -7); }, [] { return std::string(); });
    return g_thread[5] != nullptr;
  });
  refused("broken-lease", [] {
    ::signal(SIGIO, SIG_IGN);
    write_file("breaking", "x");
    g_fd[20] = ::open("breaking", O_RDONLY);
    return ::fcntl(g_fd[20], F_SETLEASE, F_RDLCK) == 0 &&
           ::open("breaking", O_WRONLY | O_NONBLOCK) < 0;
  });
  refused("removed-fifo", [] {
    ::mkfifo("fifo", 0600);
    g_fd[21] = ::open("fifo", O_RDWR);
    return ::unlink("fifo") == 0 && g_fd[21] >= 0;
  });
  refused("another-process", [] {
    g_fd[36] = static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0));
    return g_fd[36] >= 0;
  });
  refused("listening-socket", [] {
    g_fd[37] = ::socket(AF_INET, SOCK_STREAM, 0);
    return g_fd[37] >= 0 && ::listen(g_fd[37], 1) == 0;
  });
  refused("unread-events", [] {
    g_fd[38] = ::inotify_init1(IN_NONBLOCK);
    return ::inotify_add_watch(g_fd[38], ".", IN_CREATE) >= 0 && write_file("event", "");
  });
  refused("queued-descriptor", [] {
    int ends[2];
    ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
    g_fd[39] = ends[0];
    g_fd[40] = ends[1];
    char byte = 0;
    iovec piece{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &g_fd[39], sizeof(int));
    return ::sendmsg(ends[1], &message, 0) == 1;
  });
  refused("other-proc", [] {
    g_fd[23] = ::open(text("/proc/%d/status", ::getppid()).c_str(), O_RDONLY);
    return g_fd[23] >= 0;
  });
  return states;
}

} // namespace

int main(int argc, char** argv) {
  std::vector<State> states = all_states();
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const State& state : states) {
      std::printf("%s %s\n", state.expect == Expect::kCarried ? "carried" : "refused", state.name);
    }
    return 0;
  }
  if (argc != 3 || ::chdir(argv[1]) != 0) {
    std::fprintf(stderr, "usage: %s DIRECTORY STATE,…\n", argv[0]);
    return 2;
  }
  const std::string wanted = "," + std::string(argv[2]) + ",";
  g_other_user = wanted.find(",thread-user,") != std::string::npos;
  std::vector<const State*> there;
  std::string names;
  for (const State& state : states) {
    if (wanted.find("," + std::string(state.name) + ",") != std::string::npos && state.set()) {
      there.push_back(&state);
      names += std::string(state.name) + "\n";
    }
  }
  std::vector<std::string> before;
  for (const State* state : there) {
    before.push_back(state->look());
  }
  // Made while the program may still write here, whatever its user has become.
  const int ready = ::open("ready.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (ready < 0 || ::write(ready, names.data(), names.size()) < 0 || ::close(ready) != 0 ||
      ::rename("ready.new", "ready") != 0) {
    return 3;
  }
  while (::access("finish", F_OK) != 0) {
    nap();
  }
  std::string result;
  for (std::size_t i = 0; i < there.size(); ++i) {
    const std::string after = there[i]->look();
    if (after != before[i]) {
      result += std::string(there[i]->name) + ": " + before[i] + " -> " + after + "\n";
    }
  }
  ::shmctl(g_segment, IPC_RMID, nullptr);
  ::semctl(g_semaphores, 0, IPC_RMID);
  const bool good = result.empty();
  // Whoever waits for it finds it whole.
  if (!write_file("result.new", good ? "ok\n" : result) || ::rename("result.new", "result") != 0) {
    return 4;
  }
  return good ? 0 : 1;
}
