// The state of stopped processes as a checkpoint describes it.
#pragma once

#include "process/call_gate.h"
#include "process/capture/address_space.h"
#include "process/capture/landlock_probe.h"
#include "process/capture/memory_objects.h"
#include "process/capture/namespace_table.h"
#include "process/capture/open_files.h"
#include "process/capture/page_pump.h"
#include "process/capture/page_spool.h"
#include "process/capture/refusals.h"
#include "process/capture/scratch_memory.h"
#include "process/capture/space_attributes.h"
#include "process/return_gate.h"
#include "process/tracee.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/schema/state.capnp.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

// A process all of whose threads are in event stops of the calling thread, with
// PTRACE_O_TRACESYSGOOD.
struct StoppedProcess {
  pid_t pid = 0;
  // The main thread first (where it still lives), then by id. They outlive the collector.
  std::vector<Tracee*> threads;
  // Under a replayer: the ids that the program itself sees, of the process and of each of
  // `threads`, which are in their order then. 0 and empty: the ids that the kernel gave.
  pid_t logical_pid = 0;
  std::vector<pid_t> logical_tids = {};
};

struct CollectorOptions {
  AllowList allow = {};
  bool inspect_only = false;
  std::uint64_t max_unlinked_bytes = 0;
  bool embed_files = false;
  // Where pages are set aside that a copy of a process does not have.
  std::string spool_directory = {};
  // The processes are those of a replay: their system calls are answered by a replayer. So what
  // they have of descriptors, directories, timers, pending signals, credentials, limits and
  // relatives is not the program's, and is left out.
  bool supervised = false;
  // With `supervised`: each process stands at the end of its execve(2), which resets what threads
  // would have to be asked for by calls of their own (execve(2), "Effect on process attributes").
  bool executed = false;
  // What the ReturnGate of each process needs, found before the processes were stopped. Nothing:
  // other ways are taken.
  std::optional<ReturnCode> return_code = {};
  // Directory of the trace that the checkpoint will be bound to: files in it are named relative to
  // it. Empty: none.
  std::string trace_directory = {};
  // What pages are compared with, so that those which it holds at their place are not stored again;
  // must outlive the collector. The writer's header fields have base_runs then. May be null.
  BaseMemory* base = nullptr;
  // Digests of files that are not stored. May be empty.
  KnownDigests known_digests = {};
  // Called by collect_frozen() when the mappings are known and before a thread is made to do
  // anything: what takes long can be begun in another thread. May be empty.
  std::function<void()> at_mappings = {};
};

// Fills a State from processes that somebody else has stopped and will let go on: it neither
// attaches to anything nor makes copies of processes. What processes share (address spaces,
// descriptor tables, memory objects, …) is found and stored once.
//
// There are two ways to use it. With the processes standing still all the time:
//
//   collector.collect_frozen(processes, state);
//   for each process: collector.ask(process, a thread of it, state);
//   for each space: collector.close(space);
//   collector.examine();
//   collector.refusals().throw_if_any(…);
//   collector.write_pages(writer, …);
//   collector.build(…, state);
//
// With copies (fork(2)) of the processes, so that they may go on:
//
//   collector.collect_frozen(processes, state);
//   for each space: make a copy by way of caller(space) and site(space); use_copy(space, its pid);
//     set_aside(space, …);
//     close(space);
//   here the processes may go on
//   for each process: ask(process, the copy's thread, state);
//   for each space: close_copy(space, the copy's thread);
//   and on as above.
//
// Use from the tracing thread.
class StateCollector {
public:
  explicit StateCollector(CollectorOptions options);
  StateCollector(const StateCollector&) = delete;
  StateCollector& operator=(const StateCollector&) = delete;
  ~StateCollector();

  // Before the processes are stopped: makes ready what is asked of threads of this user.
  void expect_user(std::uint32_t uid, std::uint32_t gid) { landlock_.child_of(uid, gid); }
  // What has to be read while the processes stand still: tasks, processes, files, mappings. `state`
  // must be empty. Returns early, with nothing done to any thread, where refusals() has something
  // already; but a thread that stands where the calls of a killed tracer have left it is made as
  // it was before. Throws Error.
  void collect_frozen(const std::vector<StoppedProcess>& processes, schema::State::Builder state);

  // Processes are numbered by pid as State.processes has them, spaces as State.addressSpaces.
  std::size_t process_count() const { return processes_.size(); }
  std::size_t space_count() const { return spaces_.size(); }
  std::size_t space_of(std::size_t process) const { return processes_[process].space; }
  // Of the process's address space, before collect_frozen() is done with it nothing.
  AddressSpaceCollector& space(std::size_t index) { return spaces_[index]->collector; }
  // A stopped thread in a space, and how it makes system calls; until close().
  Tracee& caller(std::size_t space) { return *spaces_[space]->caller; }
  CallSite site(std::size_t space);

  // Everything of a space is read from `pid`, a copy of its process, from now on.
  void use_copy(std::size_t space, pid_t pid);
  // Sets aside what a copy does not have: memory that is not copied, `wiped`, ranges that a copy
  // has without their contents, and, with the first space, shared memory.
  void set_aside(std::size_t space, const std::vector<AddressRange>& wiped);
  // Instead of a copy of the only space, of which it is known what was written (note_unwritten()):
  // takes what every mapping is from `report`, which was made before the process stood still. False
  // where that is not about the mappings of now: nothing was done. Else ask(),
  // close_and_set_aside() instead of close(), which returns when all is set aside that has to be
  // stored, and the process may go on; examine() is done.
  bool examine_before(const MemoryReport& report);
  // `until_read` waits for other threads that are in read_aside() of the space.
  void close_and_set_aside(const std::function<void()>& until_read);
  // The space of the base that had the memory of one of these; nothing without a base.
  std::optional<std::uint32_t> base_space(std::size_t space) const;
  // Asks `thread`, which belongs to a process or to its copy, for signal handlers and the end of
  // the heap.
  void ask(std::size_t process, Tracee& thread, schema::State::Builder state);
  // Removes every trace of us from a space; from a copy of it.
  void close(std::size_t space);
  void close_copy(std::size_t space, Tracee& thread);

  // Reads what every mapping is. Returns, by space, ranges that a copy has without their contents
  // and that were not set aside: where there are any, all has to be done once more with these in
  // set_aside().
  std::vector<std::vector<AddressRange>> examine();
  Refusals& refusals() { return refusals_; }

  // About how many bytes of pages there are to read.
  std::uint64_t touched_bytes();
  // Writes the pages of all spaces and objects. Returns how many bytes were read.
  std::uint64_t write_pages(CheckpointWriter& writer,
                            const std::function<void(std::uint64_t)>& progress);
  // Digests backing files and sets what is left of the state. `frozen_at`: when the processes were
  // stopped, in nanoseconds since 1970.
  void build(std::int64_t frozen_at, schema::State::Builder state);

  std::size_t mapping_count() const;

private:
  struct Space {
    Space(pid_t pid, ObjectTable& objects, Refusals& refusals, bool join)
        : collector(pid, objects, refusals, join), scratch(pid) {}

    AddressSpaceCollector collector;
    Tracee* caller = nullptr;
    std::optional<ReturnGate> way_back;
    std::optional<CallGate> gate;
    std::optional<std::uint64_t> instruction;
    ScratchMemory scratch;
    // Of a copy; 0 without one.
    pid_t copy = 0;
    std::optional<ReturnGate> copy_way_back;
    std::optional<CallGate> copy_gate;
    std::optional<ScratchMemory> copy_scratch;
    std::uint64_t brk = 0;
    std::optional<SpaceAttributes> attributes;
  };

  // A thread and the indices of what it shares with others.
  struct Task {
    Tracee* thread = nullptr;
    pid_t logical_tid = 0;
    std::uint32_t process = 0;
    std::uint32_t space = 0;
    std::uint32_t file_table = 0;
    std::uint32_t file_system = 0;
    std::uint32_t signal_handlers = 0;
  };

  struct Process {
    pid_t pid = 0;
    pid_t logical_pid = 0;
    std::uint32_t space = 0;
    std::uint32_t signal_handlers = 0;
  };

  // Numbers the memory objects in the order in which a reader meets them (spec/model.md).
  void number_objects();
  void find_sharing(const std::vector<StoppedProcess>& processes);
  // Looks for a way by which the threads of each space make calls for us.
  void open_gates();
  void open_return_gate(Space& space);
  void collect_tasks(schema::State::Builder state);
  void collect_own_task(const Task& task, const ProcStatus& status, bool first,
                        schema::Process::Builder process, schema::Task::Builder out);
  // Refuses or tells what the end of the thread's process would undo of semaphores.
  void judge_semaphores(RemoteCalls& calls, ScratchMemory& scratch, const ProcStatus& status,
                        bool foreign);
  void collect_file_systems(schema::State::Builder state);
  void write_object(MemoryObject& object, PagePump& out, std::optional<BaseArea> in_base);
  // A place in the base.
  std::optional<BaseArea> base_object(std::uint32_t object) const;
  CallSite site_for(Space& space, const Tracee& thread);

  CollectorOptions options_;
  Refusals refusals_;
  NamespaceTable namespaces_;
  LandlockProbe landlock_;
  std::vector<pid_t> semaphores_asked_; // threads with lists of their own
  std::uint64_t page_size_;
  ObjectTable objects_;
  OpenFileTable files_;
  PageSpool spool_;
  std::vector<Task> tasks_;
  std::vector<Process> processes_;
  std::vector<std::unique_ptr<Space>> spaces_;
  // A thread of each table, by whose id it is asked for.
  std::vector<pid_t> file_tables_;
  std::vector<pid_t> file_systems_;
  std::vector<pid_t> signal_handler_tables_;
  void set_aside_shared();

  bool shared_set_aside_ = false;
};

} // namespace rrpcp::process::capture
