// Time travel in a recording: the way in for debuggers and other front ends.
//
// A Timeline stands at a place of a recording and goes forward and backward in it: to places, by
// single instructions, or until a breakpoint, a watched change, a signal. Everything that it shows
// is of that place. It changes nothing of the recording; what a debugger wants to change, or to
// call, it does in a Diversion, which is thrown away.
//
// Ids of processes and tasks are those of the recording.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/writer.h"

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// A place in a recording. Places are in the order of time and stay the same from one start of a
// debugger to the next. Only the task of an event runs on the way to it, so one number says where
// it stands.
struct Place {
  // The event that is current: those before it are applied, it is not.
  std::int64_t event = 0;
  // Instructions that the event's task has executed since those before were applied, counted as the
  // architecture does: a string instruction with a REP prefix is one. The instruction by which the
  // event comes about (a system call, one that faults or that the recorder carried out) is not
  // among them: behind it is the next event's beginning.
  std::uint64_t instructions = 0;

  // In `instructions`: the task has come to its event, which has not taken effect: the system call
  // is entered, the signal is about to be delivered, the process is about to end.
  static constexpr std::uint64_t kArrived = std::numeric_limits<std::uint64_t>::max();
  bool arrived() const { return instructions == kArrived; }

  auto operator<=>(const Place&) const = default;

  // "1234", "1234+567", "1234+end".
  std::string to_string() const;
  // Of such a text; nothing where it is none.
  static std::optional<Place> parse(std::string_view text);
};

enum class Direction { kForward, kBackward };

// What a run may stop at besides the end of its direction. For all kinds, running backward stops at
// the same places as running forward, in the opposite order; only a watched change is met from the
// other side (Stop::place).
struct Breakpoint {
  enum class Kind {
    kSoftware, // an instruction is about to be executed
    kHardware, // the same
    kWrite,    // the watched bytes have changed
    kRead,     // they were read
    kAccess,   // they were read or written
  };
  Kind kind = Kind::kSoftware;
  // Of this process (every one that uses its memory); 0: of all.
  std::int32_t pid = 0;
  std::uint64_t address = 0;
  // Watched bytes: 1 to 64. No meaning for the first two kinds.
  std::uint64_t length = 1;
  // Asked at each hit of the task; only where it says true the run stops. It may read registers and
  // memory of the Timeline, which stands where the hit is, and do nothing else with it. Empty:
  // true.
  std::function<bool(std::int32_t tid)> condition = {};
};

using BreakpointId = std::uint64_t;

enum class StopReason {
  kStep,
  kBreakpoint,
  kWatchpoint,
  // A signal is about to be delivered to a handler, or to end the process.
  kSignal,
  // The process is about to end: its tasks are there still.
  kExit,
  // With RunSettings::fork: a process was made; `child` is its pid.
  kFork,
  // With RunSettings::vfork: the process that `tid` made has executed a program or ended, and `tid`
  // goes on.
  kVforkDone,
  // With RunSettings::exec: the process executes another program now.
  kExec,
  // With RunSettings::threads: `tid` made the thread `child`.
  kThreadBegin,
  // With RunSettings::threads: `tid` is about to end, while its process goes on.
  kThreadEnd,
  // With RunSettings::calls: a system call is entered, or has returned.
  kCallEntry,
  kCallReturn,
  // RunSettings::interrupt was set.
  kInterrupted,
  // Nothing is beyond.
  kEndOfHistory,
  kStartOfHistory,
};

std::string_view stop_reason_name(StopReason reason);

struct Stop {
  StopReason reason = StopReason::kStep;
  // Where nothing is said, of the task that ran.
  std::int32_t tid = 0;
  std::int32_t pid = 0;
  // kSignal: its number. kExit: that of the signal that ends it; 0: it exits.
  int signal = 0;
  // kExit: as waitpid(2) gives it.
  int status = 0;
  // kFork, kThreadBegin.
  std::int32_t child = 0;
  bool vfork = false;
  // kCallEntry, kCallReturn: its number.
  std::int64_t call = -1;
  // kBreakpoint, kWatchpoint: whose hit it is; the first where there are several.
  BreakpointId breakpoint = 0;
  // kWatchpoint: the first byte of the breakpoint.
  std::uint64_t address = 0;
};

struct RunSettings {
  // Executes one instruction of this task: forward until it has executed one (others run as they
  // were recorded meanwhile, and what they meet stops the run too), backward to where its previous
  // one begins. 0: goes on until something is met.
  std::int32_t step = 0;
  // With `step`: goes on while the task's instruction pointer is in [range_begin, range_end).
  std::uint64_t range_begin = 0;
  std::uint64_t range_end = 0;
  // Whether a signal is to be told. Empty: all are.
  std::function<bool(int signal)> report_signal = {};
  // Ends of processes are always told, unless this is false.
  bool exits = true;
  // A process was made: by fork(2) and its like; by vfork(2) and its like, where the maker waits
  // until the other executes a program or ends.
  bool fork = false;
  bool vfork = false;
  bool exec = false;
  bool threads = false;
  // Numbers of system calls to stop at; with an empty vector, all.
  std::optional<std::vector<std::int64_t>> calls = {};
  // What happens in other processes is passed over without a word; 0: nothing is.
  std::int32_t process = 0;
  // Looked at every few milliseconds.
  const std::atomic<bool>* interrupt = nullptr;
};

struct TimelineTask {
  std::int32_t tid = 0;
  std::int32_t pid = 0;
  // Its events so far.
  std::int64_t ticks = 0;
  // It is in a system call that ends by an event of its own.
  bool in_call = false;
  // As prctl(2) PR_SET_NAME set it.
  std::string name = {};
};

struct TimelineProcess {
  std::int32_t pid = 0;
  // 0: it was made by the recorder.
  std::int32_t parent = 0;
  // Path of the program while it was recorded, and of the copy of it that the trace keeps, which is
  // what is mapped: empty where there is none.
  std::string executable = {};
  std::string kept_executable = {};
};

struct TimelineMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  // PROT_READ, PROT_WRITE, PROT_EXEC of mmap(2).
  int protection = 0;
  std::uint64_t offset = 0;
  // Path while recorded, "[stack]", "[heap]", …; empty: anonymous.
  std::string name = {};
};

struct TimelineSettings {
  // Gets what the program wrote to its standard output (1) and error (2), each byte once: what is
  // passed again, backward or forward, is not repeated. `diverted`: a Diversion wrote it.
  std::function<void(int descriptor, std::span<const std::byte> bytes, bool diverted)> output = {};
  // Told about checkpoints that are passed over, and what else may be worth knowing.
  std::function<void(const std::string& warning)> warn = {};
  // Uses no checkpoint of the trace.
  bool ignore_checkpoints = false;
  // What the states that are kept alive to start from (bases) may occupy, in bytes.
  std::uint64_t base_memory = std::uint64_t{1} << 30;
};

// What it has cost so far.
struct TimelineCosts {
  // Stops of traced tasks that were waited for.
  std::uint64_t stops = 0;
  // Bases that are alive, the memory that is theirs alone in bytes, and how many were ever made.
  std::size_t bases = 0;
  std::uint64_t base_memory = 0;
  std::uint64_t bases_made = 0;
  // Instructions that were executed counted.
  std::uint64_t counted_instructions = 0;
};

// A checkpoint that the user made: a place, kept alive.
struct TimelineCheckpoint {
  std::uint64_t number = 0;
  Place place;
};

// A checkpoint of the trace.
struct StoredCheckpoint {
  std::string path;
  Place place;
};

class Diversion;
namespace replay {
class Traveller;
Diversion make_diversion(Traveller& traveller);
} // namespace replay

// Use from one thread: it traces the processes, which end with this object. A Diversion must not
// outlive it, and while one lives the Timeline must not be moved.
//
// Every method throws Error: kDivergence where the replay does not do what was recorded, kDamaged,
// kBackingFile, kProcessGone, kInvalidArgument for ids and places that are not there. After one
// from run() or go_to() the Timeline can still be asked to go_to() another place.
class Timeline {
public:
  // Stands at event `target`, or at the first place with a process. Throws as TraceReader::open;
  // kUnsupportedState where this processor cannot run the program, or the trace has no process.
  static Timeline open(const std::string& trace_directory, TimelineSettings settings = {},
                       std::int64_t target = 1);
  Timeline(Timeline&&) noexcept;
  Timeline& operator=(Timeline&&) noexcept;
  ~Timeline();

  const TraceReader& trace() const;

  // Where it stands. After a run that was stopped within a long computation its instructions have
  // to be counted first, which takes some times as long as the computation.
  Place here();
  // The current event, at no cost.
  std::int64_t event() const;
  // The first place where there is a process, and the last one where there is: at the end of the
  // last process it is about to end.
  Place start() const;
  Place end() const;
  // Nanoseconds of the clock of the recording (CLOCK_MONOTONIC) from its start to the event before
  // the current one, and the time of day then, in nanoseconds since 1970.
  std::uint64_t elapsed_time() const;
  std::uint64_t absolute_time() const;

  // In the order in which they were made.
  std::vector<TimelineProcess> processes() const;
  std::vector<TimelineTask> tasks() const;
  // The task that runs next: that of the current event.
  std::int32_t current_task() const;

  // A register set of a task by its NT_* number (elf.h), as PTRACE_GETREGSET gives it; nothing
  // where the task has none.
  std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note_type) const;
  // Memory of a process; how many bytes could be read. Breakpoints are not seen.
  std::size_t read_memory(std::int32_t pid, std::uint64_t address, std::span<std::byte> out) const;
  std::vector<TimelineMapping> mappings(std::int32_t pid) const;
  // As the kernel gave it to the program: AT_* numbers and values of 8 bytes each.
  std::vector<std::byte> auxiliary_vector(std::int32_t pid) const;
  // siginfo_t of the signal that the task is about to get (Stop::kSignal); else of the latest that
  // a handler was entered for. All zero: there was none.
  std::array<std::byte, 128> signal_info(std::int32_t tid) const;

  BreakpointId add(Breakpoint breakpoint);
  // False where there is no such one.
  bool remove(BreakpointId breakpoint);

  // Runs until something stops it that is not where it stands already. A change of watched bytes
  // stops forward where it was made, and backward where it is about to be made.
  Stop run(Direction direction, const RunSettings& settings = {});
  // Goes there, past everything. A place that is not there (an event has fewer instructions) throws
  // kInvalidArgument, and the Timeline stands at the start of the event then.
  void go_to(const Place& place);

  // Keeps the state alive as a checkpoint and returns its number, from 1. Counts nothing.
  std::uint64_t make_checkpoint();
  // Both count where those are that were made within long computations, as here().
  std::vector<TimelineCheckpoint> checkpoints();
  Place place_of_checkpoint(std::uint64_t number);
  // Throw kNotFound where there is none of that number, as does the one before.
  void forget_checkpoint(std::uint64_t number);
  void go_to_checkpoint(std::uint64_t number);
  // Stores the state as a checkpoint of the trace, with its exact place, and returns the file's
  // path. Throws kUnsupportedState at a place that has `arrived()`.
  std::string store(const WriterOptions& options = {});
  // The usable checkpoints of the trace whose place is exactly known, in the order of time.
  std::vector<StoredCheckpoint> stored_checkpoints() const;

  // A copy of the processes as they are here, in which anything may be done.
  Diversion divert();

  TimelineCosts costs() const;

private:
  friend class Diversion;
  struct Impl;
  explicit Timeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Processes that go on from a place without the recording: registers and memory may be changed and
// functions called. System calls are not made for real, but for those that only concern the process
// itself (memory); what is written to the standard output and error goes to
// TimelineSettings::output, other calls fail with ENOSYS. Ends with this object and leaves nothing
// behind. Throws Error as Timeline does.
class Diversion {
public:
  Diversion(Diversion&&) noexcept;
  Diversion& operator=(Diversion&&) noexcept;
  ~Diversion();

  std::vector<TimelineTask> tasks() const;
  std::optional<std::vector<std::byte>> registers(std::int32_t tid, std::uint32_t note_type) const;
  void set_registers(std::int32_t tid, std::uint32_t note_type, std::span<const std::byte> bytes);
  std::size_t read_memory(std::int32_t pid, std::uint64_t address, std::span<std::byte> out) const;
  // Throws kSystem where not all of it can be written.
  void write_memory(std::int32_t pid, std::uint64_t address, std::span<const std::byte> bytes);
  // siginfo_t of the latest stop with a signal.
  std::array<std::byte, 128> signal_info(std::int32_t tid) const;

  // Those of the Timeline are there too. Watched bytes are not looked at.
  BreakpointId add(Breakpoint breakpoint);
  bool remove(BreakpointId breakpoint);

  // Lets the task run, alone, until it stops: kStep after one instruction, kBreakpoint, kSignal
  // (a fault, or a signal that it sent itself), kExit, kInterrupted.
  Stop run(std::int32_t tid, bool step, const std::atomic<bool>* interrupt = nullptr);

private:
  friend Diversion replay::make_diversion(replay::Traveller& traveller);
  static Diversion make(replay::Traveller& traveller);
  struct Impl;
  explicit Diversion(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
