#include "process/restore/segment_keeper.h"

#include "rrpcp/error.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

struct Request {
  enum Kind : std::uint32_t { kMake, kKeep } kind = kMake;
  std::int32_t key = 0;
  std::uint64_t size = 0;
  std::int32_t mode = 0;
  std::int32_t wanted_id = 0;
};

constexpr std::size_t kMostSegments = 4096; // SHMMNI, the kernel's own limit

bool transfer(bool in, int fd, void* data, std::size_t size) {
  auto* bytes = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = in ? ::read(fd, bytes, size) : ::write(fd, bytes, size);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// What the child does. It is a copy of a process that may have had several threads: system calls
// only, no memory from the heap.
[[noreturn]] void keep_segments(int requests, int answers) {
  std::array<int, kMostSegments> ids;
  std::size_t count = 0;
  bool stay = false;
  Request request;
  while (transfer(true, requests, &request, sizeof request)) {
    std::int32_t answer = 0;
    if (request.kind == Request::kKeep) {
      stay = true;
    } else if (count == ids.size()) {
      answer = -ENOSPC;
    } else {
      char text[16];
      const int length = std::snprintf(text, sizeof text, "%d", request.wanted_id);
      const int next = ::open("/proc/sys/kernel/shm_next_id", O_WRONLY | O_CLOEXEC);
      if (next >= 0) {
        [[maybe_unused]] ssize_t n = ::write(next, text, static_cast<std::size_t>(length));
        ::close(next);
      }
      answer = ::shmget(request.key, request.size, IPC_CREAT | IPC_EXCL | request.mode);
      if (answer < 0) {
        answer = -errno;
      } else {
        ids[count++] = answer;
      }
    }
    if (!transfer(false, answers, &answer, sizeof answer)) {
      break;
    }
  }
  // The new process, which has them attached, may just be being killed by the kernel: if it is not,
  // it lives on, and with it its segments.
  for (int patience = 200; count > 0 && !stay; --patience) {
    std::size_t used = 0;
    for (std::size_t i = 0; i < count; ++i) {
      shmid_ds status;
      if (::shmctl(ids[i], IPC_STAT, &status) == 0 && status.shm_nattch != 0) {
        ids[used++] = ids[i];
      } else {
        ::shmctl(ids[i], IPC_RMID, nullptr);
      }
    }
    count = used;
    stay = patience == 0;
    const timespec nap{0, 10'000'000};
    ::nanosleep(&nap, nullptr);
  }
  ::_exit(0);
}

} // namespace

SegmentKeeper::~SegmentKeeper() {
  end();
}

void SegmentKeeper::start() {
  int to[2];
  int from[2];
  if (::pipe2(to, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  ScopedFd reader(to[0]);
  requests_.reset(to[1]);
  if (::pipe2(from, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  answers_.reset(from[0]);
  ScopedFd writer(from[1]);
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  // No signal at its end: the caller may wait for children of his own.
  keeper_ = static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr));
  if (keeper_ == 0) {
    // A write to us when we are gone is an error there, not a signal.
    const int in = ::fcntl(reader.get(), F_DUPFD_CLOEXEC, 3);
    const int out = ::fcntl(writer.get(), F_DUPFD_CLOEXEC, 3);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::syscall(SYS_close_range, 2u, ~0u, 0u);
    keep_segments(0, 1);
  }
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (keeper_ < 0) {
    keeper_ = 0;
    throw system_error(error, "cannot make a process that looks after System V segments");
  }
}

int SegmentKeeper::make(key_t key, std::size_t size, int mode, int wanted_id) {
  if (keeper_ == 0) {
    start();
  }
  Request request{Request::kMake, key, size, mode, wanted_id};
  std::int32_t answer = 0;
  if (!transfer(false, requests_.get(), &request, sizeof request) ||
      !transfer(true, answers_.get(), &answer, sizeof answer)) {
    throw Error(ErrorCode::kSystem, "the process that looks after System V segments was killed");
  }
  return answer;
}

void SegmentKeeper::keep() {
  if (keeper_ == 0) {
    return;
  }
  Request request;
  request.kind = Request::kKeep;
  std::int32_t answer = 0;
  if (!transfer(false, requests_.get(), &request, sizeof request) ||
      !transfer(true, answers_.get(), &answer, sizeof answer)) {
    throw Error(ErrorCode::kSystem, "the process that looks after System V segments was killed");
  }
  end();
}

void SegmentKeeper::end() {
  requests_.reset(); // it notices
  if (keeper_ > 0) {
    while (::waitpid(keeper_, nullptr, __WALL) < 0 && errno == EINTR) {
    }
    keeper_ = 0;
  }
  answers_.reset();
}

} // namespace rrpcp::process::restore
