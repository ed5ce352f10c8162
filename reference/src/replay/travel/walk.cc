// Ways forward: from the place where the replay stands, event by event, with all that is looked
// for on the way.

#include "replay/travel/traveller.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/system_call.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <sched.h>
#include <span>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <utility>

namespace rrpcp::replay {

namespace {

// A breakpoint that is met more often than this within one stretch of a record is counted.
constexpr std::uint64_t kMostStops = 100;
// Instructions after which it is looked whether a base is due.
constexpr std::uint64_t kBasePiece = 30'000'000;
// The same in events.
constexpr std::int64_t kNearEvents = 10;

bool watches_changes(const Breakpoint& breakpoint) {
  return breakpoint.kind == Breakpoint::Kind::kWrite;
}

// Reading is all that they tell besides changes.
bool looks_at_accesses(const Breakpoint& breakpoint) {
  return breakpoint.kind == Breakpoint::Kind::kRead || breakpoint.kind == Breakpoint::Kind::kAccess;
}

bool stops_execution(const Breakpoint& breakpoint) {
  return breakpoint.kind == Breakpoint::Kind::kSoftware ||
         breakpoint.kind == Breakpoint::Kind::kHardware;
}

int signal_of(const trace::EventData& event) {
  int number = 0;
  const std::span<const std::byte> info = event.bytes(event.signal_info);
  if (info.size() >= sizeof number) {
    std::memcpy(&number, info.data(), sizeof number);
  }
  return number;
}

} // namespace

Stop Traveller::stop_of(StopReason reason, pid_t tid) {
  Stop stop;
  stop.reason = reason;
  stop.tid = tid;
  if (const TaskState* task = session_->state().find_task(tid)) {
    stop.pid = task->pid;
  }
  return stop;
}

bool Traveller::is_last() const {
  return !session_->at_end() && session_->current().kind == trace::EventKind::kExit &&
         session_->state().tasks.size() == 1;
}

bool Traveller::is_interrupted(const Walk& walk) const {
  return walk.settings.interrupt != nullptr &&
         walk.settings.interrupt->load(std::memory_order_relaxed);
}

bool Traveller::wants(const Walk& walk, pid_t pid, pid_t tid) const {
  return !walk.blind && (walk.settings.process == 0 || walk.settings.process == pid) &&
         (walk.except == 0 || walk.except != tid);
}

// True: the walk ends.
bool Traveller::find(Walk& walk, const Stop& stop, const Moment& moment, const Moment& before) {
  if (walk.record && walk.found && walk.found->moment == moment) {
    return false; // the first of those at one place, as forward
  }
  walk.found = {stop, moment, before};
  return !walk.record;
}

bool Traveller::condition_holds(const Breakpoint& breakpoint, pid_t tid) const {
  return !breakpoint.condition || breakpoint.condition(tid);
}

// Where the process has code. Read anew after an event that changes mappings.
const std::vector<Traveller::Code>& Traveller::code_of(pid_t pid) {
  const auto [found, is_new] = code_.try_emplace(pid);
  if (is_new) {
    for (const process::ProcMapping& mapping :
         process::read_mappings(session_->real_process(session_->runner()))) {
      if ((mapping.protection & PROT_EXEC) != 0) {
        found->second.push_back(
            {mapping.start, mapping.end, (mapping.protection & PROT_WRITE) != 0});
      }
    }
  }
  return found->second;
}

const Traveller::Code* Traveller::code_at(pid_t pid, std::uint64_t address) {
  const std::vector<Code>& code = code_of(pid);
  const auto found = std::find_if(code.begin(), code.end(), [&](const Code& range) {
    return address >= range.start && address < range.end;
  });
  return found == code.end() ? nullptr : &*found;
}

// Addresses at which the process's tasks are to stop. Only code: elsewhere nothing is executed, and
// an instruction put there would change what the program reads.
std::vector<std::uint64_t> Traveller::armed(const Walk& walk, pid_t pid, bool& conditions) {
  std::vector<std::uint64_t> addresses;
  conditions = false;
  if (walk.blind || (walk.settings.process != 0 && walk.settings.process != pid) ||
      (walk.except != 0 && session_->runner() == walk.except)) {
    return addresses;
  }
  for (const auto& [id, breakpoint] : breakpoints_) {
    if (stops_execution(breakpoint) && (breakpoint.pid == 0 || breakpoint.pid == pid) &&
        code_at(pid, breakpoint.address) != nullptr) {
      addresses.push_back(breakpoint.address);
      conditions = conditions || breakpoint.condition;
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

// The watched bytes of a process that can be read, in pieces.
std::vector<Traveller::Watch> Traveller::watches(const Walk& walk, pid_t pid) {
  std::vector<Watch> pieces;
  if (walk.blind || (walk.settings.process != 0 && walk.settings.process != pid) ||
      (walk.except != 0 && session_->runner() == walk.except)) {
    return pieces;
  }
  process::RemoteMemory& memory = session_->memory(session_->runner());
  for (const auto& [id, breakpoint] : breakpoints_) {
    if (!watches_changes(breakpoint) || (breakpoint.pid != 0 && breakpoint.pid != pid)) {
      continue;
    }
    for (std::uint64_t done = 0; done < breakpoint.length;) {
      const std::uint64_t left = breakpoint.length - done;
      const std::uint32_t size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
      std::array<std::byte, 8> bytes{};
      const std::uint64_t address = breakpoint.address + done;
      if (memory.read_some(address, std::span(bytes).first(size)) == size) {
        pieces.push_back({id, {address, size}});
      }
      done += size;
    }
  }
  return pieces;
}

// A hit of the task that runs, about to execute the instruction at `address`.
std::optional<Stop> Traveller::breakpoint_at(std::uint64_t address) {
  const pid_t tid = session_->runner();
  const TaskState* task = session_->state().find_task(tid);
  for (const auto& [id, breakpoint] : breakpoints_) {
    if (stops_execution(breakpoint) && breakpoint.address == address &&
        (breakpoint.pid == 0 || breakpoint.pid == task->pid) && condition_holds(breakpoint, tid)) {
      Stop stop = stop_of(StopReason::kBreakpoint, tid);
      stop.breakpoint = id;
      return stop;
    }
  }
  return std::nullopt;
}

// What is told of the current event when its task has come to it.
std::optional<Stop> Traveller::arrival(const Walk& walk) {
  const trace::EventData& event = session_->current();
  const pid_t tid = session_->runner();
  const TaskState* task = session_->state().find_task(tid);
  if (task == nullptr || !wants(walk, task->pid, tid)) {
    return std::nullopt;
  }
  const RunSettings& settings = walk.settings;
  const auto told = [&](int signal) {
    return !settings.report_signal || settings.report_signal(signal);
  };
  if (event.kind == trace::EventKind::kSignal && told(signal_of(event))) {
    Stop stop = stop_of(StopReason::kSignal, tid);
    stop.signal = signal_of(event);
    return stop;
  }
  if (event.kind == trace::EventKind::kExit) {
    std::size_t threads = 0;
    for (const TaskState& other : session_->state().tasks) {
      threads += other.pid == task->pid ? 1 : 0;
    }
    if (settings.exits && (threads == 1 || event.registers)) {
      Stop stop = stop_of(StopReason::kExit, tid);
      stop.status = event.status;
      stop.signal = WIFSIGNALED(event.status) ? WTERMSIG(event.status) : 0;
      return stop;
    }
    if (threads > 1 && (settings.threads || walk.steps(tid))) {
      return stop_of(StopReason::kThreadEnd, tid);
    }
  }
  if (settings.calls && event.registers &&
      (event.kind == trace::EventKind::kSystemCall ||
       event.kind == trace::EventKind::kSystemCallBegun ||
       event.kind == trace::EventKind::kNewTask || event.kind == trace::EventKind::kExec)) {
    const auto number = static_cast<std::int64_t>(event.registers->orig_rax);
    if (settings.calls->empty() || std::find(settings.calls->begin(), settings.calls->end(),
                                             number) != settings.calls->end()) {
      Stop stop = stop_of(StopReason::kCallEntry, tid);
      stop.call = number;
      return stop;
    }
  }
  return std::nullopt;
}

Traveller::Outcome Traveller::walk(Walk& walk) {
  clock_since_ = std::chrono::steady_clock::now();
  try {
    const Outcome outcome = walk_on(walk);
    leave_counted();
    stop_clock();
    return outcome;
  } catch (...) {
    counted_run_.reset();
    stop_clock();
    throw;
  }
}

Traveller::Outcome Traveller::walk_on(Walk& walk) {
  bool at_start = !walk.with_start; // what is where it stands is not found again
  for (;;) {
    ReplaySession& session = *session_;
    if (walk.meeting != nullptr && session.event() > walk.meeting->event()) {
      throw Error(ErrorCode::kDivergence,
                  "the replay did not come again where it was, before event " +
                      std::to_string(walk.meeting->event()))
          .in_file(directory_);
    }
    if (walk.limit && now_.is_counted() && now_.place() >= *walk.limit) {
      if (walk.with_limit && !at_start && !now_.is_arrived() && session.has_way()) {
        bool conditions = false;
        const TaskState* task = session.state().find_task(session.runner());
        const std::vector<std::uint64_t> addresses = armed(walk, task->pid, conditions);
        const std::uint64_t address = session.tracee(session.runner()).registers().rip;
        if (std::binary_search(addresses.begin(), addresses.end(), address)) {
          if (const std::optional<Stop> stop = breakpoint_at(address)) {
            find(walk, *stop, now_, now_);
          }
        }
      }
      return Outcome::kLimit;
    }
    if (session.at_end()) {
      return Outcome::kEnd;
    }
    if (is_interrupted(walk)) {
      return Outcome::kInterrupted;
    }
    if (walk.until && std::chrono::steady_clock::now() >= *walk.until) {
      return Outcome::kTooLong;
    }
    if (!now_.is_arrived()) {
      const bool near = walk.near && walk.limit && now_.is_counted() && now_.count == 0 &&
                        walk.limit->event - now_.event <= kNearEvents &&
                        base_before(now_.place()).place.event < walk.limit->event - kNearEvents;
      if (near || (!walk.without_bases && base_is_due())) {
        leave_counted();
        make_base();
      }
      if (session.has_way() && !session.arrived()) {
        switch (slice(walk, at_start)) {
        case Sliced::kFound:
          return Outcome::kFound;
        case Sliced::kInterrupted:
          return Outcome::kInterrupted;
        case Sliced::kTooLong:
          return Outcome::kTooLong;
        case Sliced::kMet:
          return Outcome::kLimit;
        case Sliced::kLimit:
          at_start = false;
          continue;
        case Sliced::kArrived:
          break;
        }
      }
      at_start = false;
      const std::optional<Stop> stop = arrival(walk);
      const Moment arrived = Moment::arrived(now_.event);
      const bool at_limit = walk.limit && *walk.limit == arrived.place();
      if (stop || at_limit || is_last()) {
        now_ = arrived;
        if (stop && (!at_limit || walk.with_limit) && find(walk, *stop, now_, now_)) {
          return Outcome::kFound;
        }
        if (at_limit) {
          return Outcome::kLimit;
        }
      }
    }
    at_start = false;
    if (is_last()) {
      now_ = Moment::arrived(now_.event);
      return Outcome::kEnd;
    }
    if (apply(walk)) {
      return Outcome::kFound;
    }
  }
}

Traveller::Sliced Traveller::slice(Walk& walk, bool at_start) {
  const pid_t runner = session_->runner();
  if (walk.steps(runner)) {
    return step(walk);
  }
  const pid_t pid = session_->state().find_task(runner)->pid;
  bool conditions = false;
  const std::vector<std::uint64_t> addresses = armed(walk, pid, conditions);
  const bool limited = walk.limit && walk.limit->event == now_.event && !walk.limit->arrived();
  const bool looked_at =
      wants(walk, pid, runner) &&
      std::any_of(breakpoints_.begin(), breakpoints_.end(), [&](const auto& entry) {
        return looks_at_accesses(entry.second) &&
               (entry.second.pid == 0 || entry.second.pid == pid);
      });
  // Where the program may read and write, no instruction is put.
  const bool writable = std::any_of(addresses.begin(), addresses.end(), [&](std::uint64_t address) {
    return code_at(pid, address)->writable;
  });
  const bool counts = walk.counts && meets(walk);
  if (limited || looked_at || writable || counts || !watches(walk, pid).empty()) {
    return counted(walk, addresses, at_start);
  }
  return native(walk, addresses, at_start);
}

// Whether the walk may come to its end before the current event.
bool Traveller::meets(const Walk& walk) const {
  return walk.meeting != nullptr && walk.meeting->event() == now_.event;
}

// When a task that runs freely is to be interrupted.
std::optional<std::chrono::steady_clock::time_point> Traveller::next_look(const Walk& walk) const {
  if (walk.until || walk.record || walk.without_bases || walk.meeting != nullptr) {
    return walk.until;
  }
  const std::chrono::nanoseconds left = base_of(now_).clock + base_interval_ - clock();
  return std::chrono::steady_clock::now() +
         std::clamp(left, base_interval_ / 4, std::chrono::nanoseconds(base_interval_));
}

Traveller::Sliced Traveller::native(Walk& walk, const std::vector<std::uint64_t>& addresses,
                                    bool at_start) {
  ReplaySession& session = *session_;
  process::Tracee& tracee = session.tracee(session.runner());
  Moment from = now_;
  std::map<std::uint64_t, std::uint64_t> arrivals;
  std::uint64_t stops = 0;
  std::vector<std::uint64_t> all = addresses;
  if (meets(walk) && !std::binary_search(all.begin(), all.end(), walk.meeting->address())) {
    all.insert(std::upper_bound(all.begin(), all.end(), walk.meeting->address()),
               walk.meeting->address());
  }
  std::uint64_t address = tracee.registers().rip;
  bool here = std::binary_search(all.begin(), all.end(), address);
  // What is where the task stands now.
  const auto look = [&] {
    if (meets(walk) && address == walk.meeting->address() && walk.meeting->is_here(session)) {
      return Sliced::kMet;
    }
    if (std::binary_search(addresses.begin(), addresses.end(), address)) {
      if (const std::optional<Stop> stop = breakpoint_at(address)) {
        note_sighting(address);
        if (find(walk, *stop, now_, now_)) {
          return Sliced::kFound;
        }
      }
    }
    return Sliced::kArrived; // goes on
  };
  if (here && !at_start) {
    if (const Sliced found = look(); found != Sliced::kArrived) {
      return found;
    }
  }
  for (;;) {
    std::vector<std::uint64_t> without;
    std::span<const std::uint64_t> traps = all;
    bool at_event = false;
    if (here) {
      if (!step_natively(session)) {
        // The instruction is the event's.
        at_event = true;
        for (std::uint64_t other : all) {
          if (other != address) {
            without.push_back(other);
          }
        }
        traps = without;
      } else if (arrivals.empty()) {
        now_ = from.after(1);
      } else {
        now_ = now_.after(1);
      }
    }
    switch (session.advance(traps, walk.settings.interrupt, next_look(walk))) {
    case Way::kArrived:
      return Sliced::kArrived;
    case Way::kInterrupted:
      if (is_interrupted(walk)) {
        stand_after_interruption(from, tracee.registers().rip);
        return Sliced::kInterrupted;
      }
      if (walk.until && std::chrono::steady_clock::now() >= *walk.until) {
        return Sliced::kTooLong;
      }
      here = at_event && tracee.registers().rip == address;
      if (!here && !std::binary_search(all.begin(), all.end(), tracee.registers().rip) &&
          make_base_inside()) {
        from = now_;
        arrivals.clear();
      }
      continue;
    case Way::kTrap:
      break;
    }
    address = tracee.registers().rip;
    here = true;
    now_ = from.at_arrival(address, ++arrivals[address]);
    if (const Sliced found = look(); found != Sliced::kArrived) {
      return found;
    }
    if ((walk.record || meets(walk)) && ++stops > kMostStops) {
      return counted(walk, addresses, true);
    }
  }
}

CountedRun& Traveller::counted_run(const CountedSites& sites) {
  const pid_t process = session_->state().find_task(session_->runner())->pid;
  if (counted_run_ && counted_process_ == process && counted_run_->sites() == sites) {
    counted_run_->go_on();
  } else {
    leave_counted();
    counted_run_ = std::make_unique<CountedRun>(*session_, sites);
    counted_process_ = process;
  }
  return *counted_run_;
}

void Traveller::leave_counted() {
  if (counted_run_) {
    counted_run_->leave();
    counted_run_.reset();
  }
}

// Whether the current event leaves mappings and processes as they are.
bool Traveller::keeps_mappings() const {
  const trace::EventData& event = session_->current();
  if (!event.followed.empty() || event.mapping) {
    return false;
  }
  switch (event.kind) {
  case trace::EventKind::kSystemCallBegun:
  case trace::EventKind::kSignal:
  case trace::EventKind::kTrap:
    break;
  case trace::EventKind::kSystemCall:
  case trace::EventKind::kSystemCallFinished: {
    const trace::SystemCall call(
        event.registers ? *event.registers : session_->tracee(session_->runner()).registers());
    if (trace::call_row(call).made != trace::Made::kNothing) {
      return false;
    }
    break;
  }
  default:
    return false;
  }
  return true;
}

// The same for code, of which the counted run has copies.
bool Traveller::keeps_code() const {
  const trace::EventData& event = session_->current();
  return keeps_mappings() && event.shared.empty() &&
         std::none_of(event.memory.begin(), event.memory.end(), [&](const auto& write) {
           return counted_run_->touches(write.address, write.data.length);
         });
}

Traveller::Sliced Traveller::counted(Walk& walk, const std::vector<std::uint64_t>& addresses,
                                     bool at_start) {
  using End = CountedOutcome::End;
  ReplaySession& session = *session_;
  const pid_t runner = session.runner();
  const pid_t pid = session.state().find_task(runner)->pid;
  const std::vector<Watch> watched = watches(walk, pid);
  bool conditions = false;
  armed(walk, pid, conditions);
  for (const auto& [id, breakpoint] : breakpoints_) {
    conditions = conditions || (!stops_execution(breakpoint) && breakpoint.condition);
  }
  const bool limited = walk.limit && walk.limit->event == now_.event && !walk.limit->arrived();
  const std::uint64_t limit = limited ? walk.limit->instructions - now_.count : kNoLimit;
  const Moment from = now_;
  CountedSites sites;
  sites.addresses = addresses;
  for (const Watch& watch : watched) {
    sites.watched.push_back(watch.bytes);
  }
  std::vector<BreakpointId> accessed;
  const bool wanted = wants(walk, pid, runner);
  for (const auto& [id, breakpoint] : breakpoints_) {
    if (wanted && looks_at_accesses(breakpoint) && (breakpoint.pid == 0 || breakpoint.pid == pid)) {
      sites.accessed.push_back({breakpoint.address, static_cast<std::uint32_t>(breakpoint.length),
                                breakpoint.kind == Breakpoint::Kind::kAccess});
      accessed.push_back(id);
    }
  }
  sites.record = walk.record && !conditions;
  if (meets(walk)) {
    sites.met = walk.meeting->met_state();
  }
  process::Tracee& tracee = session.tracee(runner);
  const auto hit = [&](std::uint64_t address) {
    const std::optional<Stop> stop = breakpoint_at(address);
    return stop && find(walk, *stop, now_, now_);
  };
  const auto hit_here = [&] {
    const std::uint64_t address = tracee.registers().rip;
    return std::binary_search(addresses.begin(), addresses.end(), address) && hit(address);
  };
  if (!at_start && meets(walk) && walk.meeting->is_here(session)) {
    return Sliced::kMet;
  }
  if (!at_start && hit_here()) {
    return Sliced::kFound;
  }
  const auto watch_stop = [&](BreakpointId id) {
    Stop stop = stop_of(StopReason::kWatchpoint, runner);
    stop.breakpoint = id;
    stop.address = breakpoints_.at(id).address;
    return stop;
  };
  const auto id_of = [&](End what, std::size_t site) {
    return what == End::kWatched ? watched[site].id : accessed[site];
  };
  std::uint64_t total = 0;
  bool near = walk.near && limited && limit > kFar;
  for (;;) {
    std::uint64_t piece = std::min(limit - total, kBasePiece);
    if (near && total < limit - kNear) {
      piece = std::min(piece, limit - kNear - total);
    }
    const CountedOutcome outcome = counted_run(sites).run(piece, walk.settings.interrupt);
    if (sites.record && outcome.last) {
      const Moment moment = from.after(total + outcome.last->executed);
      if (outcome.last->what != End::kAddress) {
        find(walk, watch_stop(id_of(outcome.last->what, outcome.last->site)), moment,
             from.after(total + outcome.last->executed - 1));
      } else if (const std::optional<Stop> stop = breakpoint_at(addresses[outcome.last->site])) {
        find(walk, *stop, moment, moment);
      }
    }
    total += outcome.executed;
    counted_ += outcome.executed;
    now_ = from.after(total);
    switch (outcome.end) {
    case End::kLimit:
      if (total == limit) {
        return Sliced::kLimit;
      }
      if (near && total == limit - kNear) {
        near = false;
        leave_counted();
        make_base();
      } else if (!walk.without_bases && now_.is_counted() &&
                 clock() - base_before(now_.place()).clock >= base_interval_) {
        leave_counted();
        if (base_is_due()) {
          make_base();
        }
      }
      if (walk.until && std::chrono::steady_clock::now() >= *walk.until) {
        return Sliced::kTooLong;
      }
      if (meets(walk) && walk.meeting->is_here(session)) {
        return Sliced::kMet;
      }
      if (hit_here()) {
        return Sliced::kFound;
      }
      continue;
    case End::kMet:
      if (walk.meeting->is_here(session)) {
        return Sliced::kMet;
      }
      if (hit_here()) {
        return Sliced::kFound;
      }
      continue;
    case End::kEvent:
      if (limited) {
        throw Error(ErrorCode::kInvalidArgument, "there is no place " + walk.limit->to_string() +
                                                     ": event " + std::to_string(now_.event) +
                                                     " has " + std::to_string(now_.count) +
                                                     " instructions before it");
      }
      session.advance({});
      return Sliced::kArrived;
    case End::kInterrupted:
      return Sliced::kInterrupted;
    case End::kAddress:
      if (hit(addresses[outcome.site])) {
        return Sliced::kFound;
      }
      continue;
    case End::kWatched:
    case End::kAccessed: {
      const BreakpointId id = id_of(outcome.end, outcome.site);
      if (condition_holds(breakpoints_.at(id), runner) &&
          find(walk, watch_stop(id), now_, from.after(total - 1))) {
        return Sliced::kFound;
      }
      if (total == limit) {
        return Sliced::kLimit;
      }
      if (hit_here()) {
        return Sliced::kFound;
      }
      continue;
    }
    }
  }
}

// Single steps of the task that RunSettings::step names.
Traveller::Sliced Traveller::step(Walk& walk) {
  ReplaySession& session = *session_;
  const pid_t tid = session.runner();
  const pid_t pid = session.state().find_task(tid)->pid;
  const std::vector<Watch> watched = watches(walk, pid);
  process::RemoteMemory& memory = session.memory(tid);
  bool conditions = false;
  const std::vector<std::uint64_t> addresses = armed(walk, pid, conditions);
  const auto value = [&](const Watch& watch) {
    std::uint64_t bytes = 0;
    memory.read_some(watch.bytes.address,
                     std::as_writable_bytes(std::span(&bytes, 1)).first(watch.bytes.length));
    return bytes;
  };
  std::vector<std::uint64_t> before;
  for (const Watch& watch : watched) {
    before.push_back(value(watch));
  }
  for (;;) {
    const Moment from = now_;
    if (!step_natively(session)) {
      session.advance({});
      return Sliced::kArrived;
    }
    now_ = now_.after(1);
    for (std::size_t i = 0; i < watched.size(); ++i) {
      const std::uint64_t now = value(watched[i]);
      if (now == std::exchange(before[i], now)) {
        continue;
      }
      const Breakpoint& breakpoint = breakpoints_.at(watched[i].id);
      if (condition_holds(breakpoint, tid)) {
        Stop stop = stop_of(StopReason::kWatchpoint, tid);
        stop.breakpoint = watched[i].id;
        stop.address = breakpoint.address;
        find(walk, stop, now_, from);
        return Sliced::kFound;
      }
    }
    const std::uint64_t address = session.tracee(tid).registers().rip;
    const bool in_range = address >= walk.settings.range_begin && address < walk.settings.range_end;
    if (!in_range) {
      find(walk, stop_of(StopReason::kStep, tid), now_, from);
      return Sliced::kFound;
    }
    if (std::binary_search(addresses.begin(), addresses.end(), address)) {
      if (const std::optional<Stop> stop = breakpoint_at(address)) {
        find(walk, *stop, now_, now_);
        return Sliced::kFound;
      }
    }
    if (is_interrupted(walk)) {
      return Sliced::kInterrupted;
    }
  }
}

// The bytes of a watchpoint, as the first of the processes that it is of has them.
std::vector<std::byte> Traveller::value_of(const Breakpoint& breakpoint) {
  std::vector<std::byte> bytes(breakpoint.length);
  for (const TaskState& task : session_->state().tasks) {
    if (breakpoint.pid == 0 || breakpoint.pid == task.pid) {
      bytes.resize(session_->memory(task.tid).read_some(breakpoint.address, bytes));
      return bytes;
    }
  }
  return {};
}

// Whether by the current event a call returns that has made a process and waited for it.
bool Traveller::ends_vfork() {
  if (session_->current().kind != trace::EventKind::kSystemCallFinished) {
    return false;
  }
  const pid_t tid = session_->runner();
  const user_regs_struct registers = session_->tracee(tid).registers(); // of the call's entry
  std::uint64_t flags = 0;
  switch (registers.orig_rax) {
  case SYS_vfork:
    return true;
  case SYS_clone:
    flags = registers.rdi;
    break;
  case SYS_clone3: // its flags come first (clone(2))
    session_->memory(tid).read_some(registers.rdi, std::as_writable_bytes(std::span(&flags, 1)));
    break;
  default:
    break;
  }
  return (flags & CLONE_VFORK) != 0;
}

// Lets the current event take effect. True: the walk ends.
bool Traveller::apply(Walk& walk) {
  ReplaySession& session = *session_;
  const pid_t runner = session.runner();
  const trace::EventData& event = session.current();
  const trace::EventKind kind = event.kind;
  const pid_t task_after = event.task;
  const pid_t child = event.child;
  const pid_t child_process = event.child_process;
  const std::uint64_t flags = event.flags;
  const bool has_way = session.has_way();
  const TaskState* state = session.state().find_task(runner);
  const pid_t pid = state != nullptr ? state->pid : 0;
  const bool wanted = wants(walk, pid, runner);
  std::int64_t call = -1;
  if (wanted && walk.settings.calls &&
      (kind == trace::EventKind::kSystemCall || kind == trace::EventKind::kSystemCallFinished)) {
    call = static_cast<std::int64_t>(event.registers ? event.registers->orig_rax
                                                     : session.tracee(runner).registers().orig_rax);
  }
  std::vector<std::pair<BreakpointId, std::vector<std::byte>>> values;
  if (wanted) {
    for (const auto& [id, breakpoint] : breakpoints_) {
      if (watches_changes(breakpoint)) {
        values.emplace_back(id, value_of(breakpoint));
      }
    }
  }
  const bool vfork_done = wanted && walk.settings.vfork && ends_vfork();
  const std::int64_t number = now_.event;
  if (counted_run_ && !keeps_code()) {
    leave_counted();
  }
  if (!code_.empty() && !keeps_mappings()) {
    code_.clear();
  }
  session.step();
  told_ = std::max(told_, session.event());
  now_ = {session.event(), 0, false, {}};
  if (!wanted) {
    return false;
  }
  const bool excluded = walk.limit && now_.place() == *walk.limit && !walk.with_limit;
  for (const auto& [id, before] : values) {
    const Breakpoint& breakpoint = breakpoints_.at(id);
    if (value_of(breakpoint) != before && condition_holds(breakpoint, task_after)) {
      Stop stop = stop_of(StopReason::kWatchpoint, task_after);
      stop.breakpoint = id;
      stop.address = breakpoint.address;
      if (find(walk, stop, now_,
               has_way ? Moment::last_of(number) : Moment{number, 0, false, {}})) {
        return true;
      }
      break;
    }
  }
  if (excluded) {
    return false;
  }
  if (kind == trace::EventKind::kExec && walk.settings.exec) {
    if (find(walk, stop_of(StopReason::kExec, task_after), now_, now_)) {
      return true;
    }
  }
  if (kind == trace::EventKind::kNewTask) {
    const bool thread = (flags & CLONE_THREAD) != 0;
    const bool vfork = (flags & CLONE_VFORK) != 0;
    if (thread ? walk.settings.threads : vfork ? walk.settings.vfork : walk.settings.fork) {
      Stop stop = stop_of(thread ? StopReason::kThreadBegin : StopReason::kFork, task_after);
      stop.child = thread ? child : child_process;
      stop.vfork = vfork;
      if (find(walk, stop, now_, now_)) {
        return true;
      }
    }
  }
  if (vfork_done && find(walk, stop_of(StopReason::kVforkDone, task_after), now_, now_)) {
    return true;
  }
  if (call >= 0 && (walk.settings.calls->empty() ||
                    std::find(walk.settings.calls->begin(), walk.settings.calls->end(), call) !=
                        walk.settings.calls->end())) {
    Stop stop = stop_of(StopReason::kCallReturn, task_after);
    stop.call = call;
    if (find(walk, stop, now_, now_)) {
      return true;
    }
  }
  if (walk.steps(runner)) {
    const TaskState* after = session.state().find_task(task_after);
    if (after != nullptr && !after->in_call) {
      const std::uint64_t address = session.tracee(task_after).registers().rip;
      if (address < walk.settings.range_begin || address >= walk.settings.range_end) {
        find(walk, stop_of(StopReason::kStep, task_after), now_, now_);
        return true;
      }
    }
  }
  return false;
}

} // namespace rrpcp::replay
