#include "replay/debugging/socket_watch.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace rrpcp::replay {

bool wait_for_debugger(int socket, int listener, int end) {
  while (true) {
    pollfd waits[] = {{end, POLLIN, 0}, {socket, POLLIN | POLLRDHUP, 0}, {listener, POLLIN, 0}};
    if (::poll(waits, 3, -1) < 0) {
      continue;
    }
    if (waits[0].revents != 0) {
      return false;
    }
    if (waits[1].revents != 0) {
      return true;
    }
    if (waits[2].revents != 0) {
      const int another = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (another >= 0) {
        ::close(another);
      } else if (errno != EINTR && errno != ECONNABORTED) {
        listener = -1;
      }
    }
  }
}

SocketWatch::SocketWatch(int socket, int listener) : end_(::eventfd(0, EFD_CLOEXEC)) {
  if (!end_) {
    throw system_error(errno, "cannot make an eventfd");
  }
  // Signals are for the thread that traces.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, socket, listener] {
    if (wait_for_debugger(socket, listener, end_.get())) {
      came_.store(true);
    }
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

SocketWatch::~SocketWatch() {
  const std::uint64_t one = 1;
  while (::write(end_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  thread_.join();
}

} // namespace rrpcp::replay
