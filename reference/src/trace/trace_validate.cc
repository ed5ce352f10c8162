#include "rrpcp/trace/trace_validate.h"

#include "base/diagnostics.h"
#include "container/kj_errors.h"
#include "model/backing_file.h"
#include "trace/task_moments.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <map>
#include <optional>
#include <utility>

namespace rrpcp {

namespace {

// What the trace says about one event.
struct Moment {
  // Of the event itself. Nothing: the trace ends before it.
  std::optional<std::int32_t> current_task;
  StreamPosition place;
  std::map<std::int32_t, trace::TaskMoment> tasks;
  // Why the trace could not be read so far.
  std::optional<Error> damage;
};

// Judges one checkpoint.
class Judge {
public:
  Judge(const CheckpointReader& checkpoint, const TraceReader& trace, const Moment& moment)
      : checkpoint_(checkpoint), trace_(trace), moment_(moment), state_(checkpoint.state()) {}

  std::vector<Finding> judge() {
    if (check_binding()) {
      check_files();
      if (check_event()) {
        check_cursor();
        check_tasks();
      }
    }
    return std::move(findings_);
  }

private:
  void add(std::string_view code, std::string message, std::string path = {}) {
    findings_.push_back(finding_of(code, checkpoint_.name(), std::move(message), std::move(path)));
  }

  bool check_binding() {
    if (!state_.hasTrace() || checkpoint_.header().trace_uuid != trace_.uuid()) {
      add("pcp-trace.uuid",
          "the checkpoint belongs to trace " + checkpoint_.header().trace_uuid.to_string() +
              ", the trace is " + trace_.uuid().to_string(),
          "state.trace.uuid");
      return false;
    }
    const schema::TraceBinding::Reader binding = state_.getTrace();
    const capnp::Text::Reader format = binding.getFormat();
    if (std::string_view(format.cStr(), format.size()) != trace_format::kFormatId ||
        binding.getFormatVersion() != trace_.header().major) {
      add("pcp-trace.format",
          std::string("the checkpoint names '") + format.cStr() + "' version " +
              std::to_string(binding.getFormatVersion()),
          "state.trace.format");
      return false;
    }
    return true;
  }

  bool check_event() {
    const std::int64_t event = checkpoint_.header().event;
    if (moment_.damage) {
      add("pcp-trace.stream", moment_.damage->what());
      return false;
    }
    if (!moment_.current_task) {
      add("pcp-trace.event-missing",
          "the trace has " + std::to_string(trace_.event_count()) +
              " events, the checkpoint is at " + std::to_string(event),
          "state.position.clone.event");
      return false;
    }
    return true;
  }

  void check_cursor() {
    unsigned index = 0;
    for (const schema::StreamCursor::Reader cursor : state_.getTrace().getCursor()) {
      const std::string path = "state.trace.cursor[" + std::to_string(index++) + "]";
      const capnp::Text::Reader stream = cursor.getStream();
      if (std::string_view(stream.cStr(), stream.size()) != trace_format::kEventsName) {
        add("pcp-trace.cursor", std::string("the trace has no stream '") + stream.cStr() + "'",
            path);
      } else if (cursor.getOffsetInBlock() != moment_.place.offset_in_block ||
                 cursor.getDecodedOffset() != moment_.place.decoded_offset) {
        add("pcp-trace.cursor",
            "the stored place is decoded byte " + std::to_string(cursor.getDecodedOffset()) +
                ", the event's is " + std::to_string(moment_.place.decoded_offset),
            path);
      } else if (cursor.getBlockOffset() != moment_.place.block_offset) {
        add("pcp-trace.cursor-moved",
            "the stored place is byte " + std::to_string(cursor.getBlockOffset()) +
                " of the file, the chunk is at " + std::to_string(moment_.place.block_offset),
            path);
      }
    }
  }

  void check_tasks() {
    std::map<std::int32_t, trace::TaskMoment> missing = moment_.tasks;
    unsigned index = 0;
    for (const schema::Task::Reader task : state_.getTasks()) {
      const std::string path = "state.tasks[" + std::to_string(index++) + "]";
      const auto found = missing.find(task.getTid());
      if (found == missing.end()) {
        add("pcp-trace.task-unknown",
            "task " + std::to_string(task.getTid()) + " is not alive at event " +
                std::to_string(checkpoint_.header().event),
            path);
        continue;
      }
      compare(task, found->second, path);
      missing.erase(found);
    }
    for (const auto& [tid, moment] : missing) {
      add("pcp-trace.task-missing",
          "task " + std::to_string(tid) + " is alive at event " +
              std::to_string(checkpoint_.header().event),
          "state.tasks");
    }
  }

  void compare(schema::Task::Reader task, const trace::TaskMoment& moment,
               const std::string& path) {
    const std::string name = "task " + std::to_string(task.getTid());
    if (task.getReplay().getTicks() != moment.ticks) {
      add("pcp-trace.ticks",
          name + " has ticks " + std::to_string(task.getReplay().getTicks()) + " and " +
              std::to_string(moment.ticks) + " events",
          path + ".replay.ticks");
    }
    // The current task of a state that was taken inside an event has moved on.
    if (!moment.registers ||
        (!state_.getPosition().isAtEvent() && task.getTid() == *moment_.current_task)) {
      return;
    }
    for (const schema::RegisterSet::Reader set : task.getRegisters()) {
      user_regs_struct registers;
      if (set.getNoteType() != NT_PRSTATUS || set.getData().size() != sizeof registers) {
        continue;
      }
      std::memcpy(&registers, set.getData().begin(), sizeof registers);
      if (const std::string why = trace::register_difference(registers, *moment.registers);
          !why.empty()) {
        add("pcp-trace.registers", name + " has " + why, path + ".registers");
      }
    }
  }

  void check_files() {
    const auto objects = state_.getMemoryObjects();
    for (unsigned i = 0; i < objects.size(); ++i) {
      if (objects[i].isFile() && objects[i].getFile().getPathBase() == schema::PathBase::TRACE) {
        check_file(objects[i].getFile(), "state.memoryObjects[" + std::to_string(i) + "]");
      }
    }
  }

  void check_file(schema::FileIdentity::Reader file, const std::string& path) {
    BackingFiles files;
    files.trace_directory = trace_.directory();
    if (std::optional<FileProblem> problem = find_problem(file, files)) {
      add(file_code(problem->kind), std::move(problem->message), path);
    }
  }

  static std::string_view file_code(FileProblem::Kind kind) {
    switch (kind) {
    case FileProblem::Kind::kMissing:
      return "pcp-trace.file-missing";
    case FileProblem::Kind::kSize:
      return "pcp-trace.file-size";
    case FileProblem::Kind::kContent:
      break;
    }
    return "pcp-trace.file-content";
  }

  const CheckpointReader& checkpoint_;
  const TraceReader& trace_;
  const Moment& moment_;
  schema::State::Reader state_;
  std::vector<Finding> findings_;
};

} // namespace

struct ReplayTraceValidator::Impl {
  explicit Impl(TraceReader opened) : trace(std::move(opened)) {}

  void gather() {
    if (moments.empty()) {
      return;
    }
    trace::TaskMoments tasks;
    auto next = moments.begin();
    try {
      auto follow = [&] {
        EventReader events = trace.events();
        for (; next != moments.end() && next->first < 1; ++next) {
          // No such event: left empty.
        }
        for (; next != moments.end() && !events.at_end(); events.next()) {
          if (events.number() == next->first) {
            next->second.current_task = events.event().getTask();
            next->second.place = events.position();
            next->second.tasks = tasks.living();
            ++next;
          }
          tasks.apply(events.number(), events.event());
        }
      };
      with_kj_errors(trace.stream_name(), follow, "an event", {});
    } catch (const Error& error) {
      for (; next != moments.end(); ++next) {
        next->second.damage = error;
      }
    }
    if (trace.problem()) {
      for (; next != moments.end(); ++next) {
        next->second.damage = trace.problem();
      }
    }
  }

  TraceReader trace;
  std::map<std::int64_t, Moment> moments;
};

ReplayTraceValidator::ReplayTraceValidator(const std::string& trace_directory,
                                           const std::vector<std::int64_t>& events)
    : impl_(std::make_unique<Impl>(TraceReader::open(trace_directory))) {
  for (const std::int64_t event : events) {
    impl_->moments.try_emplace(event);
  }
  impl_->gather();
}

ReplayTraceValidator::ReplayTraceValidator(ReplayTraceValidator&&) noexcept = default;
ReplayTraceValidator& ReplayTraceValidator::operator=(ReplayTraceValidator&&) noexcept = default;
ReplayTraceValidator::~ReplayTraceValidator() = default;

const TraceReader& ReplayTraceValidator::trace() const {
  return impl_->trace;
}

std::vector<Finding> ReplayTraceValidator::check(const CheckpointReader& checkpoint) const {
  const auto moment = impl_->moments.find(checkpoint.header().event);
  if (moment == impl_->moments.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "event " + std::to_string(checkpoint.header().event) + " was not prepared")
        .in_file(checkpoint.name());
  }
  return with_kj_errors(checkpoint.name(),
                        [&] { return Judge(checkpoint, impl_->trace, moment->second).judge(); });
}

} // namespace rrpcp
