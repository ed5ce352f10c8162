#include "rrpcp/replay/replay.h"

#include "replay/checkpoint/instruction_steps.h"
#include "replay/checkpoint/session_checkpoint.h"
#include "replay/checkpoint/start_session.h"
#include "rrpcp/error.h"

#include <utility>

namespace rrpcp {

using replay::ReplaySession;

struct Replay::Impl {
  std::string directory;
  ReplaySettings settings;
  replay::StartedSession started;
  // What is written on the way to the target of a seek was seen before.
  bool quiet = true;
  bool between = false;

  ReplaySession& session() { return *started.session; }

  void start(std::int64_t target) {
    started = {}; // its processes end first
    replay::StartOptions start;
    start.target = target;
    start.ignore_checkpoints = settings.ignore_checkpoints;
    start.warn = settings.warn;
    replay::ReplayOptions options;
    options.warn = settings.warn;
    options.verify = settings.verify;
    options.output = [this](int descriptor, std::span<const std::byte> bytes) {
      if (!quiet && settings.output) {
        settings.output(descriptor, bytes);
      }
    };
    quiet = true;
    between = false;
    started = replay::start_session(directory, options, start);
    session().run_to(target);
    quiet = false;
  }

  void check_target(std::int64_t event) {
    const std::int64_t count = TraceReader::open(directory).event_count();
    if (event < 1 || event > count + 1) {
      throw Error(ErrorCode::kInvalidArgument, "the trace has no event " + std::to_string(event) +
                                                   ": its events are 1 to " + std::to_string(count))
          .in_file(directory);
    }
  }
};

Replay::Replay(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Replay::Replay(Replay&&) noexcept = default;
Replay& Replay::operator=(Replay&&) noexcept = default;
Replay::~Replay() = default;

Replay Replay::open(const std::string& trace_directory, const ReplaySettings& settings,
                    std::int64_t target) {
  auto impl = std::make_unique<Impl>();
  impl->directory = trace_directory;
  impl->settings = settings;
  impl->check_target(target);
  impl->start(target);
  return Replay(std::move(impl));
}

const TraceReader& Replay::trace() const {
  return impl_->session().trace();
}

std::int64_t Replay::event() const {
  return impl_->session().event();
}

bool Replay::at_end() const {
  return impl_->session().at_end();
}

std::uint64_t Replay::comparisons() const {
  return impl_->session().comparisons();
}

std::int32_t Replay::current_task() const {
  const ReplaySession& session = impl_->session();
  return session.at_end() || session.state().tasks.empty() ? 0 : session.current().task;
}

std::vector<ReplayTaskInfo> Replay::tasks() const {
  std::vector<ReplayTaskInfo> tasks;
  for (const replay::TaskState& task : impl_->session().state().tasks) {
    tasks.push_back({task.tid, task.pid, task.ticks, task.in_call});
  }
  return tasks;
}

const std::string& Replay::checkpoint() const {
  return impl_->started.checkpoint;
}

std::optional<int> Replay::exit_status() const {
  const replay::SupervisorState& state = impl_->session().state();
  return state.ended ? std::optional(state.status) : std::nullopt;
}

void Replay::step() {
  impl_->session().step();
  impl_->between = false;
}

void Replay::run_to(std::int64_t event) {
  if (event > this->event()) {
    impl_->session().run_to(event);
    impl_->between = false;
  }
}

bool Replay::step_instruction() {
  const bool stepped = replay::step_instruction(impl_->session());
  impl_->between = impl_->between || stepped;
  return stepped;
}

void Replay::seek(std::int64_t event) {
  impl_->check_target(event);
  if (event < this->event() || impl_->between) {
    impl_->start(event);
    return;
  }
  const StoreEntry* nearer = nullptr;
  std::vector<StoreEntry> entries;
  if (!impl_->settings.ignore_checkpoints) {
    entries = replay::checkpoint_store(impl_->directory).list();
    nearer = Store::choose_best(entries, {event, trace().uuid()});
  }
  if (nearer != nullptr && nearer->header.event > this->event()) {
    impl_->start(event);
  } else {
    run_to(event);
  }
}

std::string Replay::save(const WriterOptions& options) {
  if (impl_->between) {
    throw Error(ErrorCode::kUnsupportedState,
                "the replay stands between two events, of which it keeps no count")
        .with_hint("step to the next event first");
  }
  return replay::save_checkpoint(impl_->session(),
                                 replay::writable_checkpoint_store(impl_->directory), options);
}

std::optional<std::vector<std::byte>> Replay::registers(std::int32_t tid,
                                                        std::uint32_t note_type) const {
  return impl_->session().tracee(tid).register_set(note_type);
}

void Replay::set_registers(std::int32_t tid, std::uint32_t note_type,
                           std::span<const std::byte> bytes) {
  impl_->session().tracee(tid).set_register_set(note_type, bytes);
}

std::size_t Replay::read_memory(std::int32_t tid, std::uint64_t address,
                                std::span<std::byte> out) const {
  return impl_->session().memory(tid).read_some(address, out);
}

void Replay::write_memory(std::int32_t tid, std::uint64_t address,
                          std::span<const std::byte> bytes) {
  impl_->session().memory(tid).write(address, bytes);
}

std::int64_t first_event_of_process(const TraceReader& trace, std::int32_t pid) {
  for (const TaskRecord& task : trace.tasks()) {
    if (task.pid == pid && task.tid == pid) {
      return task.first_event;
    }
  }
  throw Error(ErrorCode::kNotFound, "the trace has no process " + std::to_string(pid))
      .in_file(trace.directory())
      .with_hint("'pcp-rr ps' lists the processes");
}

} // namespace rrpcp
