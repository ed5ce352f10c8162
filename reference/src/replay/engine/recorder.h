// Recording a program.
#pragma once

#include "base/scoped_fd.h"
#include "process/tracee.h"
#include "replay/engine/call_outputs.h"
#include "replay/engine/code_replacer.h"
#include "replay/engine/instruction_traps.h"
#include "replay/engine/processor_binding.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/task_waiter.h"
#include "replay/trace/event.h"
#include "replay/trace/file_store.h"
#include "rrpcp/record.h"
#include "rrpcp/trace_writer.h"

#include <capnp/common.h>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

inline constexpr std::uintptr_t kRecorderOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                                                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
inline constexpr std::uint64_t kCloneUntraced = 0x00800000; // CLONE_UNTRACED
inline constexpr std::uint32_t kNoteXstate = 0x202;         // NT_X86_XSTATE

// One recording. Runs the program's tasks one at a time and writes down what they learn from
// outside. Use from one thread, which becomes their tracer.
class Recorder {
public:
  explicit Recorder(const RecordOptions& options);
  ~Recorder();

  RecordResult run();

private:
  // The order of tasks: recorder.cc.
  void start();
  void run_task(RecordedTask& task);
  RecordedTask* choose();
  bool others_wait(const RecordedTask& task) const;
  void queue(const TaskReport& report);
  void collect_reports();
  void handle_reports();
  TraceeStop await_user(RecordedTask& task);
  std::optional<TraceeStop> await_call(RecordedTask& task);
  bool executed_by(const RecordedTask& task, pid_t tid);
  bool handle(RecordedTask& task, const TraceeStop& stop);
  void resume_call(RecordedTask& task);
  RecordedTask* find(pid_t tid);
  void erase(pid_t tid);
  bool note_dying();
  void end();

  // System calls, from their entry to their end: recorder_calls.cc.
  void require_64_bit(const RecordedTask& task) const;
  bool on_entry(RecordedTask& task);
  void prepare_call(RecordedTask& task);
  void answer(RecordedTask& task, std::int64_t result, const std::string& what);
  void prepare_prctl(RecordedTask& task);
  static std::string descriptor_name(const RecordedTask& task, std::uint64_t fd);
  void refuse_mapping(RecordedTask& task);
  void put_back_untraced(const RecordedTask& task, RecordedTask& in);
  void note_output(RecordedTask& task);
  void note_object(RecordedTask& task);
  void on_call_end(RecordedTask& task);
  void begin_call(RecordedTask& task);
  void end_call(RecordedTask& task);
  bool was_filtered(const RecordedTask& task) const;
  void note_mask(RecordedTask& task);
  // What a call has changed: recorder_outputs.cc.
  void record_outputs(RecordedTask& task, std::int64_t result);
  void record_mapping(RecordedTask& task, std::uint64_t address);
  void record_segment(RecordedTask& task, std::uint64_t address);
  void record_object(std::uint32_t number, int fd, std::uint64_t offset, std::uint64_t length);
  void record_object_write(RecordedTask& task, std::int64_t result);
  std::uint32_t object_number(const struct stat& status);
  // Tasks that come, execute another program and go: recorder_tasks.cc.
  void on_new_task(RecordedTask& task);
  static ScopedFd open_mapped(const RecordedTask& task, const std::string& path);
  void on_exec(RecordedTask& task, pid_t former);
  void record_last_writes(const RecordedTask& dead, RecordedTask& survivor);
  void on_gone(RecordedTask& task, const TraceeStop& stop);

  // Signals, faults and preemption: recorder_signals.cc.
  bool on_signal(RecordedTask& task, int signal);
  void deliver(RecordedTask& task, const siginfo_t& info, schema::SignalCause cause,
               const std::optional<user_regs_struct>& reached);
  void call_off(RecordedTask& task);
  void raise_held(RecordedTask& task);
  void preempt(RecordedTask& task);

  // Instructions that no replay can foresee: recorder_instructions.cc.
  void replace_in_program(RecordedTask& task);
  void replace_in_new_code(RecordedTask& task, std::int64_t result);
  void replace_in_range(RecordedTask& task, std::uint64_t start, std::uint64_t length, bool noted);
  void put_back(RecordedTask& task, std::uint64_t start, std::uint64_t length);
  bool emulate(RecordedTask& task, const user_regs_struct& registers, siginfo_t& info);
  void keep_fault_action(RecordedTask& task, int signal);

  // Events on their way into the trace: recorder.cc.
  EventData& begin_event(EventKind kind, RecordedTask& task);
  void write_event();
  void flush_now_and_then();
  void add_memory(RecordedTask& task, std::uint64_t address, std::uint64_t length,
                  std::vector<EventData::Write>& list);
  void notice_once(const std::string& text);

  const RecordOptions& options_;
  const std::chrono::steady_clock::time_point started_;
  // One task runs at a time, and the program finds the same processor at every replay.
  const ProcessorBinding binding_{-1};
  const sigset_t inherited_mask_; // before the waiter changes it
  const InstructionTraps traps_ = instruction_traps();
  CodeReplacer code_;
  TaskWaiter waiter_;
  std::optional<TraceWriter> writer_;
  std::optional<TraceFileStore> files_;
  std::map<pid_t, std::unique_ptr<RecordedTask>> tasks_;
  std::vector<pid_t> order_;
  std::vector<pid_t> reported_;
  std::map<pid_t, int> early_; // stops of tasks that their makers have not told of yet
  pid_t current_ = 0;
  int in_a_row_ = 0;
  bool yield_ = false;
  int in_call_ = 0; // tasks in calls that were begun
  pid_t first_process_ = 0;
  std::optional<int> status_;
  int images_ = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> objects_;
  std::set<std::string> noticed_;
  EventData event_;
  std::vector<OutputRange> ranges_;
  std::vector<std::span<const std::byte>> pieces_;
  std::vector<capnp::word> scratch_;
  std::uint64_t killed_ = 0;
  std::chrono::nanoseconds flushed_at_{0}; // since started_
};

} // namespace rrpcp::replay
