#include "base/file.h"
#include "base/hex.h"
#include "container/kj_errors.h"
#include "legacy/findings.h"
#include "legacy/import_state.h"
#include "legacy/registers.h"
#include "model/backing_file.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <map>
#include <optional>
#include <set>

namespace rrpcp {

namespace {

using namespace compat;

// Whether a task's registers and ticks stay what a frame of this kind recorded until its next frame
// is replayed. System calls are confirmed by real checkpoints; at an interruption by the scheduler
// a replay stops exactly where registers and ticks are those recorded. The ticks of the kinds that
// concern the system-call buffer are approximate, and no real checkpoint has shown the others.
bool is_comparable(FrameKind kind) {
  return kind == FrameKind::kSyscall || kind == FrameKind::kSched;
}

// What the trace says about the moment before one event.
struct Moment {
  // The event's own frame; nothing where the trace ends before.
  std::optional<RrTraceFrame> current;
  // Per tid: its last frame before the event.
  std::map<std::int32_t, RrTraceFrame> last;
  // Why the frames could not be read so far.
  std::optional<Error> damage;
};

} // namespace

struct TraceValidator::Impl {
  explicit Impl(RrTrace opened) : trace(std::move(opened)) {}

  RrTrace trace;
  std::map<std::int64_t, Moment> moments;
  std::vector<RrTraceTask> tasks;
  std::optional<Error> tasks_damage;
  std::vector<RrTraceMapping> mappings;
  std::optional<Error> mappings_damage;
  std::map<std::int64_t, RrTraceCursor> cursors;

  void scan();
  void read_records();
  void find_cursors();
};

void TraceValidator::Impl::scan() {
  std::map<std::int32_t, RrTraceFrame> last;
  auto wanted = moments.begin();
  try {
    RrTraceFrameReader reader = trace.frames();
    while (wanted != moments.end()) {
      std::optional<RrTraceFrame> frame = reader.next();
      while (wanted != moments.end() && (!frame || frame->event == wanted->first)) {
        if (frame) {
          wanted->second.last = last;
          wanted->second.current = frame;
        }
        ++wanted;
      }
      if (!frame) {
        break;
      }
      last[frame->tid] = std::move(*frame);
    }
  } catch (const Error& error) {
    for (; wanted != moments.end(); ++wanted) {
      wanted->second.damage = error;
    }
  }
}

void TraceValidator::Impl::read_records() {
  try {
    tasks = trace.tasks();
  } catch (const Error& error) {
    tasks_damage = error;
  }
  try {
    mappings = trace.mappings();
  } catch (const Error& error) {
    mappings_damage = error;
  }
}

void TraceValidator::Impl::find_cursors() {
  std::vector<std::int64_t> events;
  for (const auto& [event, moment] : moments) {
    if (moment.current) {
      events.push_back(event);
    }
  }
  try {
    const auto places = trace.cursors(events);
    for (std::size_t e = 0; e < events.size(); ++e) {
      if (places[e]) {
        cursors.emplace(events[e], *places[e]);
      }
    }
  } catch (const Error&) {
    cursors.clear(); // a damaged stream, which is a finding of its own
  }
}

namespace {

// Judges one checkpoint.
class Judge {
public:
  Judge(const CheckpointReader& checkpoint, const RrTrace& trace, const Moment& moment)
      : checkpoint_(checkpoint), trace_(trace), moment_(moment), state_(checkpoint.state()) {}

  std::vector<Finding> take() { return std::move(findings_); }

  // False where nothing else makes sense to be compared.
  bool check_binding() {
    const TraceUuid& uuid = trace_.header().uuid;
    if (!state_.hasTrace() || checkpoint_.header().trace_uuid != uuid) {
      add("rr-trace.uuid",
          "the checkpoint belongs to trace " + checkpoint_.header().trace_uuid.to_string() +
              ", the trace is " + uuid.to_string(),
          "state.trace.uuid");
      return false;
    }
    const auto binding = state_.getTrace();
    if (binding.getFormat() != kRrTraceFormat ||
        binding.getFormatVersion() != trace_.header().version) {
      add("rr-trace.format",
          std::string("the checkpoint names '") + binding.getFormat().cStr() + "' version " +
              std::to_string(binding.getFormatVersion()),
          "state.trace.format");
      return false;
    }
    return true;
  }

  bool check_event() {
    const std::int64_t event = checkpoint_.header().event;
    if (moment_.damage) {
      add("rr-trace.stream", moment_.damage->what());
      return false;
    }
    if (!moment_.current) {
      add("rr-trace.event-missing", "the trace ends before event " + std::to_string(event),
          "state.position.clone.event");
      return false;
    }
    if (!can_hold_checkpoint(moment_.current->kind)) {
      add("rr-trace.event-kind",
          "event " + std::to_string(event) + " is of kind " +
              frame_kind_name(moment_.current->kind),
          "state.position.clone.event");
    }
    return true;
  }

  void check_cursor(const RrTraceCursor& expected) {
    const std::pair<std::string_view, const StreamPosition*> streams[] = {
        {"data", &expected.data},
        {"events", &expected.events},
        {"mmaps", &expected.mmaps},
        {"tasks", &expected.tasks},
    };
    unsigned index = 0;
    for (const auto stored : state_.getTrace().getCursor()) {
      const std::string path = "state.trace.cursor[" + std::to_string(index++) + "]";
      const std::string_view name(stored.getStream().cStr(), stored.getStream().size());
      const auto known = std::find_if(std::begin(streams), std::end(streams),
                                      [&](const auto& stream) { return stream.first == name; });
      if (known == std::end(streams)) {
        add("rr-trace.cursor-wrong", "the trace has no stream '" + std::string(name) + "'", path);
        continue;
      }
      const StreamPosition place{stored.getBlockOffset(), stored.getOffsetInBlock(),
                                 stored.getDecodedOffset()};
      if (!(place == *known->second)) {
        add("rr-trace.cursor-wrong",
            "the stored place in '" + std::string(name) + "' is decoded byte " +
                std::to_string(place.decoded_offset) + ", the event's is " +
                std::to_string(known->second->decoded_offset),
            path);
      }
    }
  }

  void check_tasks(const std::vector<RrTraceTask>& records) {
    std::set<std::int32_t> alive;
    for (const RrTraceTask& record : records) {
      if (record.event >= checkpoint_.header().event) {
        break;
      }
      if (record.kind == RrTraceTask::Kind::kClone || record.kind == RrTraceTask::Kind::kExec) {
        alive.insert(record.tid);
      } else {
        alive.erase(record.tid);
      }
    }
    unsigned index = 0;
    for (const auto task : state_.getTasks()) {
      const std::string path = "state.tasks[" + std::to_string(index++) + "]";
      if (alive.erase(task.getTid()) == 0) {
        add("rr-trace.task-unknown",
            "task " + std::to_string(task.getTid()) + " is not alive at event " +
                std::to_string(checkpoint_.header().event),
            path);
        continue;
      }
      compare_task(task, path);
    }
    for (const std::int32_t missing : alive) {
      add("rr-trace.task-missing",
          "task " + std::to_string(missing) + " is alive at event " +
              std::to_string(checkpoint_.header().event),
          "state.tasks");
    }
  }

  void check_mappings(const std::vector<RrTraceMapping>& records) {
    std::map<std::string_view, std::vector<const RrTraceMapping*>> by_name;
    for (const RrTraceMapping& record : records) {
      if (record.event < checkpoint_.header().event) {
        by_name[record.name].push_back(&record);
      }
    }
    const auto spaces = state_.getAddressSpaces();
    for (unsigned s = 0; s < spaces.size(); ++s) {
      const auto mappings = spaces[s].getMappings();
      for (unsigned m = 0; m < mappings.size(); ++m) {
        check_mapping(by_name, mappings[m],
                      "state.addressSpaces[" + std::to_string(s) + "].mappings[" +
                          std::to_string(m) + "]");
      }
    }
  }

  void check_backing_files() {
    const auto objects = state_.getMemoryObjects();
    for (unsigned o = 0; o < objects.size(); ++o) {
      if (objects[o].isFile() && objects[o].getFile().getDigests().size() != 0) {
        check_backing_file(objects[o].getFile(), "state.memoryObjects[" + std::to_string(o) + "]");
      }
    }
  }

private:
  void add(std::string_view code, std::string message, std::string path = {}) {
    findings_.push_back(finding_of(code, checkpoint_.name(), std::move(message), std::move(path)));
  }

  // The current task of a state that was taken inside the event has moved on from its last frame.
  bool has_moved(schema::Task::Reader task) const {
    const auto mark = state_.getPosition().getClone();
    const bool inside = state_.getPosition().isBetween() ||
                        mark.getTicks() != mark.getTicksAtEventStart() ||
                        mark.getRr().getStepKey() != 0;
    return inside && moment_.current->tid == task.getTid();
  }

  void compare_task(schema::Task::Reader task, const std::string& path) {
    const auto found = moment_.last.find(task.getTid());
    if (found == moment_.last.end() || !is_comparable(found->second.kind) || has_moved(task)) {
      return;
    }
    const RrTraceFrame& frame = found->second;
    const std::string when = " recorded at event " + std::to_string(frame.event);
    if (task.getReplay().getTicks() != frame.ticks) {
      add("rr-trace.ticks",
          "task " + std::to_string(task.getTid()) + " has ticks " +
              std::to_string(task.getReplay().getTicks()) + " instead of " +
              std::to_string(frame.ticks) + when,
          path + ".replay.ticks");
    }
    if (frame.registers.empty()) {
      return;
    }
    const auto sets = task.getRegisters();
    std::optional<std::vector<std::byte>> stored;
    try {
      stored = from_register_sets(frame.machine, sets).registers;
    } catch (const Error&) {
      return; // a set that rr's records do not have: nothing to compare
    }
    if (*stored != frame.registers) {
      add("rr-trace.registers",
          "task " + std::to_string(task.getTid()) + " differs" + difference(*stored, frame) + when,
          path + ".registers");
    }
  }

  // " in word N (…)" of two register records.
  static std::string difference(const std::vector<std::byte>& stored, const RrTraceFrame& frame) {
    if (stored.size() != frame.registers.size()) {
      return " in the size of its registers from those";
    }
    const std::size_t word = frame.machine == EM_386 ? 4 : 8;
    for (std::size_t at = 0; at + word <= stored.size(); at += word) {
      std::uint64_t mine = 0;
      std::uint64_t theirs = 0;
      std::memcpy(&mine, stored.data() + at, word);
      std::memcpy(&theirs, frame.registers.data() + at, word);
      if (mine != theirs) {
        return " in register word " + std::to_string(at / word) + " (" + hex_text(mine) +
               " instead of " + hex_text(theirs) + ")";
      }
    }
    return {};
  }

  // Files and shared memory only: anonymous memory comes and goes by calls that leave no record.
  void check_mapping(const std::map<std::string_view, std::vector<const RrTraceMapping*>>& by_name,
                     schema::Mapping::Reader mapping, const std::string& path) {
    if (mapping.getRole() == schema::MappingRole::REPLAYER ||
        mapping.getObject() == schema::NO_INDEX) {
      return; // the replayer's own, under names of the replay
    }
    const std::string_view name(reinterpret_cast<const char*>(mapping.getName().begin()),
                                mapping.getName().size());
    const auto found = by_name.find(name);
    const bool shared = is_shared(mapping.getFlags());
    if (found != by_name.end()) {
      // Consecutive records may make up one mapping: cover it from its start.
      std::uint64_t covered = mapping.getStart();
      bool progress = true;
      while (covered < mapping.getEnd() && progress) {
        progress = false;
        for (const RrTraceMapping* record : found->second) {
          const std::uint64_t offset =
              static_cast<std::uint64_t>(record->file_offset) + (covered - record->start);
          if (record->start <= covered && covered < record->end &&
              // What a replayer makes anew has an inode of the replay's.
              (record->source == RrTraceMapping::Source::kZero ||
               record->inode == mapping.getInode()) &&
              is_shared(static_cast<std::uint32_t>(record->flags)) == shared &&
              offset == mapping.getRr().getFileOffset() + (covered - mapping.getStart())) {
            covered = record->end;
            progress = true;
          }
        }
      }
      if (covered >= mapping.getEnd()) {
        return;
      }
    }
    add("rr-trace.mapping",
        "'" + std::string(name) + "' at " + hex_text(mapping.getStart()) + " to " +
            hex_text(mapping.getEnd()) + " was not mapped by any event before",
        path);
  }

  void check_backing_file(schema::FileIdentity::Reader file, const std::string& path) {
    if (std::optional<FileProblem> problem = find_problem(file, {trace_.directory(), true})) {
      add(file_code(problem->kind), std::move(problem->message), path);
    }
  }

  static std::string_view file_code(FileProblem::Kind kind) {
    switch (kind) {
    case FileProblem::Kind::kMissing:
      return "rr-trace.backing-missing";
    case FileProblem::Kind::kSize:
      return "rr-trace.backing-size";
    case FileProblem::Kind::kContent:
      break;
    }
    return "rr-trace.backing-content";
  }

  const CheckpointReader& checkpoint_;
  const RrTrace& trace_;
  const Moment& moment_;
  schema::State::Reader state_;
  std::vector<Finding> findings_;
};

} // namespace

TraceValidator::TraceValidator(const std::string& trace_directory,
                               const std::vector<std::int64_t>& events)
    : impl_(std::make_unique<Impl>(RrTrace::open(trace_directory))) {
  for (const std::int64_t event : events) {
    impl_->moments.try_emplace(event);
  }
  impl_->scan();
  impl_->read_records();
  impl_->find_cursors();
}

TraceValidator::TraceValidator(TraceValidator&&) noexcept = default;
TraceValidator& TraceValidator::operator=(TraceValidator&&) noexcept = default;
TraceValidator::~TraceValidator() = default;

const RrTrace& TraceValidator::trace() const {
  return impl_->trace;
}

std::vector<Finding> TraceValidator::check(const CheckpointReader& checkpoint) const {
  const auto moment = impl_->moments.find(checkpoint.header().event);
  if (moment == impl_->moments.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "event " + std::to_string(checkpoint.header().event) + " was not prepared")
        .in_file(checkpoint.name());
  }
  return with_kj_errors(checkpoint.name(), [&] {
    Judge judge(checkpoint, impl_->trace, moment->second);
    if (!judge.check_binding()) {
      return judge.take();
    }
    judge.check_backing_files();
    if (!judge.check_event()) {
      return judge.take();
    }
    const auto cursor = impl_->cursors.find(checkpoint.header().event);
    if (cursor != impl_->cursors.end()) {
      judge.check_cursor(cursor->second);
    }
    std::vector<Finding> damage;
    for (const auto& error : {impl_->tasks_damage, impl_->mappings_damage}) {
      if (error) {
        damage.push_back(finding_of("rr-trace.stream", checkpoint.name(), error->what()));
      }
    }
    if (!impl_->tasks_damage) {
      judge.check_tasks(impl_->tasks);
    }
    if (!impl_->mappings_damage) {
      judge.check_mappings(impl_->mappings);
    }
    std::vector<Finding> findings = judge.take();
    findings.insert(findings.end(), damage.begin(), damage.end());
    return findings;
  });
}

} // namespace rrpcp
