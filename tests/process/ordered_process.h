// A forked child of a test that does what it is told, one thing at a time.
#pragma once

#include "process/child_process.h"
#include "process/proc_file.h"

#include <array>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <stdexcept>
#include <unistd.h>

namespace rrpcp::test {

class OrderedProcess {
public:
  // Carries out an order, in the child; what it returns is the answer.
  using Worker = std::function<char(unsigned order)>;

  // `begin` is called in the child first of all.
  explicit OrderedProcess(const std::function<Worker()>& begin) {
    if (::pipe2(orders_.data(), O_CLOEXEC) != 0 || ::pipe2(answers_.data(), O_CLOEXEC) != 0) {
      throw std::runtime_error("cannot make pipes");
    }
    child_ = std::make_unique<ChildProcess>([&] {
      ::close(orders_[1]);
      ::close(answers_[0]);
      const Worker worker = begin();
      ChildProcess::announce_ready();
      unsigned order = 0;
      while (::read(orders_[0], &order, sizeof order) == sizeof order) {
        const char answer = worker(order);
        if (::write(answers_[1], &answer, 1) != 1) {
          break;
        }
      }
      return 0;
    });
    ::close(orders_[0]);
    ::close(answers_[1]);
  }
  ~OrderedProcess() {
    child_.reset();
    ::close(orders_[1]);
    ::close(answers_[0]);
  }
  OrderedProcess(const OrderedProcess&) = delete;
  OrderedProcess& operator=(const OrderedProcess&) = delete;

  pid_t pid() const { return child_->pid(); }

  // Waits for the answer.
  char order(unsigned what) {
    char answer = 0;
    if (::write(orders_[1], &what, sizeof what) != static_cast<ssize_t>(sizeof what) ||
        ::read(answers_[0], &answer, 1) != 1) {
      throw std::runtime_error("the child came to harm");
    }
    return answer;
  }

  // Until it waits for the next order: only then its memory stays as it is.
  void await_idle() const {
    while (!process::read_proc_file(process::proc_path(pid(), "syscall"))
                .starts_with("0 ")) { // SYS_read
      ::usleep(100);
    }
  }

private:
  std::array<int, 2> orders_{}, answers_{};
  std::unique_ptr<ChildProcess> child_;
};

} // namespace rrpcp::test
