// What a fuzzed conversation is about: two threads in an address space of a few pages, which go
// nowhere. Everything that it is told it keeps within bounds; nothing of the machine is touched.
#pragma once

#include "gdbserver/debuggee.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <sys/user.h>

namespace rrpcp::fuzz {

class StillDebuggee : public gdbserver::Debuggee {
public:
  std::vector<TimelineProcess> processes() override {
    return {{7, 0, "/bin/still", ""}, {9, 7, "/bin/other", ""}};
  }
  std::vector<TimelineTask> tasks() override {
    return {{7, 7, 3, false, "still"}, {8, 7, 1, true, "second"}, {9, 9, 0, false, "other"}};
  }
  std::int32_t current_task() override { return 7; }
  std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note) override {
    if (tid == 8 && note != 1) {
      return std::nullopt;
    }
    const auto changed = changed_.find(note);
    if (diverted_ && changed != changed_.end()) {
      return changed->second;
    }
    return std::vector<std::byte>(note == 1 ? sizeof(user_regs_struct) : 2696);
  }
  std::size_t read_memory(std::int32_t, std::uint64_t address, std::span<std::byte> out) override {
    std::size_t n = 0;
    for (; n < out.size() && address + n >= kBase && address + n < kBase + kSize; ++n) {
      out[n] = static_cast<std::byte>(address + n);
    }
    return n;
  }
  std::vector<TimelineMapping> mappings(std::int32_t) override {
    return {{kBase, kBase + kSize, PROT_READ | PROT_EXEC, 0, "/bin/still"}};
  }
  std::vector<std::byte> auxiliary_vector(std::int32_t) override {
    const std::uint64_t words[] = {3, kBase + 64, 5, 3, 0, 0};
    const auto bytes = std::as_bytes(std::span(words));
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> signal_info(std::int32_t) override { return std::vector<std::byte>(128); }

  BreakpointId add(Breakpoint breakpoint, bool) override {
    if (breakpoints_.size() < 100) {
      breakpoints_[++last_] = std::move(breakpoint);
    }
    return last_;
  }
  void remove(BreakpointId breakpoint, bool) override { breakpoints_.erase(breakpoint); }

  Stop run(Direction direction, const RunSettings& settings) override {
    Stop stop;
    stop.tid = stop.pid = 7;
    for (const auto& [id, breakpoint] : breakpoints_) {
      if (!breakpoint.condition || breakpoint.condition(7)) {
        stop.reason = breakpoint.kind == Breakpoint::Kind::kSoftware ? StopReason::kBreakpoint
                                                                     : StopReason::kWatchpoint;
        stop.breakpoint = id;
        stop.address = breakpoint.address;
        return stop;
      }
    }
    if (settings.step != 0) {
      return stop;
    }
    stop.reason =
        direction == Direction::kForward ? StopReason::kExit : StopReason::kStartOfHistory;
    stop.status = 256 * 3;
    return stop;
  }
  void go_to(const Place& place) override { place_ = place; }
  Place here() override { return place_; }
  std::int64_t event() override { return place_.event; }
  std::int64_t last_event() override { return 1000; }
  std::uint64_t elapsed_time() override { return 1'500'000'000; }
  std::uint64_t absolute_time() override { return 1'700'000'000'000'000'000; }
  std::string recording() override { return "/traces/\"still\"-0"; }
  TimelineCosts costs() override { return {}; }
  Place first_place(std::int32_t) override { return {2, 0}; }
  std::optional<Place> place_of_ticks(std::int32_t, std::int64_t ticks) override {
    return ticks < 1000 ? std::optional(Place{ticks + 2, 0}) : std::nullopt;
  }

  std::uint64_t make_checkpoint() override {
    checkpoints_[++last_] = place_;
    return last_;
  }
  void forget_checkpoint(std::uint64_t number) override { checkpoints_.erase(number); }
  void go_to_checkpoint(std::uint64_t number) override { place_ = place_of_checkpoint(number); }
  Place place_of_checkpoint(std::uint64_t number) override {
    const auto found = checkpoints_.find(number);
    if (found == checkpoints_.end()) {
      throw Error(ErrorCode::kNotFound, "there is no such checkpoint");
    }
    return found->second;
  }
  std::string store() override { return "/traces/still-0/checkpoints/1.pcp"; }
  std::vector<StoredCheckpoint> stored_checkpoints() override {
    return {{"/traces/still-0/checkpoints/1.pcp", {5, 10}}};
  }

  bool diverted() const override { return diverted_; }
  void divert() override { diverted_ = true; }
  void end_diversion() override {
    diverted_ = false;
    changed_.clear();
  }
  void set_registers(std::int32_t, std::uint32_t note, std::span<const std::byte> bytes) override {
    changed_[note].assign(bytes.begin(), bytes.end());
  }
  void write_memory(std::int32_t, std::uint64_t address,
                    std::span<const std::byte> bytes) override {
    if (address < kBase || address + bytes.size() > kBase + kSize) {
      throw Error(ErrorCode::kSystem, "nothing is mapped there");
    }
  }
  Stop run_diverted(std::int32_t tid, bool step, const std::atomic<bool>*) override {
    Stop stop;
    stop.tid = tid;
    stop.pid = 7;
    stop.reason = step ? StopReason::kStep : StopReason::kExit;
    return stop;
  }
  int open_file(const std::string&) override { return -ENOENT; }

private:
  static constexpr std::uint64_t kBase = 0x10000;
  static constexpr std::uint64_t kSize = 0x3000;

  Place place_{2, 0};
  bool diverted_ = false;
  std::uint64_t last_ = 0;
  std::map<BreakpointId, Breakpoint> breakpoints_;
  std::map<std::uint64_t, Place> checkpoints_;
  std::map<std::uint32_t, std::vector<std::byte>> changed_;
};

} // namespace rrpcp::fuzz
