#include "base/background.h"

#include <csignal>
#include <pthread.h>
#include <system_error>

namespace rrpcp {

Background::~Background() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  given_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void Background::give(std::function<void()> work) {
  if (!thread_.joinable()) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before); // the thread inherits it
    try {
      thread_ = std::thread([this] { take(); });
    } catch (const std::system_error&) {
      // Done below.
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!thread_.joinable()) {
      work();
      return;
    }
  }
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
  }
  given_.notify_one();
}

void Background::take() {
  ::sched_setaffinity(0, sizeof processors_, &processors_); // of this thread
  for (;;) {
    std::unique_lock lock(mutex_);
    given_.wait(lock, [this] { return ends_ || !queue_.empty(); });
    if (queue_.empty()) {
      return;
    }
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
  }
}

} // namespace rrpcp
