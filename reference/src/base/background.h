// Work in another thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <sched.h>
#include <thread>
#include <type_traits>
#include <utility>

namespace rrpcp {

// A thread that does one piece of work after another, in the order in which they were given. It
// takes no signals of the process and runs on `processors`, whatever the thread that gives it work
// is bound to. It begins with the first piece; the destructor waits for all that was given. Where
// no thread can be had, the work is done at once, by the caller.
class Background {
public:
  explicit Background(const cpu_set_t& processors) : processors_(processors) {}
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  // What `work` returns, or throws, comes by the future. What `work` holds is let go before, and
  // not with the future: it may be what keeps that. One thread at a time may call it.
  template <typename Work> std::future<std::invoke_result_t<Work>> run(Work work) {
    using Result = std::invoke_result_t<Work>;
    auto task = std::make_shared<std::packaged_task<Result()>>(
        [work = std::optional<Work>(std::move(work))]() mutable -> Result {
          std::optional<Work> last = std::exchange(work, std::nullopt);
          return (*last)();
        });
    std::future<Result> result = task->get_future();
    give([task] { (*task)(); });
    return result;
  }

private:
  void give(std::function<void()> work);
  void take();

  const cpu_set_t processors_;
  std::mutex mutex_;
  std::condition_variable given_;
  std::deque<std::function<void()>> queue_;
  bool ends_ = false;
  std::thread thread_;
};

} // namespace rrpcp
