// What debuggers see of a Timeline.
#pragma once

#include "gdbserver/debuggee.h"

namespace rrpcp::replay {

class TimelineDebuggee : public gdbserver::Debuggee {
public:
  explicit TimelineDebuggee(Timeline& timeline) : timeline_(timeline) {}

  std::vector<TimelineProcess> processes() override { return timeline_.processes(); }
  std::vector<TimelineTask> tasks() override;
  std::int32_t current_task() override { return timeline_.current_task(); }
  std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note) override;
  std::size_t read_memory(std::int32_t pid, std::uint64_t address,
                          std::span<std::byte> out) override;
  std::vector<TimelineMapping> mappings(std::int32_t pid) override;
  std::vector<std::byte> auxiliary_vector(std::int32_t pid) override;
  std::vector<std::byte> signal_info(std::int32_t tid) override;

  BreakpointId add(Breakpoint breakpoint, bool diverted) override;
  void remove(BreakpointId breakpoint, bool diverted) override;

  Stop run(Direction direction, const RunSettings& settings) override;
  void go_to(const Place& place) override { timeline_.go_to(place); }
  Place here() override { return timeline_.here(); }
  std::int64_t event() override { return timeline_.event(); }
  std::int64_t last_event() override { return timeline_.trace().event_count(); }
  std::uint64_t elapsed_time() override { return timeline_.elapsed_time(); }
  std::uint64_t absolute_time() override { return timeline_.absolute_time(); }
  std::string recording() override { return timeline_.trace().directory(); }
  TimelineCosts costs() override { return timeline_.costs(); }
  Place first_place(std::int32_t pid) override;
  std::optional<Place> place_of_ticks(std::int32_t tid, std::int64_t ticks) override;

  std::uint64_t make_checkpoint() override { return timeline_.make_checkpoint(); }
  void forget_checkpoint(std::uint64_t number) override { timeline_.forget_checkpoint(number); }
  void go_to_checkpoint(std::uint64_t number) override { timeline_.go_to_checkpoint(number); }
  Place place_of_checkpoint(std::uint64_t number) override {
    return timeline_.place_of_checkpoint(number);
  }
  std::string store() override { return timeline_.store(); }
  std::vector<StoredCheckpoint> stored_checkpoints() override {
    return timeline_.stored_checkpoints();
  }

  bool diverted() const override { return diversion_.has_value(); }
  void divert() override { diversion_.emplace(timeline_.divert()); }
  void end_diversion() override { diversion_.reset(); }
  void set_registers(std::int32_t tid, std::uint32_t note,
                     std::span<const std::byte> bytes) override;
  void write_memory(std::int32_t pid, std::uint64_t address,
                    std::span<const std::byte> bytes) override;
  Stop run_diverted(std::int32_t tid, bool step, const std::atomic<bool>* interrupt) override;

  int open_file(const std::string& path) override;

private:
  Timeline& timeline_;
  std::optional<Diversion> diversion_;
};

} // namespace rrpcp::replay
