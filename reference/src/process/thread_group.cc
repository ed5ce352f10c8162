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

bool ThreadGroup::settle_within(Tracee& thread, std::chrono::milliseconds timeout, bool last) {
  try {
    if (last) {
      thread.await_event_stop(timeout);
    } else if (!thread.await_event_stop_for(timeout)) {
      return false;
    }
    settle_stop(thread, memory_);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kProcessGone) {
      throw;
    }
    thread.release();
  }
  return true;
}

void ThreadGroup::await_stops(std::size_t first) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::time_point asked = start - kSlice;
  std::vector<Tracee*> waiting;
  for (std::size_t i = first; i < threads_.size(); ++i) {
    waiting.push_back(&threads_[i]);
  }
  while (!waiting.empty()) {
    const Clock::time_point now = Clock::now();
    if (check_ && now - asked >= kSlice) {
      check_();
      asked = now;
    }
    const bool last = now - start >= kPatience;
    // In whatever order they stop: a thread is to stand unsettled for as short as possible, because
    // nobody makes that good if we are killed then.
    std::chrono::milliseconds patience(1);
    std::erase_if(waiting, [&](Tracee* thread) {
      return settle_within(*thread, std::exchange(patience, std::chrono::milliseconds(0)), last);
    });
  }
}

void ThreadGroup::stop(std::uintptr_t options) {
  for (;;) {
    std::size_t before = threads_.size();
    if (seize_new(options) == 0) {
      break;
    }
    await_stops(before);
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
