// Replaying a recording: the engine behind `pcp-rr replay`, for debuggers and other front ends.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

struct ReplaySettings {
  // Gets what the program wrote to its standard output (1) and error (2) by the events that are
  // replayed, in order; what was written before the place where a replay starts is not repeated.
  std::function<void(int descriptor, std::span<const std::byte> bytes)> output = {};
  // Told about checkpoints that are passed over, and what else may be worth knowing.
  std::function<void(const std::string& warning)> warn = {};
  // Always replay from the start of the trace.
  bool ignore_checkpoints = false;
  // Compare the digests of memory that were recorded (RecordOptions::checksum_interval).
  bool verify = false;
};

// A living task of a replay. Ids are those of the recording.
struct ReplayTaskInfo {
  std::int32_t tid = 0;
  std::int32_t pid = 0;
  // Its events so far.
  std::int64_t ticks = 0;
  // It stands at the entry of a system call that ends by an event of its own.
  bool in_call = false;
};

// A replay that stands somewhere in a recording: at an event that is current and not yet replayed,
// or, after step_instruction(), between two of them. Use from one thread: it traces the processes,
// which end with this object.
//
// Every method throws Error: kDivergence where the replay does not do what was recorded, kDamaged,
// kBackingFile, kProcessGone. After one from seek(), step() or run_to() the object can only be
// destroyed.
class Replay {
public:
  // Starts as near before event `target` as the trace's checkpoints allow, and runs there. Throws
  // as TraceReader::open; kInvalidArgument where the trace has no such event; kUnsupportedState
  // where this processor cannot run the program.
  static Replay open(const std::string& trace_directory, const ReplaySettings& settings = {},
                     std::int64_t target = 1);
  Replay(Replay&&) noexcept;
  Replay& operator=(Replay&&) noexcept;
  ~Replay();

  const TraceReader& trace() const;
  // Number of the current event; at the end one more than the last.
  std::int64_t event() const;
  bool at_end() const;
  // How often memory was compared since the latest start: ReplaySettings::verify.
  std::uint64_t comparisons() const;
  // Task of the current event; 0 at the end and before the first process is there.
  std::int32_t current_task() const;
  std::vector<ReplayTaskInfo> tasks() const;
  // Path of the checkpoint from which the replay came here; empty: from the start of the trace.
  const std::string& checkpoint() const;
  // Wait status of the first process, as waitpid(2) gives it, once it has ended.
  std::optional<int> exit_status() const;

  // Replays the current event. No effect at the end.
  void step();
  // Replays events until `event` is current or the end is reached.
  void run_to(std::int64_t event);
  // Executes one instruction of the current task, if it has any to execute before its event, which
  // it does not replay. False where it has none: step() is next.
  bool step_instruction();
  // Goes to `event`, forward or backward, by way of a checkpoint where that is shorter. Backward,
  // what the program wrote is not repeated to `output` before `event`.
  void seek(std::int64_t event);
  // Saves the state as a checkpoint of the trace, which replays can start from, and returns its
  // path. Throws kUnsupportedState where there is no process, and between two events.
  std::string save(const WriterOptions& options = {});

  // A register set of a living task, by its NT_* number (elf.h), as PTRACE_GETREGSET gives it;
  // nothing where the task has none. What is changed stays changed: the replay may diverge.
  std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note_type) const;
  void set_registers(std::int32_t tid, std::uint32_t note_type, std::span<const std::byte> bytes);
  // Memory of a living task's process. Returns how many bytes could be read.
  std::size_t read_memory(std::int32_t tid, std::uint64_t address, std::span<std::byte> out) const;
  void write_memory(std::int32_t tid, std::uint64_t address, std::span<const std::byte> bytes);

private:
  struct Impl;
  explicit Replay(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Event that made process `pid` of the recording, and so one before it first ran. Throws
// Error(kNotFound) where there is none.
std::int64_t first_event_of_process(const TraceReader& trace, std::int32_t pid);

} // namespace rrpcp
