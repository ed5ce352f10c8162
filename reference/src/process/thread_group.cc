#include "process/thread_group.h"

#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "process/settled_stop.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <sys/ptrace.h>
#include <utility>

namespace rrpcp::process {

namespace {

constexpr std::chrono::seconds kPatience(10);
// How often the caller is asked meanwhile.
constexpr std::chrono::milliseconds kSlice(50);

// Whether a thread that could not be attached to is only on its way out.
bool is_ending(pid_t pid, pid_t tid) {
  std::optional<ProcStatus> status = ProcStatus::try_read(pid, tid);
  return !status || status->state == 'X' || status->state == 'Z';
}

} // namespace

ThreadGroup::~ThreadGroup() {
  release();
}

std::size_t ThreadGroup::seize_new(std::uintptr_t options) {
  std::size_t count = 0;
  std::set<pid_t> known;
  for (const Tracee& thread : threads_) {
    known.insert(thread.tid());
  }
  for (pid_t tid : read_thread_ids(pid_)) {
    if (known.count(tid) != 0) {
      continue;
    }
    try {
      Tracee thread = Tracee::seize(tid, options);
      thread.interrupt();
      threads_.push_back(std::move(thread));
      ++count;
    } catch (const Error&) {
      bool alone = threads_.empty() && read_thread_ids(pid_).size() <= 1;
      if (alone || !is_ending(pid_, tid)) {
        throw;
      }
    }
  }
  return count;
}

void ThreadGroup::await_stop(Tracee& thread) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (check_) {
    check_();
    if (thread.await_event_stop_for(kSlice)) {
      return;
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      break;
    }
  }
  thread.await_event_stop(check_ ? kSlice : kPatience);
}

void ThreadGroup::stop(std::uintptr_t options) {
  for (;;) {
    std::size_t before = threads_.size();
    if (seize_new(options) == 0) {
      break;
    }
    for (std::size_t i = before; i < threads_.size(); ++i) {
      try {
        await_stop(threads_[i]);
        settle_stop(threads_[i], memory_);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kProcessGone) {
          throw;
        }
        threads_[i].release();
      }
    }
    std::erase_if(threads_, [](const Tracee& thread) { return !thread.attached(); });
  }
  if (threads_.empty()) {
    throw read_thread_ids(pid_).empty()
        ? Error(ErrorCode::kNotFound, "there is no process " + std::to_string(pid_))
        : Error(ErrorCode::kProcessGone, "process " + std::to_string(pid_) + " has ended");
  }
  std::sort(threads_.begin(), threads_.end(), [&](const Tracee& a, const Tracee& b) {
    return std::pair(a.tid() != pid_, a.tid()) < std::pair(b.tid() != pid_, b.tid());
  });
}

void ThreadGroup::release() {
  for (Tracee& thread : threads_) {
    try {
      if (thread.attached() && thread.stopped()) {
        thread.detach();
      }
    } catch (const Error&) {
      thread.release(); // it ended
    }
  }
  threads_.clear();
}

} // namespace rrpcp::process
