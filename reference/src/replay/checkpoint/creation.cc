#include "replay/checkpoint/session_checkpoint.h"
#include "replay/checkpoint/start_session.h"
#include "rrpcp/error.h"
#include "rrpcp/replay/replay_checkpoints.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>

namespace rrpcp {

namespace {

using replay::can_checkpoint;
using replay::ReplayOptions;
using replay::ReplaySession;
using replay::save_checkpoint;
using replay::start_session;
using replay::StartOptions;
using replay::writable_checkpoint_store;
using Clock = std::chrono::steady_clock;

// How long to wait before looking once more at a trace that is being recorded.
constexpr auto kFollowPause = std::chrono::milliseconds(50);

// How long a trace that is to be followed may take to have a beginning.
constexpr auto kPatience = std::chrono::seconds(10);

class Creation {
public:
  Creation(const std::string& directory, const CreationOptions& options)
      : directory_(directory), options_(options), store_(writable_checkpoint_store(directory)) {}

  CreationResult run() {
    for (bool last = false; !last;) {
      // In this order: what was recorded until the recorder ended is there then.
      last = !options_.follow || !being_recorded();
      pass();
      if (!last) {
        std::this_thread::sleep_for(kFollowPause);
      }
    }
    return result_;
  }

private:
  // Waits for a trace that is about to be recorded to have a beginning.
  bool being_recorded() const {
    const Clock::time_point deadline = Clock::now() + kPatience;
    for (;;) {
      try {
        return TraceReader::open(directory_).being_recorded();
      } catch (const Error& error) {
        const bool early =
            error.code() == ErrorCode::kNotFound || error.code() == ErrorCode::kIncomplete;
        if (!early || Clock::now() > deadline) {
          throw;
        }
        std::this_thread::sleep_for(kFollowPause);
      }
    }
  }

  // Goes on with what of the trace can be read now.
  void pass() {
    const TraceReader trace = TraceReader::open(directory_);
    const std::int64_t count = trace.event_count();
    const std::int64_t first = std::max<std::int64_t>(options_.start, 1);
    const std::int64_t last = options_.end == 0 ? count : std::min(options_.end, count);
    if (!options_.follow && (first > count || (options_.end != 0 && options_.end < first))) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is no event from " + std::to_string(first) + " to " +
                      std::to_string(options_.end == 0 ? count : options_.end) +
                      ": the trace has events 1 to " + std::to_string(count))
          .in_file(directory_);
    }
    if (next_ == 0) {
      next_ =
          options_.start > 0 ? options_.start : std::max<std::int64_t>(options_.event_interval, 1);
    }
    if (reached_ >= last || (next_ > last && !options_.check_only)) {
      return;
    }
    if (session_) {
      session_->look_again();
    } else {
      StartOptions start;
      start.target =
          options_.check_only ? 1 : std::max(options_.event_interval > 0 ? next_ : first, reached_);
      start.ignore_checkpoints = options_.ignore_checkpoints;
      start.warn = options_.warn;
      ReplayOptions replay;
      replay.verify = options_.verify;
      session_ = start_session(directory_, replay, start).session;
      session_->run_to(start.target);
    }
    last_taken_ = Clock::now();
    while (!session_->at_end() && (next_ <= last || options_.check_only)) {
      if (!options_.check_only) {
        take_if_due();
      }
      if (!options_.check_only && session_->event() >= last) {
        break;
      }
      step();
      if (options_.progress) {
        options_.progress(session_->event(), last);
      }
    }
    reached_ = result_.reached = session_->event();
  }

  void step() {
    if (options_.time_interval.count() == 0) {
      session_->step();
      return;
    }
    for (std::uint32_t order = 0;; ++order) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          last_taken_ + options_.time_interval - Clock::now());
      if (session_->step_within(std::max(left, std::chrono::milliseconds(1)))) {
        return;
      }
      take(replay::PlaceBetween{order, 0});
    }
  }

  void take_if_due() {
    std::string reason;
    const bool due = options_.time_interval.count() > 0
                         ? Clock::now() - last_taken_ >= options_.time_interval
                         : session_->event() >= next_;
    if (due && can_checkpoint(*session_, reason)) {
      take(std::nullopt);
      while (options_.event_interval > 0 && next_ <= session_->event()) {
        next_ += options_.event_interval;
      }
    }
  }

  void take(std::optional<replay::PlaceBetween> between) {
    const std::string path = save_checkpoint(*session_, store_, options_.writer, between,
                                             {base_, options_.most_decoded});
    go_on_from(path);
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    result_.bytes += error ? 0 : size;
    ++result_.checkpoints;
    result_.between += between ? 1 : 0;
    if (options_.made) {
      options_.made(path);
    }
    last_taken_ = Clock::now();
  }

  // Has the next checkpoint take over pages of this one, where it may.
  void go_on_from(const std::string& path) {
    base_.clear();
    try {
      const std::size_t bases = CheckpointReader::open(path).base_count();
      result_.incremental += bases != 0 ? 1 : 0;
      if (bases < std::min(options_.max_bases, format::kMaxBases)) {
        base_ = path;
      }
    } catch (const Error&) {
      // Somebody removed it at once: the next one is a full one.
    }
  }

  const std::string& directory_;
  const CreationOptions& options_;
  const Store store_;
  std::unique_ptr<ReplaySession> session_;
  CreationResult result_;
  // What the next checkpoint takes pages over from; empty: it is a full one.
  std::string base_;
  std::int64_t reached_ = 0;
  // With event_interval: from which event on the next one is due.
  std::int64_t next_ = 0;
  Clock::time_point last_taken_;
};

} // namespace

CreationResult create_checkpoints(const std::string& trace_directory,
                                  const CreationOptions& options) {
  return Creation(trace_directory, options).run();
}

} // namespace rrpcp
