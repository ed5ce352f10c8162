// Notices that a debugger sends something while the replay runs.
#pragma once

#include "base/scoped_fd.h"

#include <atomic>
#include <thread>

namespace rrpcp::replay {

// As long as it lives a thread waits for the socket to be readable, or closed by the other side,
// and sets a flag then. Who connects to the listener meanwhile is turned away.
class SocketWatch {
public:
  SocketWatch(int socket, int listener);
  SocketWatch(const SocketWatch&) = delete;
  SocketWatch& operator=(const SocketWatch&) = delete;
  ~SocketWatch();

  const std::atomic<bool>& something_came() const { return came_; }

private:
  ScopedFd end_; // an eventfd
  std::atomic<bool> came_{false};
  std::thread thread_;
};

// Waits until the socket is readable or closed, turning away who connects to the listener. False:
// `end` became readable instead.
bool wait_for_debugger(int socket, int listener, int end = -1);

} // namespace rrpcp::replay
