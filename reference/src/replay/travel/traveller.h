// What stands behind a Timeline: a replay, the states to start from, and the ways between places.
#pragma once

#include "process/proc_maps.h"
#include "replay/engine/replay_session.h"
#include "replay/travel/counted_run.h"
#include "replay/travel/event_index.h"
#include "replay/travel/meeting.h"
#include "replay/travel/moment.h"
#include "replay/travel/session_copy.h"
#include "rrpcp/replay/timeline.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace rrpcp::replay {

// Where places near one, or near the limit of a walk, will be wanted, a base is made so many
// instructions before it, if others are further away than the second.
inline constexpr std::uint64_t kNear = 400;
inline constexpr std::uint64_t kFar = 2000;

// A state to start from: kept alive, stored in the trace, or the start of the trace.
struct Base {
  // Of one on the way to an event that nobody has counted: kInside.
  Place place;
  static constexpr std::uint64_t kInside = Place::kArrived - 1;
  bool is_inside() const { return place.instructions == kInside; }
  std::unique_ptr<SessionCopy> copy;
  std::string path; // stored
  // Time of replay from the start, roughly: what it takes to come here.
  std::chrono::nanoseconds clock{};
  std::uint64_t number = 0; // of those that were made, from 1
  // Of SessionCopy: at most, and when it was measured last.
  std::uint64_t most_memory = 0;
  std::uint64_t memory = 0;
  bool measured = false;
  // Checkpoints of the user that are here; it stays while there are any.
  unsigned kept = 0;
};

// A state on the way to an event where nobody has counted, kept for the user.
struct KeptState {
  Moment moment;
  std::unique_ptr<SessionCopy> copy;
  std::chrono::nanoseconds clock{};
};

class Traveller {
public:
  Traveller(std::string directory, TimelineSettings settings, std::int64_t target);

  ReplaySession& session();
  const TraceReader& trace() const { return trace_; }
  EventIndex& index() { return index_; }
  const TimelineSettings& settings() const { return settings_; }
  const std::string& directory() const { return directory_; }
  std::int64_t event() const { return now_.event; }
  const Moment& now() const { return now_; }
  Place start() const { return start_; }
  Place end() const;
  Place here();
  Stop run(Direction direction, const RunSettings& settings);
  // `near`: other places just before it will be wanted.
  void go_to(const Place& place, bool near = false);
  std::map<BreakpointId, Breakpoint>& breakpoints() { return breakpoints_; }
  BreakpointId next_breakpoint() { return ++latest_breakpoint_; }
  // Keeps the state here; nothing where it has arrived at the event.
  void keep(const Place& place);
  void release(const Place& place);
  // The same where here() would have to count a long computation; nothing where it would not.
  std::unique_ptr<KeptState> keep_uncounted();
  void go_to(const KeptState& state);
  // Stores the state of a place that has not arrived at its event. Returns the file's path.
  std::string store(const Place& place, const WriterOptions& writer);
  std::vector<StoredCheckpoint> stored() const;
  void look_for_stored();
  std::unique_ptr<SessionCopy> copy_here();
  TimelineCosts costs() const;

private:
  struct Happening {
    Stop stop;
    Moment moment;
    // Where it is met from behind.
    Moment before;
  };
  struct Walk {
    const RunSettings& settings;
    // Not beyond this place.
    std::optional<Place> limit = {};
    // What happens at that place counts too.
    bool with_limit = false;
    // Goes on, and keeps the latest of what happens.
    bool record = false;
    // Looks at nothing.
    bool blind = false;
    // Somebody will want to go to places just before the limit.
    bool near = false;
    // What happens to this task does not count.
    pid_t except = 0;
    // Not beyond this one, which is ahead; what happens there does not count.
    const Meeting* meeting = nullptr;
    // Counts all instructions on the way to it.
    bool counts = false;
    // What is where it stands counts too.
    bool with_start = false;
    // Makes no bases.
    bool without_bases = false;
    // Gives up about then.
    std::optional<std::chrono::steady_clock::time_point> until = {};
    std::optional<Happening> found = {};

    bool steps(pid_t tid) const { return !record && !blind && settings.step == tid; }
  };
  enum class Outcome { kFound, kLimit, kEnd, kInterrupted, kTooLong };
  enum class Sliced { kArrived, kFound, kLimit, kMet, kInterrupted, kTooLong };
  // The end of a search.
  struct Goal {
    std::optional<Place> limit = {};
    bool with_limit = false;
    const Meeting* meeting = nullptr;
  };
  struct Code { // a mapping that can be executed
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    bool writable = false;
  };
  struct Watch {
    BreakpointId id = 0;
    WatchedBytes bytes;
  };

  // Ways forward: walk.cc.
  Outcome walk(Walk& walk);
  Outcome walk_on(Walk& walk);
  Sliced slice(Walk& walk, bool at_start);
  Sliced native(Walk& walk, const std::vector<std::uint64_t>& addresses, bool at_start);
  Sliced counted(Walk& walk, const std::vector<std::uint64_t>& addresses, bool at_start);
  Sliced step(Walk& walk);
  CountedRun& counted_run(const CountedSites& sites);
  bool keeps_mappings() const;
  bool keeps_code() const;
  void leave_counted();
  Sliced arrive();
  bool apply(Walk& walk);
  bool ends_vfork();
  bool find(Walk& walk, const Stop& stop, const Moment& moment, const Moment& before);
  bool wants(const Walk& walk, pid_t pid, pid_t tid) const;
  std::optional<Stop> arrival(const Walk& walk);
  bool meets(const Walk& walk) const;
  std::optional<std::chrono::steady_clock::time_point> next_look(const Walk& walk) const;
  std::optional<Stop> breakpoint_at(std::uint64_t address);
  const std::vector<Code>& code_of(pid_t pid);
  const Code* code_at(pid_t pid, std::uint64_t address);
  std::vector<std::uint64_t> armed(const Walk& walk, pid_t pid, bool& conditions);
  std::vector<Watch> watches(const Walk& walk, pid_t pid);
  bool condition_holds(const Breakpoint& breakpoint, pid_t tid) const;
  std::vector<std::byte> value_of(const Breakpoint& breakpoint);
  bool is_last() const;
  bool is_interrupted(const Walk& walk) const;
  Stop stop_of(StopReason reason, pid_t tid);

  // Ways back, and to places: ways.cc.
  Stop forward(const RunSettings& settings);
  Stop backward(const RunSettings& settings);
  Stop end_backward(const std::optional<Happening>& found);
  Stop step_back(const RunSettings& settings);
  std::int64_t behind_latest_of(pid_t task, std::int64_t event);
  // The latest happening before `until`, which is counted, and not before `from`.
  std::optional<Happening> latest_before(const Place& until, const Place& from,
                                         const RunSettings& settings, pid_t except,
                                         bool& interrupted, bool with_until = false);
  void go_to_moment(const Moment& moment, bool near = false, bool counts = true);
  bool follow(const Moment::Leg& leg);
  [[noreturn]] void did_not_come(const Moment& moment);

  // The same where nothing is counted: inside.cc.
  Stop backward_inside(const RunSettings& settings);
  std::optional<Happening> latest_inside(std::size_t newest, const Goal& goal,
                                         const RunSettings& settings, pid_t except,
                                         bool& interrupted);
  std::optional<std::size_t> seen_before(std::size_t newest, std::size_t oldest) const;
  std::optional<Stop> step_back_inside(const RunSettings& settings);
  void count_from(const Place& place);
  bool make_base_inside();
  void keep_inside();
  void start_inside(const Moment& moment, bool near);
  void drop_inside(std::int64_t event, std::uint64_t after = 0);
  void note_sighting(std::uint64_t address);
  const Base& base_of(const Moment& moment) const;
  void stand_after_interruption(const Moment& from, std::uint64_t address);

  // States to start from: bases.cc.
  ReplayOptions options();
  void start_at(Base& base);
  void start_from(SessionCopy& copy, const Moment& moment, std::chrono::nanoseconds clock);
  Base& base_before(const Place& place, bool with_it = true);
  void restart(const Place& place);
  bool base_is_due() const;
  void make_base();
  std::unique_ptr<Base> new_base(const Place& place);
  void insert_base(std::unique_ptr<Base> base, std::chrono::steady_clock::time_point begun);
  std::uint64_t most_base_memory() const;
  void measure_bases();
  void thin_out();
  // Of replay from the start to here, roughly. Stands still but for walks.
  std::chrono::nanoseconds clock() const;
  void stop_clock();

  const std::string directory_;
  TimelineSettings settings_;
  TraceReader trace_;
  EventIndex index_;
  std::unique_ptr<ReplaySession> session_;
  std::unique_ptr<CountedRun> counted_run_; // during a walk
  pid_t counted_process_ = 0;
  std::map<pid_t, std::vector<Code>> code_; // of processes, as far as it was needed
  Moment now_;
  Place start_;
  std::optional<Place> end_;
  std::map<BreakpointId, Breakpoint> breakpoints_;
  BreakpointId latest_breakpoint_ = 0;
  std::vector<std::unique_ptr<Base>> bases_; // by place
  std::int64_t told_ = 0;                    // what events before this one wrote was told
  std::chrono::nanoseconds clock_before_{};
  std::optional<std::chrono::steady_clock::time_point> clock_since_; // it goes since
  std::chrono::nanoseconds base_interval_{};
  // Numbers of the bases behind which breakpoints were met, by address.
  std::map<std::uint64_t, std::set<std::uint64_t>> sightings_;
  std::uint64_t stops_before_ = 0; // of sessions that have ended
  std::uint64_t bases_made_ = 0;
  std::uint64_t counted_ = 0;
};

} // namespace rrpcp::replay
