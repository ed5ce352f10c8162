#include "process/capture/state_collector.h"

#include "base/bytes.h"
#include "process/capture/cpu_state.h"
#include "process/capture/data_bytes.h"
#include "process/capture/process_state.h"
#include "process/capture/semaphore_undo.h"
#include "process/capture/task_state.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/settled_stop.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <capnp/any.h>
#include <cerrno>
#include <elf.h>
#include <linux/kcmp.h>
#include <linux/mempolicy.h>
#include <span>
#include <string_view>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

constexpr const char* kProducer = "org.rrpcp.process"; // spec/registry.md

// Whether two threads share a resource (kcmp(2)). Where the kernel cannot say, threads of one
// process do and others do not.
bool share(pid_t a, pid_t b, int kind, bool same_process) {
  long order = ::syscall(SYS_kcmp, a, b, kind, 0, 0);
  return order < 0 ? same_process : order == 0;
}

// Index of the table that a thread shares with one of `owners`; it becomes a new owner where there
// is none. `first` is where owners of its own process begin.
std::uint32_t find_or_add(std::vector<pid_t>& owners, std::size_t first, pid_t tid, int kind) {
  for (std::size_t i = owners.size(); i-- > 0;) {
    if (share(owners[i], tid, kind, i >= first)) {
      return static_cast<std::uint32_t>(i);
    }
  }
  owners.push_back(tid);
  return static_cast<std::uint32_t>(owners.size() - 1);
}

} // namespace

StateCollector::StateCollector(CollectorOptions options)
    : options_(std::move(options)), refusals_(options_.allow, options_.inspect_only),
      page_size_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))),
      objects_(page_size_, options_.embed_files, options_.trace_directory),
      files_(refusals_, objects_, options_.max_unlinked_bytes), spool_(options_.spool_directory) {}

StateCollector::~StateCollector() {
  for (std::size_t i = 0; i < spaces_.size(); ++i) {
    try {
      close(i);
    } catch (const Error&) {
      // The process is gone.
    }
  }
}

void StateCollector::find_sharing(const std::vector<StoppedProcess>& processes) {
  std::vector<const StoppedProcess*> sorted;
  for (const StoppedProcess& process : processes) {
    sorted.push_back(&process);
  }
  std::sort(sorted.begin(), sorted.end(), [](const StoppedProcess* a, const StoppedProcess* b) {
    return std::pair(a->logical_pid, a->pid) < std::pair(b->logical_pid, b->pid);
  });
  std::vector<pid_t> space_owners;
  for (const StoppedProcess* process : sorted) {
    const std::size_t first_space = space_owners.size();
    const std::size_t first_files = file_tables_.size();
    const std::size_t first_system = file_systems_.size();
    const std::size_t first_handlers = signal_handler_tables_.size();
    for (std::size_t i = 0; i < process->threads.size(); ++i) {
      Tracee* thread = process->threads[i];
      const pid_t tid = thread->tid();
      Task task;
      task.thread = thread;
      task.logical_tid = process->logical_tids.empty() ? 0 : process->logical_tids[i];
      task.process = static_cast<std::uint32_t>(processes_.size());
      task.space = find_or_add(space_owners, first_space, tid, KCMP_VM);
      task.file_table = find_or_add(file_tables_, first_files, tid, KCMP_FILES);
      task.file_system = find_or_add(file_systems_, first_system, tid, KCMP_FS);
      task.signal_handlers = find_or_add(signal_handler_tables_, first_handlers, tid, KCMP_SIGHAND);
      if (task.space == spaces_.size()) {
        spaces_.push_back(std::make_unique<Space>(tid, objects_, refusals_, options_.supervised));
        spaces_.back()->caller = thread;
      }
      tasks_.push_back(task);
    }
    processes_.push_back(
        {process->pid, process->logical_pid, tasks_.back().space, tasks_.back().signal_handlers});
  }
}

void StateCollector::open_return_gate(Space& space) {
  std::uint64_t stack_pointer = 0;
  for (const Task& task : tasks_) {
    if (spaces_[task.space].get() == &space && task.thread->tid() == processes_[task.process].pid) {
      stack_pointer = task.thread->registers().rsp;
    }
  }
  space.way_back = ReturnGate::open(space.collector.pid(), space.collector.mappings(),
                                    *options_.return_code, stack_pointer);
  if (space.way_back) {
    space.scratch = ScratchMemory(space.collector.pid(), *space.way_back);
  }
}

void StateCollector::open_gates() {
  for (std::unique_ptr<Space>& space : spaces_) {
    // The processes of a replay end with their replayer: nothing has to be put right then.
    if (!options_.supervised) {
      if (options_.return_code) {
        open_return_gate(*space);
      }
      space->gate = CallGate::open(space->collector.pid(), space->collector.mappings());
    }
    if (!space->gate && !space->way_back && !options_.executed) {
      space->instruction =
          find_syscall_instruction(space->collector.pid(), space->collector.mappings());
    }
  }
  for (const Task& task : tasks_) {
    Space& space = *spaces_[task.space];
    if (space.way_back && recover_thread(*task.thread, *space.way_back)) {
      space.collector.read_mappings_again();
    } else if (space.gate) {
      space.gate->recover(*task.thread);
    }
  }
}

void StateCollector::collect_frozen(const std::vector<StoppedProcess>& processes,
                                    schema::State::Builder state) {
  state.setMachine(EM_X86_64);
  state.setElfClass(ELFCLASS64);
  state.setDataEncoding(ELFDATA2LSB);
  state.initPageStream().setPageSize(static_cast<std::uint32_t>(page_size_));
  state.setProducer(kProducer);
  find_sharing(processes);
  for (std::unique_ptr<Space>& space : spaces_) {
    space->collector.collect_frozen();
  }
  open_gates();
  if (options_.at_mappings) {
    options_.at_mappings();
  }
  // What refuses the capture is known before anything is done to a thread.
  if (!options_.supervised) {
    for (pid_t owner : file_tables_) {
      files_.add_table(owner);
    }
    files_.finish();
    collect_file_systems(state);
    if (!refusals_.empty()) {
      return;
    }
  }
  state.initSignalHandlerTables(static_cast<unsigned>(signal_handler_tables_.size()));
  collect_tasks(state);
  if (!options_.supervised) {
    namespaces_.build(state);
    refusals_.add(judge_state(state.asReader()));
  }
}

void StateCollector::collect_tasks(schema::State::Builder state) {
  auto tasks = state.initTasks(static_cast<unsigned>(tasks_.size()));
  auto processes = state.initProcesses(static_cast<unsigned>(processes_.size()));
  for (unsigned i = 0; i < tasks.size(); ++i) {
    const Task& task = tasks_[i];
    Space& space = *spaces_[task.space];
    const ProcStatus status = ProcStatus::read(processes_[task.process].pid, task.thread->tid());
    schema::Task::Builder out = tasks[i];
    out.setProcess(task.process);
    out.setAddressSpace(task.space);
    out.setSignalHandlers(task.signal_handlers);
    const CallSite how = site(task.space);
    const bool first = i == 0 || tasks_[i - 1].process != task.process;
    if (options_.supervised) {
      if (options_.executed) {
        collect_executed_task(*task.thread, status, out);
      } else {
        collect_supervised_task(*task.thread, status, how, space.scratch, out);
      }
      if (first) {
        collect_command_line(task.thread->tid(), processes[task.process]);
        processes[task.process].setPid(processes_[task.process].logical_pid);
      }
      out.setTid(task.logical_tid);
      continue;
    }
    collect_own_task(task, status, first, processes[task.process], out);
  }
}

void StateCollector::collect_own_task(const Task& task, const ProcStatus& status, bool first,
                                      schema::Process::Builder process, schema::Task::Builder out) {
  Space& space = *spaces_[task.space];
  const CallSite how = site(task.space);
  const TraceeStop stop = task.thread->last_stop();
  RemoteMemory memory(status.process);
  if (!name_continued_call(*task.thread, memory)) {
    refusals_.warn(
        "thread " + std::to_string(status.thread_in_namespace) +
        " waits in a call of which cannot be told which it is (restart_syscall(2)); after "
        "a restore it fails with EINTR");
  }
  out.setFileTable(task.file_table);
  out.setFileSystemContext(task.file_system);
  const std::uint32_t namespaces = namespaces_.add(status.process, task.thread->tid());
  out.setNamespaces(namespaces);
  collect_task(*task.thread, status, how, space.scratch, out, [&](RemoteCalls& calls) {
    if (!space.attributes) {
      const schema::MemoryPolicy::Reader policy = out.getAttributes().getMemoryPolicy();
      const auto nodes =
          std::as_bytes(std::span(policy.getNodes().begin(), policy.getNodes().end()));
      space.collector.note_policy({policy.getMode(), {nodes.begin(), nodes.end()}},
                                  [&](std::uint64_t address) {
                                    return calls.call(SYS_get_mempolicy, space.scratch.address(), 0,
                                                      0, address, MPOL_F_ADDR) == 0 &&
                                           space.scratch.read<std::uint32_t>() != 0;
                                  });
      space.attributes = collect_space_attributes(calls, status, space.collector.mappings());
    }
    if (!namespaces_.foreign(namespaces, NamespaceKind::kUser)) {
      out.getAttributes().setLandlocked(landlock_.is_confined(calls, status).value_or(false));
    }
    judge_semaphores(calls, space.scratch, status,
                     namespaces_.foreign(namespaces, NamespaceKind::kInterProcess));
    if (first && namespaces_.foreign(namespaces, NamespaceKind::kHostName) &&
        calls.call(SYS_uname, space.scratch.address()) == 0) {
      const auto names = space.scratch.read<utsname>();
      namespaces_.set_names(namespaces, names.nodename, names.domainname);
    }
  });
  if (first) {
    process.adoptCredentials(out.disownCredentials());
    process.setStopSignal(stop.group_stop() ? WSTOPSIG(stop.status()) : 0);
    collect_process(*task.thread, status, how, space.scratch, refusals_, process);
  } else if (capnp::AnyStruct::Reader(process.getCredentials().asReader()) ==
             capnp::AnyStruct::Reader(out.getCredentials().asReader())) {
    out.disownCredentials();
  }
}

void StateCollector::judge_semaphores(RemoteCalls& calls, ScratchMemory& scratch,
                                      const ProcStatus& status, bool foreign) {
  const pid_t tid = status.thread;
  if (!has_undo_list(tid, landlock_.child_of(status.uids[0], status.gids[0])) ||
      std::any_of(semaphores_asked_.begin(), semaphores_asked_.end(),
                  [&](pid_t asked) { return share(asked, tid, KCMP_SYSVSEM, true); })) {
    return;
  }
  semaphores_asked_.push_back(tid);
  const SemaphoreUndo undo =
      foreign ? SemaphoreUndo::kPossible : find_semaphore_undo(calls, scratch);
  if (undo == SemaphoreUndo::kCertain) {
    refusals_.refuse_unless("semaphore-undo",
                            "semaphore operations that its end undoes (semop(2), SEM_UNDO)",
                            "they stay as they are at its end");
  } else if (undo == SemaphoreUndo::kPossible) {
    refusals_.warn(
        "there are System V semaphores of which could not be found out whether the end "
        "of the process would undo operations (semop(2), SEM_UNDO); that is not carried");
  }
}

void StateCollector::collect_file_systems(schema::State::Builder state) {
  auto contexts = state.initFileSystemContexts(static_cast<unsigned>(file_systems_.size()));
  for (unsigned i = 0; i < contexts.size(); ++i) {
    const pid_t tid = file_systems_[i];
    auto directory_of = [&](const char* link, const char* what) {
      try {
        return try_read_link(proc_path(tid, link)).value_or("");
      } catch (const Error& error) {
        if (error.errno_value() != ENAMETOOLONG) {
          throw;
        }
        refusals_.refuse(std::string("a ") + what + " whose path is too long to be opened by");
        return std::string("/");
      }
    };
    const std::string directory = directory_of("cwd", "working directory");
    const std::string root = directory_of("root", "root directory");
    if (!directory.starts_with('/') || directory.ends_with(" (deleted)")) {
      refusals_.refuse_unless("deleted-file",
                              "the working directory " + directory + ", which is gone",
                              "a restore begins in the root directory");
      contexts[i].setWorkingDirectory(as_data("/"));
    } else {
      contexts[i].setWorkingDirectory(as_data(directory));
    }
    contexts[i].setRootDirectory(as_data(root.empty() ? "/" : root));
    contexts[i].setUmask(ProcStatus::read(tid, tid).umask);
  }
}

CallSite StateCollector::site(std::size_t space) {
  return site_for(*spaces_[space], *spaces_[space]->caller);
}

CallSite StateCollector::site_for(Space& space, const Tracee& thread) {
  if (space.copy != 0 && thread.tid() == space.copy) {
    return {space.copy_way_back ? &*space.copy_way_back : nullptr,
            space.copy_gate ? &*space.copy_gate : nullptr, space.instruction};
  }
  return {space.way_back ? &*space.way_back : nullptr, space.gate ? &*space.gate : nullptr,
          space.instruction};
}

void StateCollector::use_copy(std::size_t space, pid_t pid) {
  Space& of = *spaces_[space];
  of.copy = pid;
  if (of.way_back) {
    of.copy_way_back.emplace(of.way_back->of_copy(pid));
  }
  if (of.gate) {
    of.copy_gate.emplace(of.gate->of_copy(pid));
  }
  of.copy_scratch.emplace(of.scratch.of_copy(pid));
}

void StateCollector::set_aside(std::size_t space, const std::vector<AddressRange>& wiped) {
  Space& of = *spaces_[space];
  for (const AddressRange& range : wiped) {
    of.collector.set_aside(range, spool_);
  }
  of.collector.set_aside_missing(of.copy, spool_);
  set_aside_shared();
}

bool StateCollector::examine_before(const MemoryReport& report) {
  if (spaces_.size() != 1 || !spaces_.front()->collector.examine_before(report)) {
    return false;
  }
  number_objects();
  return true;
}

void StateCollector::close_and_set_aside(const std::function<void()>& until_read) {
  Space& space = *spaces_.front();
  AddressRange ours{0, 0};
  if (space.way_back) {
    ours.start = space.way_back->results();
    ours.end = ours.start + space.way_back->size();
  }
  close(0);
  space.collector.read_aside();
  until_read();
  space.collector.finish_aside(ours);
  set_aside_shared();
}

void StateCollector::set_aside_shared() {
  if (!std::exchange(shared_set_aside_, true)) {
    for (const std::string& name : objects_.set_aside(spool_)) {
      refusals_.warn(name + " is mapped shared and is too large to be digested while the process "
                            "stands still; only its size and time will be compared");
    }
  }
}

void StateCollector::ask(std::size_t process, Tracee& thread, schema::State::Builder state) {
  Space& space = *spaces_[processes_[process].space];
  if (options_.executed) {
    const std::uint64_t ignored = ProcStatus::read(processes_[process].pid, thread.tid()).ignored;
    describe_ignored_signals(ignored,
                             state.getSignalHandlerTables()[processes_[process].signal_handlers]);
    space.brk = ProcStat::read(processes_[process].pid).start_brk; // the heap is empty
    return;
  }
  const bool is_copy = space.copy != 0 && thread.tid() == space.copy;
  ScratchMemory& scratch = is_copy ? *space.copy_scratch : space.scratch;
  RemoteCalls calls = site_for(space, thread).begin(thread);
  collect_signal_handlers(calls, scratch,
                          state.getSignalHandlerTables()[processes_[process].signal_handlers]);
  space.brk = calls.require("asking for the end of the heap", SYS_brk, 0);
  constexpr std::uint64_t kReadTable = 0;
  if (calls.call(SYS_modify_ldt, kReadTable, scratch.address(), 8) > 0) {
    refusals_.refuse("a local descriptor table (modify_ldt(2))");
  }
  calls.finish();
}

void StateCollector::close(std::size_t space) {
  Space& of = *spaces_[space];
  if (of.scratch.mapped() && of.caller->attached() && of.caller->stopped()) {
    RemoteCalls calls = site(space).begin(*of.caller);
    of.scratch.unmap(calls);
    calls.finish();
  }
  if (of.way_back) {
    of.way_back->close();
    of.way_back.reset();
  }
  if (of.gate) {
    of.gate->close();
    of.gate.reset();
  }
}

void StateCollector::close_copy(std::size_t space, Tracee& thread) {
  Space& of = *spaces_[space];
  if (of.copy_scratch->mapped()) {
    RemoteCalls calls = site_for(of, thread).begin(thread);
    of.copy_scratch->unmap(calls);
    calls.finish();
  }
  if (of.copy_way_back) {
    of.copy_way_back->close();
    of.copy_way_back.reset();
  }
  if (of.copy_gate) {
    of.copy_gate->close();
    of.copy_gate.reset();
  }
}

std::vector<std::vector<AddressRange>> StateCollector::examine() {
  std::vector<std::vector<AddressRange>> wiped;
  for (std::unique_ptr<Space>& space : spaces_) {
    pid_t source = space->copy != 0 ? space->copy : space->collector.pid();
    wiped.push_back(space->collector.examine(source));
  }
  number_objects();
  return wiped;
}

void StateCollector::number_objects() {
  std::vector<std::uint32_t> order;
  std::vector<std::uint32_t> numbers(objects_.size(), schema::NO_INDEX);
  auto meet = [&](std::uint32_t& object) {
    if (numbers[object] == schema::NO_INDEX) {
      numbers[object] = static_cast<std::uint32_t>(order.size());
      order.push_back(object);
    }
  };
  auto renumber = [&](std::uint32_t& object) { object = numbers[object]; };
  for (const std::function<void(std::uint32_t&)>& visit :
       {std::function<void(std::uint32_t&)>(meet), std::function<void(std::uint32_t&)>(renumber)}) {
    for (std::unique_ptr<Space>& space : spaces_) {
      space->collector.visit_objects(visit);
    }
    files_.visit_objects(visit);
  }
  objects_.reorder(order);
}

std::uint64_t StateCollector::touched_bytes() {
  std::uint64_t bytes = 0;
  for (std::unique_ptr<Space>& space : spaces_) {
    bytes += space->collector.touched_bytes();
  }
  for (std::uint32_t i = 0; i < objects_.size(); ++i) {
    if (objects_[i].storage == MemoryObject::Storage::kWhole) {
      bytes += std::min(objects_[i].allocated, objects_[i].length);
    }
  }
  return bytes;
}

std::optional<std::uint32_t> StateCollector::base_space(std::size_t space) const {
  if (options_.base == nullptr) {
    return std::nullopt;
  }
  for (const Process& process : processes_) {
    if (process.space == space) {
      const pid_t pid = process.logical_pid != 0 ? process.logical_pid : process.pid;
      return options_.base->space_of_process(pid);
    }
  }
  return std::nullopt;
}

std::optional<BaseArea> StateCollector::base_object(std::uint32_t object) const {
  for (std::size_t i = 0; i < spaces_.size(); ++i) {
    const std::optional<std::uint32_t> space = base_space(i);
    const auto place = space ? spaces_[i]->collector.place_of(object) : std::nullopt;
    const auto in_base = place ? options_.base->object_at(*space, place->first) : std::nullopt;
    if (in_base && in_base->second == place->second) {
      return BaseArea{true, in_base->first, 0};
    }
  }
  return std::nullopt;
}

void StateCollector::write_object(MemoryObject& object, PagePump& out,
                                  std::optional<BaseArea> in_base) {
  if (object.storage == MemoryObject::Storage::kByReference) {
    return;
  }
  const schema::RunKind rest = object.storage == MemoryObject::Storage::kUsed
                                   ? schema::RunKind::BACKING
                                   : schema::RunKind::ZERO;
  const std::uint64_t end = align_up(object.length, page_size_);
  std::uint64_t at = 0;
  out.begin(&object.runs, in_base);
  auto skip_to = [&](std::uint64_t offset) {
    out.gap(rest, (offset - at) / page_size_);
    at = offset;
  };
  // The part of a range that was not written yet and lies in the object.
  auto cut = [&](const PlacedRange& placed) {
    PlacedRange part = placed;
    const std::uint64_t skip = at > part.range.offset ? at - part.range.offset : 0;
    const std::uint64_t last = std::min(part.range.offset + part.range.length, end);
    part.range.offset += skip;
    part.place += skip;
    part.range.length = last > part.range.offset ? last - part.range.offset : 0;
    return part;
  };
  if (object.spooled) {
    for (const PlacedRange& placed : *object.spooled) {
      if (PlacedRange part = cut(placed); part.range.length > 0) {
        skip_to(part.range.offset);
        out.file(spool_.fd(), part.place, part.range.length, "pages set aside");
        at += part.range.length;
      }
    }
  } else if (object.content) {
    for (const ObjectRange& range : objects_.data_ranges(object)) {
      skip_to(range.offset);
      out.file(object.content.get(), range.offset, range.length, object.name, object.length);
      at += range.length;
    }
  } else {
    const auto memory = std::make_shared<RemoteMemory>(object.mapped_in);
    sort_by_offset(object.mapped);
    for (const PlacedRange& placed : object.mapped) {
      if (PlacedRange part = cut(placed); part.range.length > 0) {
        skip_to(part.range.offset);
        out.remote(memory, part.place, part.range.length);
        at += part.range.length;
      }
    }
    out.flush();
  }
  skip_to(end);
}

std::uint64_t StateCollector::write_pages(CheckpointWriter& writer,
                                          const std::function<void(std::uint64_t)>& progress) {
  PagePump pump(writer, progress, options_.base);
  for (std::size_t i = 0; i < spaces_.size(); ++i) {
    spaces_[i]->collector.read_pages(spool_, pump, base_space(i));
  }
  for (std::uint32_t i = 0; i < objects_.size(); ++i) {
    write_object(objects_[i], pump, base_object(i));
  }
  pump.flush();
  return pump.bytes();
}

void StateCollector::build(std::int64_t frozen_at, schema::State::Builder state) {
  for (const std::string& name : objects_.digest_files(frozen_at, options_.known_digests)) {
    refusals_.warn(name + " was written to while it was captured; a restore may find it changed");
  }
  auto spaces = state.initAddressSpaces(static_cast<unsigned>(spaces_.size()));
  for (unsigned i = 0; i < spaces.size(); ++i) {
    spaces_[i]->collector.build(spaces_[i]->brk, spaces[i]);
    if (spaces_[i]->attributes) {
      spaces_[i]->attributes->build(spaces[i].initAttributes());
    }
  }
  objects_.build(state);
  if (options_.base != nullptr) {
    options_.base->list_bases(state);
  }
  if (!options_.supervised) {
    files_.build(state);
  }
  if (!spaces_.empty()) {
    collect_cpu(state.asReader(), spaces_.front()->collector.auxv(), state.initCpu());
  }
  if (!options_.supervised) {
    refusals_.add(judge_state(state.asReader()));
    refusals_.build(state);
  }
}

std::size_t StateCollector::mapping_count() const {
  std::size_t count = 0;
  for (const std::unique_ptr<Space>& space : spaces_) {
    count += space->collector.mapping_count();
  }
  return count;
}

} // namespace rrpcp::process::capture
