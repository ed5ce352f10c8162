// Recording a program.
#pragma once

#include "base/scoped_fd.h"
#include "base/xxh3_stream.h"
#include "process/tracee.h"
#include "replay/buffer/call_buffer.h"
#include "replay/engine/call_memory.h"
#include "replay/engine/code_replacer.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/event_writer.h"
#include "replay/engine/instruction_traps.h"
#include "replay/engine/mapped_files.h"
#include "replay/engine/memory_digests.h"
#include "replay/engine/process_image.h"
#include "replay/engine/processor_binding.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/scheduler.h"
#include "rrpcp/replay/record.h"
#include "trace/call_row.h"
#include "trace/file_cache.h"

#include <array>
#include <capnp/message.h>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <sys/stat.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::replay {

inline constexpr std::uint64_t kCloneUntraced = 0x00800000; // CLONE_UNTRACED

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
  void complete_run(pid_t tid);
  bool handle(RecordedTask& task, const process::TraceeStop& stop);
  bool handle_stop(RecordedTask& task, const process::TraceeStop& stop);
  void resume_call(RecordedTask& task);
  void notice_once(const std::string& text);
  void stop_if_told() const;

  // System calls, from their entry to their end: recorder_calls.cc.
  void require_64_bit(const RecordedTask& task) const;
  bool on_entry(RecordedTask& task);
  void enter_call(RecordedTask& task);
  void note_inputs(RecordedTask& task);
  void prepare_call(RecordedTask& task);
  void answer(RecordedTask& task, std::int64_t result, const std::string& what);
  void refuse(RecordedTask& task, const trace::CallRow& row);
  void prepare_attribute(RecordedTask& task, trace::Care care);
  void prepare_clone(RecordedTask& task);
  void prepare_clone3(RecordedTask& task);
  void prepare_advice(RecordedTask& task);
  void prepare_personality(RecordedTask& task);
  void change_argument(RecordedTask& task, unsigned number, std::uint64_t value);
  static std::string descriptor_name(const RecordedTask& task, std::uint64_t fd);
  void refuse_mapping(RecordedTask& task);
  void put_back_untraced(const RecordedTask& task, RecordedTask& in);
  int own_output(const RecordedTask& task, std::uint64_t fd) const;
  void note_output(RecordedTask& task, const trace::CallRow& row);
  void on_call_end(RecordedTask& task);
  void put_back_arguments(RecordedTask& task, user_regs_struct& registers) const;
  void begin_call(RecordedTask& task);
  void end_call(RecordedTask& task);
  bool was_filtered(const RecordedTask& task) const;
  void note_mask(RecordedTask& task);
  // The processors that tasks may use: recorder_affinity.cc.
  void keep_affinity(RecordedTask& task, std::int64_t result);
  // What a call has changed: recorder_outputs.cc.
  void record_outputs(RecordedTask& task, std::int64_t result);
  bool digests_due(const RecordedTask& task) const;
  void record_digests(RecordedTask& task);
  // Files that tasks have mapped: recorder_files.cc.
  void record_mapping(RecordedTask& task, std::uint64_t address);
  void record_segment(RecordedTask& task, std::uint64_t address);
  void record_growth(RecordedTask& task, std::uint64_t address);
  bool follow(MappedFile& file, int fd);
  void record_object(MappedFile& file, int fd, std::uint64_t offset, std::uint64_t length,
                     bool fresh);
  void record_behind_end(const MappedFile& file, int fd, std::uint64_t from, bool fresh);
  void record_own_pages(RecordedTask& owner, std::uint64_t start, std::uint64_t end);
  void record_populated(RecordedTask& task, std::uint64_t start, std::uint64_t length);
  void record_synced(const RecordedTask& task);
  void record_file_change(RecordedTask& task, std::int64_t result);
  RecordedTask* owner_of_memory(const std::string& path);
  void record_foreign_write(const RecordedTask& task, RecordedTask& owner, std::uint64_t address,
                            std::uint64_t length);
  void record_process_write(RecordedTask& task, std::int64_t result);
  // Tasks that come, execute another program and go: recorder_tasks.cc.
  void on_new_task(RecordedTask& task);
  std::string keep_code(int fd, const std::string& path);
  KeptFiles keep_programs(const RecordedTask& task);
  static ScopedFd open_mapped(const RecordedTask& task, const process::ProcMapping& mapping);
  std::string prepare_image(RecordedTask& task);
  void end_in_exec(RecordedTask& task, pid_t caller, const trace::EventData* entered,
                   const std::vector<pid_t>& others);
  void on_exec(RecordedTask& task, pid_t former);
  struct Relinquished {                          // what a task had before execve(2)
    std::shared_ptr<ReplacedInstructions> space; // names the memory
    std::uint64_t clear_tid = 0;
    std::uint64_t robust_list = 0;
  };
  void record_relinquished(const RecordedTask& task, const Relinquished& former);
  void record_last_writes(const RecordedTask& dead, RecordedTask& survivor);
  // Robust futexes in memory that processes share: recorder_futexes.cc.
  void note_futexes(RecordedTask& task);
  void note_futexes_of_process(pid_t pid);
  void note_futexes_before_kill(const RecordedTask& task);
  void record_abandoned_futexes(const RecordedTask& dead);
  void record_shared_word(const RecordedTask& dead, const RecordedTask::SharedWord& word);
  std::vector<RecordedTask::SharedWord> abandoned_futexes(pid_t pid) const;
  static std::vector<std::uint64_t> robust_words(std::uint64_t list, process::RemoteMemory& memory);
  void leave_dying(RecordedTask& task, int signal);
  void record_end_of_leader(RecordedTask& task);
  void on_gone(RecordedTask& task, const process::TraceeStop& stop);

  // Signals, faults and preemption: recorder_signals.cc.
  bool on_signal(RecordedTask& task, int signal);
  void deliver(RecordedTask& task, const siginfo_t& info, schema::SignalCause cause,
               const std::optional<user_regs_struct>& reached);
  std::optional<user_regs_struct> take_off_entry(RecordedTask& task, user_regs_struct registers);
  void call_off(RecordedTask& task);
  static void note_pending(RecordedTask& task);
  void raise_held(RecordedTask& task);
  static void pend_blocked(RecordedTask& task);
  static void put_back_info(RecordedTask& task, siginfo_t& info);
  void pass_on(RecordedTask& task, const siginfo_t& info);
  void preempt(RecordedTask& task);
  void note_extended_registers(RecordedTask& task);

  // Tasks that recorded tasks trace, and their stops: recorder_tracees.cc.
  int way_to_run(RecordedTask& task) const;
  void stop_traced(RecordedTask& task, EmulatedTracee::Stop stop, int code, std::uint64_t message);
  void stop_at_signal(RecordedTask& task, const siginfo_t& info);
  void settle(RecordedTask& task);
  bool shows_entry(RecordedTask& task);
  bool shows_exit(RecordedTask& task);
  void leave_entry(RecordedTask& task);
  void enter_otherwise(RecordedTask& task, const user_regs_struct& wanted);
  void record_called_off(RecordedTask& task);
  void record_skipped(RecordedTask& task, user_regs_struct registers);
  bool on_traced_signal(RecordedTask& task, const user_regs_struct& registers,
                        const siginfo_t& info);
  void note_continued(pid_t process);
  bool on_end_of_group_stop(RecordedTask& task);
  void on_traced_fork(RecordedTask& task, RecordedTask& child, int event);
  void trace_stopped_group(RecordedTask& task, int signal);
  bool pass_to_task(RecordedTask& task);
  void tell_tracer(pid_t process, pid_t tracee, int code, int status);
  static void put_back_told(RecordedTask& task, siginfo_t& info);
  void on_tracee_gone(const RecordedTask& task, int status);
  void release_tracees(pid_t tracer);
  // What the tracer asks for: recorder_ptrace.cc.
  using Request = std::int64_t (Recorder::*)(RecordedTask& tracer, RecordedTask& tracee);
  struct RequestRow;
  static const RequestRow kRequests[];
  void prepare_ptrace(RecordedTask& task);
  void record_request(RecordedTask& task);
  std::int64_t be_traced(RecordedTask& task);
  std::int64_t attach_to(RecordedTask& tracer);
  std::int64_t give(RecordedTask& tracer, std::uint64_t address, std::span<const std::byte> bytes);
  static bool take(RecordedTask& tracer, std::uint64_t address, std::span<std::byte> bytes);
  static user_regs_struct shown_registers(RecordedTask& tracee);
  static void note_changed(RecordedTask& tracer, RecordedTask& tracee, bool extended);
  void go_on(RecordedTask& tracee, EmulatedTracee::Mode mode, int signal);
  void let_go(RecordedTask& tracee, int signal);
  std::int64_t resume_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t detach_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t kill_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t interrupt_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t listen_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t peek_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t poke_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t peek_user_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t poke_user_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t get_registers_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t set_registers_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t register_set_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t options_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t message_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t signal_info_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t set_signal_info_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t queued_signals_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t get_mask_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t set_mask_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t call_info_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t base_request(RecordedTask& tracer, RecordedTask& tracee);
  std::int64_t rseq_request(RecordedTask& tracer, RecordedTask& tracee);
  // How it waits: recorder_waits.cc.
  struct WaitFor;
  void prepare_wait(RecordedTask& task);
  void finish_wait(RecordedTask& task, user_regs_struct& registers);
  bool take_tracee(RecordedTask& task, const WaitFor& wanted, std::int64_t& result);
  void put_wait_result(RecordedTask& task, const WaitFor& wanted, pid_t tid, int status,
                       bool ended);
  bool waits_for_any(const WaitFor& wanted) const;
  bool kernel_would_wait(const RecordedTask& task, const WaitFor& wanted) const;
  void put_back_told_in_call(RecordedTask& task, std::int64_t result);

  // Calls that the program makes without a stop: recorder_buffer.cc.
  void make_buffer(RecordedTask& task);
  void lead_calls(RecordedTask& task, std::uint64_t start, std::uint64_t length);
  void keep_code_as_built(RecordedTask& task);
  void let_run(RecordedTask& task, int signal = 0);
  void run_on(RecordedTask& task, int signal = 0);
  void empty_buffer(RecordedTask& task, const process::TraceeStop& stop);
  bool led_back(RecordedTask& task);
  bool calls_vsyscall(RecordedTask& task);
  void record_buffered(RecordedTask& task, const buffer::BufferedCall& call);
  void lead_cpuid(RecordedTask& task, const process::ProcMapping& mapping,
                  const std::vector<buffer::CallSite>& sites,
                  const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more);
  void record_cpuid(RecordedTask& task, const buffer::BufferedCall& call);
  static void take_buffered(const buffer::CallEntry& entry, user_regs_struct& registers);
  bool leave_buffer(RecordedTask& task, bool group_stop);
  void note_memory_opened(const RecordedTask& task, std::int64_t fd);
  void note_descriptors(RecordedTask& task, std::int64_t result);
  std::uint8_t kind_of_descriptor(const RecordedTask& task, std::uint64_t fd, std::uint64_t& device,
                                  std::uint64_t& inode);
  void forbid_buffered_writes(std::uint64_t device, std::uint64_t inode);
  void prepare_confinement(RecordedTask& task);
  void note_confinement(RecordedTask& task, std::int64_t result);

  // Mappings that they have made: recorder_small_mappings.cc.
  bool show_object(const buffer::BufferedCall& call);
  MappedFile* mapped_file(const buffer::BufferedCall& call);
  void note_small_mapping(const buffer::BufferedCall& call, bool shown);
  void note_small_mappings(const RecordedTask& task);
  void follow_range(const RecordedTask& task, std::uint64_t start, std::uint64_t length);
  void follow_changed(const RecordedTask& task);
  void follow_moved(RecordedTask& task, std::uint64_t address);
  void follow_memory(const RecordedTask& task, const process::ProcMapping& mapping,
                     MappedFile& file);

  // Instructions that no replay can foresee: recorder_instructions.cc.
  void replace_in_program(RecordedTask& task);
  void prepare_new_code(RecordedTask& task, std::uint64_t start, std::uint64_t length,
                        bool writable);
  void replace_in_new_code(RecordedTask& task, std::int64_t result);
  void replace_in_range(RecordedTask& task, std::uint64_t start, std::uint64_t length, bool noted);
  void put_back(RecordedTask& task, std::uint64_t start, std::uint64_t length);
  // Code in memory that is writable and executable at once: recorder_made_code.cc.
  bool must_see_code() const;
  void watch_made_code(RecordedTask& task, std::uint64_t start, std::uint64_t length);
  void open_made_code(RecordedTask& task);
  void tell_made_code(RecordedTask& task);
  void look_through_made_code(RecordedTask& task, std::uint64_t page, std::uint64_t at);
  bool open_for_call(RecordedTask& task);
  bool open_after_call(RecordedTask& task, std::int64_t result);
  void come_anew(RecordedTask& task);
  bool on_made_code(RecordedTask& task, const user_regs_struct& registers, const siginfo_t& info);
  process::TraceeStop step(RecordedTask& task);
  bool step_over_write(RecordedTask& task, const user_regs_struct& registers);
  bool emulate(RecordedTask& task, const user_regs_struct& registers, siginfo_t& info);
  bool save_state(RecordedTask& task, const user_regs_struct& registers,
                  const ReplacedInstructions::Entry& replaced);
  void lead_saving(RecordedTask& task, const process::ProcMapping& mapping,
                   const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more);
  static bool wants_saving(const RecordedTask& task, const process::TraceeStop& stop);
  bool save_refused(RecordedTask& task, const process::TraceeStop& stop);
  void record_saved_state(RecordedTask& task, const buffer::BufferedCall& call);
  void require_fault(RecordedTask& task);
  void keep_fault_action(RecordedTask& task, int signal);

  const RecordOptions& options_;
  // One task runs at a time, and the program finds the same processor at every replay.
  const ProcessorBinding binding_{-1};
  const sigset_t inherited_mask_; // before the scheduler changes it
  const InstructionTraps traps_ = instruction_traps();
  const CpuidModel model_;
  const trace::FileCache file_cache_;
  Background background_{binding_.before()};
  CodeReplacer code_;
  capnp::MallocMessageBuilder start_; // what the trace begins with
  std::optional<EventWriter> writer_;
  Scheduler scheduler_{[this] { stop_if_told(); }};
  pid_t first_process_ = 0;
  std::optional<int> status_;
  int images_ = 0;
  MappedFiles files_;
  std::vector<EndedTracee> ended_tracees_;
  std::set<std::string> noticed_;
  std::vector<CallRange> ranges_;
  RangeDigest digest_;
  bool filtered_ = false;        // calls stop at their entry by our filter of seccomp(2)
  bool took_privileges_ = false; // PR_SET_NO_NEW_PRIVS had to be set for that
  // A task serves a file system (fuse(4)): any call with a path may wait for it, and must not keep
  // it from running.
  bool serves_files_ = false;
  Xxh3Stream64 buffered_digest_;
  // Of files, made by the calls that are being recorded.
  struct SmallMapping {
    std::uint64_t address = 0;
    std::uint64_t device = 0; // st_dev
    std::uint64_t inode = 0;
  };
  std::vector<SmallMapping> small_mappings_;
  bool maps_as_memory_ = false; // one of them was noted
  // Of the recorder's descriptors 1 and 2: where its output goes, if it is a pipe or a terminal.
  std::array<struct stat, 3> own_outputs_{};
};

} // namespace rrpcp::replay
