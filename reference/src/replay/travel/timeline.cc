#include "rrpcp/replay/timeline.h"

#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/checkpoint/session_checkpoint.h"
#include "replay/checkpoint/start_session.h"
#include "replay/travel/diverted.h"
#include "replay/travel/traveller.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <sys/auxv.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <utility>

namespace rrpcp {

using replay::EventFacts;
using replay::Moment;
using replay::ReplaySession;
using replay::TaskState;
using replay::Traveller;

struct Timeline::Impl {
  struct Checkpoint {
    Place place = {};
    std::unique_ptr<replay::KeptState> state = {}; // its place is not counted yet
  };

  Traveller traveller;
  std::map<std::uint64_t, Checkpoint> checkpoints = {};
  std::uint64_t latest_checkpoint = 0;

  ReplaySession& session() { return traveller.session(); }

  Checkpoint& checkpoint(std::uint64_t number) {
    const auto found = checkpoints.find(number);
    if (found == checkpoints.end()) {
      throw Error(ErrorCode::kNotFound, "there is no checkpoint " + std::to_string(number));
    }
    return found->second;
  }

  // Any task of a process.
  pid_t task_of(std::int32_t pid) {
    for (const TaskState& task : session().state().tasks) {
      if (task.pid == pid || (pid == 0 && task.tid == session().runner())) {
        return task.tid;
      }
    }
    throw Error(ErrorCode::kInvalidArgument,
                "there is no process " + std::to_string(pid) + " here");
  }
  void check_task(std::int32_t tid) {
    if (session().state().find_task(tid) == nullptr) {
      throw Error(ErrorCode::kInvalidArgument, "there is no task " + std::to_string(tid) + " here");
    }
  }
};

Timeline::Timeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Timeline::Timeline(Timeline&&) noexcept = default;
Timeline& Timeline::operator=(Timeline&&) noexcept = default;
Timeline::~Timeline() = default;

Timeline Timeline::open(const std::string& trace_directory, TimelineSettings settings,
                        std::int64_t target) {
  return Timeline(
      std::unique_ptr<Impl>(new Impl{Traveller(trace_directory, std::move(settings), target)}));
}

const TraceReader& Timeline::trace() const {
  return impl_->traveller.trace();
}

Place Timeline::here() {
  return impl_->traveller.here();
}

std::int64_t Timeline::event() const {
  return impl_->traveller.event();
}

Place Timeline::start() const {
  return impl_->traveller.start();
}

Place Timeline::end() const {
  return impl_->traveller.end();
}

std::uint64_t Timeline::elapsed_time() const {
  Traveller& traveller = impl_->traveller;
  return traveller.index().facts(std::max<std::int64_t>(event() - 1, 1)).time;
}

std::uint64_t Timeline::absolute_time() const {
  return static_cast<std::uint64_t>(trace().start().getStartedAt()) + elapsed_time();
}

std::vector<TimelineProcess> Timeline::processes() const {
  std::vector<TimelineProcess> list;
  for (const replay::ProcessState& process : impl_->session().state().processes) {
    TimelineProcess out;
    out.pid = process.pid;
    out.parent = process.parent;
    out.executable = process.executable;
    for (schema::TraceFile::Reader file : trace().files()) {
      const auto path = file.getPath();
      if (std::string_view(reinterpret_cast<const char*>(path.begin()), path.size()) ==
          process.executable) {
        const auto kept = file.getStored().getPath();
        out.kept_executable = trace().directory() + "/" +
                              std::string(reinterpret_cast<const char*>(kept.begin()), kept.size());
      }
    }
    list.push_back(std::move(out));
  }
  return list;
}

std::vector<TimelineTask> Timeline::tasks() const {
  std::vector<TimelineTask> list;
  ReplaySession& session = impl_->session();
  for (const TaskState& task : session.state().tasks) {
    TimelineTask out{task.tid, task.pid, task.ticks, task.in_call, {}};
    const pid_t real = session.tracee(task.tid).tid();
    if (std::optional<std::string> name = process::try_read_file(
            process::proc_task_path(session.real_process(task.tid), real, "comm"))) {
      while (!name->empty() && name->back() == '\n') {
        name->pop_back();
      }
      out.name = *name;
    }
    list.push_back(std::move(out));
  }
  return list;
}

std::int32_t Timeline::current_task() const {
  const pid_t runner = impl_->session().runner();
  const std::vector<TaskState>& tasks = impl_->session().state().tasks;
  return runner != 0 || tasks.empty() ? runner : tasks.front().tid;
}

std::optional<std::vector<std::byte>> Timeline::registers(std::int32_t tid,
                                                          std::uint32_t note_type) const {
  impl_->check_task(tid);
  std::optional<std::vector<std::byte>> bytes =
      impl_->session().tracee(tid).register_set(note_type);
  if (bytes && note_type == NT_PRSTATUS && bytes->size() == sizeof(user_regs_struct)) {
    // What a debugger leaves in the flags (TF, RF) is not the program's.
    user_regs_struct registers;
    std::memcpy(&registers, bytes->data(), sizeof registers);
    constexpr unsigned long long kDebuggerFlags = (1u << 8) | (1u << 16);
    registers.eflags &= ~kDebuggerFlags;
    std::memcpy(bytes->data(), &registers, sizeof registers);
  }
  return bytes;
}

std::size_t Timeline::read_memory(std::int32_t pid, std::uint64_t address,
                                  std::span<std::byte> out) const {
  return impl_->session().memory(impl_->task_of(pid)).read_some(address, out);
}

std::vector<TimelineMapping> Timeline::mappings(std::int32_t pid) const {
  ReplaySession& session = impl_->session();
  const std::string directory = std::filesystem::canonical(trace().directory()).string() + "/";
  std::map<std::string, std::string> kept;
  for (schema::TraceFile::Reader file : trace().files()) {
    const auto path = file.getPath();
    const auto stored = file.getStored().getPath();
    kept[directory + std::string(reinterpret_cast<const char*>(stored.begin()), stored.size())] =
        std::string(reinterpret_cast<const char*>(path.begin()), path.size());
  }
  std::vector<TimelineMapping> list;
  for (const process::ProcMapping& mapping :
       process::read_mappings(session.real_process(impl_->task_of(pid)))) {
    TimelineMapping out{mapping.start, mapping.end, static_cast<int>(mapping.protection),
                        mapping.offset, mapping.name};
    if (auto found = kept.find(mapping.name); found != kept.end()) {
      out.name = found->second;
    } else if (constexpr std::string_view kObject = "/memfd:pcp-rr:";
               mapping.name.rfind(kObject, 0) == 0) {
      const std::uint64_t number =
          std::strtoull(mapping.name.c_str() + kObject.size(), nullptr, 10);
      for (const replay::ObjectState& object : session.state().objects) {
        out.name = object.number == number ? object.path : out.name;
      }
    }
    list.push_back(std::move(out));
  }
  return list;
}

// Of the image of the latest execve(2) that the process, or the one it was forked from, made.
std::vector<std::byte> Timeline::auxiliary_vector(std::int32_t pid) const {
  const pid_t tid = impl_->task_of(pid);
  pid = impl_->session().state().find_task(tid)->pid;
  std::int64_t image = 0;
  const TaskTable table = trace().tasks();
  std::int64_t before = event();
  for (int depth = 0; depth < 1000 && image == 0; ++depth) {
    const TaskRecord* leader = nullptr;
    for (const TaskRecord& task : table) {
      if (task.pid == pid && task.first_event <= before &&
          (leader == nullptr || task.tid == task.pid)) {
        leader = &task;
      }
    }
    if (leader == nullptr) {
      return {};
    }
    for (const TaskExecution& execution : leader->executions) {
      if (execution.event < before) {
        image = execution.event;
      }
    }
    before = std::min(before, leader->first_event);
    pid = leader->parent_pid;
  }
  if (image == 0) {
    return {};
  }
  EventReader events = trace().events(image);
  if (events.at_end() || !events.event().isExec()) {
    return {};
  }
  const CheckpointReader reader = CheckpointReader::open(
      trace().directory() + "/" + std::string(events.event().getExec().getImage().cStr()));
  std::vector<std::uint64_t> words;
  for (schema::AuxiliaryEntry::Reader entry : reader.state().getAddressSpaces()[0].getAuxv()) {
    // The vDSO of a program that is recorded has no functions: nobody needs to look for it.
    words.push_back(entry.getType() == AT_SYSINFO_EHDR ? AT_IGNORE : entry.getType());
    words.push_back(entry.getValue());
  }
  words.push_back(0);
  words.push_back(0);
  const auto bytes = std::as_bytes(std::span(words));
  return {bytes.begin(), bytes.end()};
}

std::array<std::byte, 128> Timeline::signal_info(std::int32_t tid) const {
  impl_->check_task(tid);
  ReplaySession& session = impl_->session();
  std::array<std::byte, 128> out{};
  if (impl_->traveller.now().is_arrived() && session.runner() == tid) {
    const trace::EventData& event = session.current();
    if (event.kind == trace::EventKind::kSignal) {
      const std::span<const std::byte> info = event.bytes(event.signal_info);
      std::copy_n(info.begin(), std::min(info.size(), out.size()), out.begin());
      return out;
    }
    if (event.kind == trace::EventKind::kExit && WIFSIGNALED(event.status)) {
      siginfo_t info{};
      if (event.registers && session.tracee(tid).last_stop().signal() == WTERMSIG(event.status)) {
        info = session.tracee(tid).signal_info();
      }
      info.si_signo = WTERMSIG(event.status);
      std::memcpy(out.data(), &info, std::min(sizeof info, out.size()));
      return out;
    }
  }
  return session.state().last_signal;
}

BreakpointId Timeline::add(Breakpoint breakpoint) {
  constexpr std::uint64_t kMostWatched = 64;
  if (breakpoint.length < 1 || breakpoint.length > kMostWatched) {
    throw Error(ErrorCode::kInvalidArgument, "1 to 64 bytes can be watched at once");
  }
  const BreakpointId id = impl_->traveller.next_breakpoint();
  impl_->traveller.breakpoints()[id] = std::move(breakpoint);
  return id;
}

bool Timeline::remove(BreakpointId breakpoint) {
  return impl_->traveller.breakpoints().erase(breakpoint) != 0;
}

Stop Timeline::run(Direction direction, const RunSettings& settings) {
  if (settings.step != 0) {
    impl_->check_task(settings.step);
  }
  return impl_->traveller.run(direction, settings);
}

void Timeline::go_to(const Place& place) {
  impl_->traveller.go_to(place);
}

std::uint64_t Timeline::make_checkpoint() {
  Traveller& traveller = impl_->traveller;
  traveller.session();
  Impl::Checkpoint made;
  made.state = traveller.keep_uncounted();
  if (!made.state) {
    made.place = here();
    traveller.keep(made.place);
  }
  impl_->checkpoints[++impl_->latest_checkpoint] = std::move(made);
  return impl_->latest_checkpoint;
}

std::vector<TimelineCheckpoint> Timeline::checkpoints() {
  std::vector<TimelineCheckpoint> list;
  for (const auto& [number, checkpoint] : impl_->checkpoints) {
    list.push_back({number, place_of_checkpoint(number)});
  }
  return list;
}

Place Timeline::place_of_checkpoint(std::uint64_t number) {
  Impl::Checkpoint& checkpoint = impl_->checkpoint(number);
  if (checkpoint.state) {
    Traveller& traveller = impl_->traveller;
    const std::unique_ptr<replay::KeptState> back = traveller.keep_uncounted();
    const Place place = back ? Place{} : here();
    traveller.go_to(*checkpoint.state);
    checkpoint.place = here();
    traveller.keep(checkpoint.place);
    checkpoint.state.reset();
    if (back) {
      traveller.go_to(*back);
    } else {
      traveller.go_to(place);
    }
  }
  return checkpoint.place;
}

void Timeline::forget_checkpoint(std::uint64_t number) {
  const Impl::Checkpoint& checkpoint = impl_->checkpoint(number);
  if (!checkpoint.state) {
    impl_->traveller.release(checkpoint.place);
  }
  impl_->checkpoints.erase(number);
}

void Timeline::go_to_checkpoint(std::uint64_t number) {
  const Impl::Checkpoint& checkpoint = impl_->checkpoint(number);
  if (checkpoint.state) {
    impl_->traveller.go_to(*checkpoint.state);
  } else {
    impl_->traveller.go_to(checkpoint.place);
  }
}

std::string Timeline::store(const WriterOptions& options) {
  const Place place = here();
  if (place.arrived()) {
    throw Error(ErrorCode::kUnsupportedState,
                "the task has come to event " + std::to_string(place.event) +
                    ", which is about to take effect: no checkpoint can be stored there")
        .with_hint("step to one of its instructions first");
  }
  const std::string path = impl_->traveller.store(place, options);
  impl_->traveller.look_for_stored();
  return path;
}

std::vector<StoredCheckpoint> Timeline::stored_checkpoints() const {
  return impl_->traveller.stored();
}

Diversion Timeline::divert() {
  return replay::make_diversion(impl_->traveller);
}

TimelineCosts Timeline::costs() const {
  return impl_->traveller.costs();
}

} // namespace rrpcp
