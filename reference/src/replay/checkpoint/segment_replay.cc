#include "rrpcp/replay/segment_replay.h"

#include "base/diagnostics.h"
#include "base/scoped_fd.h"
#include "container/kj_errors.h"
#include "replay/checkpoint/instruction_steps.h"
#include "replay/checkpoint/session_checkpoint.h"
#include "replay/engine/register_compare.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "rrpcp/output.h"

#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <limits>
#include <optional>
#include <sys/mman.h>
#include <utility>

namespace rrpcp {

namespace {

using replay::PlaceBetween;
using replay::ReplaySession;

// How often a program may come by an address where it is looked for: a part of a second.
constexpr int kMostVisits = 5'000;
// How many states with the right registers are compared: a program that spins has many.
constexpr int kMostComparisons = 16;

// A file without a name, or memory where none can be had.
ScopedFd scratch_file() {
  std::error_code error;
  const std::string directory = std::filesystem::temp_directory_path(error).string();
  ScopedFd file;
  if (!error) {
    file.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  }
  if (!file) {
    file.reset(::memfd_create("rrpcp state", MFD_CLOEXEC));
  }
  if (!file) {
    throw system_error(errno, "cannot make a temporary file").in_file(directory);
  }
  return file;
}

std::optional<PlaceBetween> between_of(const CheckpointReader& checkpoint) {
  const Header& header = checkpoint.header();
  return header.position_kind == format::kPositionBetween
             ? std::optional(PlaceBetween{header.order, header.instructions})
             : std::nullopt;
}

std::optional<user_regs_struct> stored_registers(const CheckpointReader& checkpoint, pid_t tid) {
  for (schema::Task::Reader task : checkpoint.state().getTasks()) {
    for (schema::RegisterSet::Reader set : task.getRegisters()) {
      if (task.getTid() == tid && set.getNoteType() == NT_PRSTATUS &&
          set.getData().size() == sizeof(user_regs_struct)) {
        user_regs_struct registers;
        std::memcpy(&registers, set.getData().begin(), sizeof registers);
        return registers;
      }
    }
  }
  return std::nullopt;
}

bool same_registers(user_regs_struct a, const user_regs_struct& b) {
  a.orig_rax = b.orig_rax; // says how the kernel was entered last
  return !replay::first_difference(a, b);
}

// Whether the instruction can be interrupted within: its registers then are not those of a place
// that a breakpoint finds.
bool is_string_instruction(ReplaySession& session, pid_t tid, std::uint64_t address) {
  std::byte code[2] = {};
  if (session.memory(tid).read_some(address, code) != sizeof code) {
    return false;
  }
  for (const std::byte byte : code) { // F2 and F3, maybe behind another prefix
    if (byte == std::byte{0xf2} || byte == std::byte{0xf3}) {
      return true;
    }
  }
  return false;
}

// What all segments share.
struct Replayer {
  std::string directory;
  SegmentReplaySettings settings;
  bool machine_tried = false;

  std::unique_ptr<ReplaySession> start(const std::string& checkpoint) {
    replay::ReplayOptions options;
    options.verify = true;
    options.warn = settings.warn;
    options.machine_tried = machine_tried;
    auto session = checkpoint.empty() ? std::make_unique<ReplaySession>(directory, options)
                                      : replay::restore_session(directory, std::move(options),
                                                                CheckpointReader::open(checkpoint));
    machine_tried = true;
    return session;
  }

  // What differs between a stored checkpoint and where the session stands.
  std::vector<std::string> differences(const CheckpointReader& stored, ReplaySession& session,
                                       std::optional<PlaceBetween> between) {
    ScopedFd file = scratch_file();
    Output output(file.get(), "the state that the replay came to");
    WriterOptions raw;
    raw.profile = Profile::kRaw;
    replay::write_checkpoint(session, output, raw, between);
    const CheckpointReader replayed = CheckpointReader::open_fd(file.release(), output.name());
    return settings.compare(stored, replayed);
  }
};

// One segment on its way.
class Run {
public:
  Run(Replayer& replayer, const TraceSegment& segment, const std::string& next)
      : replayer_(replayer), segment_(segment), next_(next) {}

  SegmentReplay run();

private:
  using Differences = std::vector<std::string>;

  void run_to(std::int64_t event) {
    while (!session_->at_end() && session_->event() < event) {
      session_->step();
      if (replayer_.settings.progress) {
        replayer_.settings.progress(session_->event(), segment_.end);
      }
    }
  }

  void compare_at_event(const CheckpointReader& stored);
  void compare_between(const CheckpointReader& stored);
  // Whether that could be told where the checkpoint lies.
  bool found_between(const CheckpointReader& stored);
  void compare_later(const CheckpointReader& stored);
  void report(const Differences& differences, const std::string& where);

  Replayer& replayer_;
  const TraceSegment& segment_;
  const std::string& next_;
  std::unique_ptr<ReplaySession> session_;
  SegmentReplay result_;
};

SegmentReplay Run::run() {
  try {
    session_ = replayer_.start(segment_.checkpoint);
    if (next_.empty()) {
      run_to(std::numeric_limits<std::int64_t>::max());
    } else {
      const CheckpointReader stored = CheckpointReader::open(next_);
      result_.compared = true;
      with_kj_errors(next_, [&] {
        if (between_of(stored)) {
          compare_between(stored);
        } else {
          compare_at_event(stored);
        }
      });
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDivergence) {
      throw;
    }
    result_.compared = false;
    result_.findings.push_back(finding_of(
        "pcp-trace.replay-diverged",
        segment_.checkpoint.empty() ? replayer_.directory : segment_.checkpoint, error.message()));
  }
  result_.reached = session_ ? session_->event() : segment_.first;
  return std::move(result_);
}

void Run::compare_at_event(const CheckpointReader& stored) {
  run_to(stored.header().event);
  report(replayer_.differences(stored, *session_, std::nullopt), "");
}

void Run::compare_between(const CheckpointReader& stored) {
  run_to(stored.header().event);
  if (!found_between(stored)) {
    compare_later(stored);
  }
}

bool Run::found_between(const CheckpointReader& stored) {
  const pid_t runner = session_->runner();
  const std::optional<user_regs_struct> wanted = stored_registers(stored, runner);
  if (!wanted || !session_->has_way()) {
    return false;
  }
  // Of two on the way to one event none need be before the other: several passes have made them.
  bool certain = segment_.checkpoint.empty() ||
                 !between_of(CheckpointReader::open(segment_.checkpoint)) ||
                 CheckpointReader::open(segment_.checkpoint).header().event < stored.header().event;
  const std::uint64_t trap = wanted->rip;
  std::optional<Differences> nearest;
  int comparisons = 0;
  for (int visits = 0;; ++visits) {
    if (session_->advance(std::span(&trap, 1)) == replay::Way::kArrived) {
      break;
    }
    certain = certain && !is_string_instruction(*session_, runner, trap);
    if (same_registers(session_->tracee(runner).registers(), *wanted)) {
      Differences differences = replayer_.differences(stored, *session_, between_of(stored));
      if (differences.empty()) {
        return true;
      }
      if (!nearest || differences.size() < nearest->size()) {
        nearest = std::move(differences);
      }
      if (++comparisons == kMostComparisons) {
        return false;
      }
    }
    if (visits == kMostVisits) {
      return false;
    }
    if (!replay::step_instruction(*session_)) {
      break;
    }
  }
  if (!certain) {
    return false;
  }
  report(nearest.value_or(Differences{
             "on its way to event " + std::to_string(stored.header().event) + " task " +
             std::to_string(runner) + " never has the general registers that it has there"}),
         "");
  return true;
}

// Lets the replay and one that starts from the checkpoint go on to the next event.
void Run::compare_later(const CheckpointReader& stored) {
  const std::int64_t event = stored.header().event + 1;
  run_to(event);
  Run from_stored(replayer_, segment_, next_);
  from_stored.session_ = replayer_.start(next_);
  Differences differences;
  try {
    from_stored.run_to(event);
    std::string reason;
    if (replay::can_checkpoint(*session_, reason)) {
      ScopedFd file = scratch_file();
      Output output(file.get(), "the state that a replay from the checkpoint came to");
      WriterOptions raw;
      raw.profile = Profile::kRaw;
      replay::write_checkpoint(*from_stored.session_, output, raw, std::nullopt);
      differences = replayer_.differences(CheckpointReader::open_fd(file.release(), output.name()),
                                          *session_, std::nullopt);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDivergence) {
      throw;
    }
    result_.findings.push_back(finding_of("pcp-trace.replay-diverged", next_, error.message()));
    return;
  }
  if (differences.empty()) {
    result_.findings.push_back(
        finding_of("pcp-trace.replay-later", next_,
                   "compared at event " + std::to_string(event) + ", and equal there"));
    return;
  }
  report(differences, "at event " + std::to_string(event) + ", to which it leads, ");
}

void Run::report(const Differences& differences, const std::string& where) {
  std::size_t told = 0;
  for (const std::string& difference : differences) {
    if (told++ == replayer_.settings.max_differences) {
      result_.findings.push_back(finding_of(
          "pcp-trace.replay-state", next_,
          "and " + std::to_string(differences.size() - replayer_.settings.max_differences) +
              " more"));
      return;
    }
    result_.findings.push_back(finding_of("pcp-trace.replay-state", next_, where + difference));
  }
}

} // namespace

struct SegmentReplayer::Impl {
  Replayer replayer;
};

SegmentReplayer::SegmentReplayer(std::string trace_directory, SegmentReplaySettings settings)
    : impl_(std::make_unique<Impl>()) {
  impl_->replayer.directory = std::move(trace_directory);
  impl_->replayer.settings = std::move(settings);
}

SegmentReplayer::SegmentReplayer(SegmentReplayer&&) noexcept = default;
SegmentReplayer::~SegmentReplayer() = default;

SegmentReplay SegmentReplayer::replay(const TraceSegment& segment, const std::string& next) {
  return Run(impl_->replayer, segment, next).run();
}

} // namespace rrpcp
