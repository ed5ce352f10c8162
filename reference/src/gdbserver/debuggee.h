// What the server shows to a debugger: a place of a recording, or what was begun there.
#pragma once

#include "rrpcp/replay/timeline.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::gdbserver {

// The server's view of a Timeline, whose methods of the same names these are, and of the one
// Diversion that may be open. Between divert() and end_diversion(), tasks, registers, memory and
// breakpoints are those of the diversion. The functions throw Error as Timeline and Diversion do.
class Debuggee {
public:
  virtual ~Debuggee() = default;

  virtual std::vector<TimelineProcess> processes() = 0;
  virtual std::vector<TimelineTask> tasks() = 0;
  virtual std::int32_t current_task() = 0;
  virtual std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note) = 0;
  virtual std::size_t read_memory(std::int32_t pid, std::uint64_t address,
                                  std::span<std::byte> out) = 0;
  virtual std::vector<TimelineMapping> mappings(std::int32_t pid) = 0;
  virtual std::vector<std::byte> auxiliary_vector(std::int32_t pid) = 0;
  virtual std::vector<std::byte> signal_info(std::int32_t tid) = 0;

  // Of the timeline (which a diversion has too), or of the diversion alone.
  virtual BreakpointId add(Breakpoint breakpoint, bool diverted) = 0;
  virtual void remove(BreakpointId breakpoint, bool diverted) = 0;

  virtual Stop run(Direction direction, const RunSettings& settings) = 0;
  virtual void go_to(const Place& place) = 0;
  virtual Place here() = 0;
  virtual std::int64_t event() = 0;
  virtual std::int64_t last_event() = 0;
  virtual std::uint64_t elapsed_time() = 0;
  virtual std::uint64_t absolute_time() = 0;
  virtual std::string recording() = 0;
  virtual TimelineCosts costs() = 0;
  // Where process `pid` begins: Timeline::start(), or after the event that made it.
  virtual Place first_place(std::int32_t pid) = 0;
  // Where task `tid` has `ticks` events behind it; nothing where it never has.
  virtual std::optional<Place> place_of_ticks(std::int32_t tid, std::int64_t ticks) = 0;

  virtual std::uint64_t make_checkpoint() = 0;
  virtual void forget_checkpoint(std::uint64_t number) = 0;
  virtual void go_to_checkpoint(std::uint64_t number) = 0;
  virtual Place place_of_checkpoint(std::uint64_t number) = 0;
  // Path of the file.
  virtual std::string store() = 0;
  virtual std::vector<StoredCheckpoint> stored_checkpoints() = 0;

  virtual bool diverted() const = 0;
  virtual void divert() = 0;
  virtual void end_diversion() = 0;
  // Only in a diversion.
  virtual void set_registers(std::int32_t tid, std::uint32_t note,
                             std::span<const std::byte> bytes) = 0;
  virtual void write_memory(std::int32_t pid, std::uint64_t address,
                            std::span<const std::byte> bytes) = 0;
  virtual Stop run_diverted(std::int32_t tid, bool step, const std::atomic<bool>* interrupt) = 0;

  // A file of this machine that the debugger may see: a descriptor to be closed by the caller, or
  // minus an errno.
  virtual int open_file(const std::string& path) = 0;
};

} // namespace rrpcp::gdbserver
