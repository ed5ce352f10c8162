// Recording a program.
#pragma once

#include "base/scoped_fd.h"
#include "process/tracee.h"
#include "replay/engine/call_outputs.h"
#include "replay/engine/code_replacer.h"
#include "replay/engine/event_writer.h"
#include "replay/engine/instruction_traps.h"
#include "replay/engine/processor_binding.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/scheduler.h"
#include "rrpcp/record.h"

#include <csignal>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <sys/stat.h>
#include <sys/user.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

inline constexpr std::uint64_t kCloneUntraced = 0x00800000; // CLONE_UNTRACED
inline constexpr std::uint32_t kNoteXstate = 0x202;         // NT_X86_XSTATE

// One recording. Has the scheduler run the program's tasks one at a time, knows what their stops
// mean, and gives the event writer what they learn from outside. Use from one thread, which becomes
// their tracer.
class Recorder {
public:
  explicit Recorder(const RecordOptions& options);

  RecordResult run();

private:
  // The run as a whole, and what a stop means: recorder.cc.
  void start();
  void run_task(RecordedTask& task);
  void handle_reports();
  bool handle(RecordedTask& task, const TraceeStop& stop);
  void resume_call(RecordedTask& task);
  void notice_once(const std::string& text);

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

  const RecordOptions& options_;
  // One task runs at a time, and the program finds the same processor at every replay.
  const ProcessorBinding binding_{-1};
  const sigset_t inherited_mask_; // before the scheduler changes it
  const InstructionTraps traps_ = instruction_traps();
  CodeReplacer code_;
  std::optional<EventWriter> writer_;
  Scheduler scheduler_;
  pid_t first_process_ = 0;
  std::optional<int> status_;
  int images_ = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> objects_;
  std::set<std::string> noticed_;
  std::vector<OutputRange> ranges_;
};

} // namespace rrpcp::replay
