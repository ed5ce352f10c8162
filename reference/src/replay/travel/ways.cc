// Ways to places, and back.

#include "replay/travel/traveller.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <span>
#include <utility>

namespace rrpcp::replay {

namespace {

// A place that is met more often on the way is counted.
constexpr std::uint64_t kMostFollowed = 100;

} // namespace

Traveller::Traveller(std::string directory, TimelineSettings settings, std::int64_t target)
    : directory_(std::move(directory)), settings_(std::move(settings)),
      trace_(TraceReader::open(directory_)), index_(trace_) {
  const std::int64_t count = trace_.event_count();
  if (target < 1 || target > count + 1) {
    throw Error(ErrorCode::kInvalidArgument, "the trace has no event " + std::to_string(target) +
                                                 ": its events are 1 to " + std::to_string(count))
        .in_file(directory_);
  }
  // The first place with a process is behind the first exec.
  for (std::int64_t event = 1; event <= count && start_.event == 0; ++event) {
    if (index_.facts(event).kind == trace::EventKind::kExec) {
      start_ = {event + 1, 0};
    }
  }
  if (start_.event == 0) {
    throw Error(ErrorCode::kUnsupportedState, "no program was executed").in_file(directory_);
  }
  auto first = std::make_unique<Base>();
  first->place = start_;
  bases_.push_back(std::move(first));
  look_for_stored();
  base_interval_ = std::chrono::milliseconds(20);
  told_ = std::max(target, start_.event);
  go_to(std::max(start_, std::min(Place{target, 0}, end())));
}

ReplaySession& Traveller::session() {
  if (!session_) {
    throw Error(ErrorCode::kInvalidArgument, "the replay has failed: go to another place first");
  }
  return *session_;
}

Place Traveller::end() const {
  const std::int64_t count = trace_.event_count();
  // At the end of the last process it stands before that end.
  const EventFacts& last = const_cast<EventIndex&>(index_).facts(count);
  return last.kind == trace::EventKind::kExit && trace_.complete() ? Place{count, Place::kArrived}
                                                                   : Place{count + 1, 0};
}

void Traveller::go_to(const Place& place, bool near) {
  if (place < start_ || place > end()) {
    throw Error(ErrorCode::kInvalidArgument, "the recording has no place " + place.to_string() +
                                                 ": it goes from " + start_.to_string() + " to " +
                                                 end().to_string())
        .in_file(directory_);
  }
  if (session_ && now_.is_counted() && now_.place() == place) {
    return;
  }
  // On the way to the current event or at it: what is not counted may be ahead of another place
  // there.
  const bool ahead =
      session_ && (now_.is_counted() ? now_.place() < place : now_.event < place.event);
  const Base& base = base_before(place);
  const bool newer = now_.is_counted() ? base.place > now_.place() : base.place.event > now_.event;
  if (!ahead || newer) {
    restart(place);
  }
  const RunSettings settings;
  Walk way{settings, place};
  way.blind = true;
  way.near = near;
  try {
    walk(way);
    if (now_.place() != place) {
      throw Error(ErrorCode::kInvalidArgument, "there is no place " + place.to_string() +
                                                   ": event " + std::to_string(place.event) +
                                                   " has no instructions of its own before it");
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalidArgument) {
      restart({place.event, 0});
      Walk back{settings, Place{place.event, 0}};
      back.blind = true;
      walk(back);
    } else {
      session_.reset();
    }
    throw;
  }
}

// By the way on which it was reached. Without `counts` as fast as it can be.
void Traveller::go_to_moment(const Moment& moment, bool near, bool counts) {
  if (moment.base != 0) {
    start_inside(moment, near);
  } else if (const Base& last = base_before(Place{moment.event, Place::kArrived});
             moment.at_last && last.is_inside() && last.place.event == moment.event) {
    start_inside(Moment::at_base(moment.event, last.number), false);
  } else {
    go_to(moment.place(), near);
  }
  if (moment.is_settled()) {
    return;
  }
  ReplaySession& session = *session_;
  if (moment.at_last) {
    if (session.has_way()) {
      CountedRun run(session, {});
      const CountedOutcome outcome = run.run(kNoLimit);
      counted_ += outcome.executed;
      now_ = now_.after(outcome.executed);
    }
    return;
  }
  for (const Moment::Leg& leg : moment.legs) {
    if (!counts && leg.address != 0 && leg.times <= kMostFollowed) {
      if (follow(leg)) {
        continue;
      }
      did_not_come(moment);
    }
    CountedSites sites;
    if (leg.address != 0) {
      sites.addresses = {leg.address};
      sites.times = leg.times;
    }
    CountedRun run(session, sites);
    const CountedOutcome outcome = run.run(leg.address != 0 ? kNoLimit : leg.times);
    counted_ += outcome.executed;
    now_ = now_.after(outcome.executed);
    const auto wanted =
        leg.address != 0 ? CountedOutcome::End::kAddress : CountedOutcome::End::kLimit;
    if (outcome.end != wanted) {
      did_not_come(moment);
    }
  }
}

// Runs freely until it has come to the address so many times.
bool Traveller::follow(const Moment::Leg& leg) {
  const std::uint64_t address = leg.address;
  for (std::uint64_t left = leg.times; left > 0; --left) {
    if (session_->tracee(session_->runner()).registers().rip == address &&
        !step_natively(*session_)) {
      return false;
    }
    if (session_->advance(std::span(&address, 1)) != Way::kTrap) {
      return false;
    }
  }
  now_ = now_.at_arrival(address, leg.times);
  return true;
}

void Traveller::did_not_come(const Moment& moment) {
  session_.reset();
  throw Error(ErrorCode::kDivergence, "the replay did not come again where it was, behind event " +
                                          std::to_string(moment.event))
      .in_file(directory_);
}

Place Traveller::here() {
  session();
  if (now_.base != 0) {
    count_from({now_.event, Base::kInside});
  } else if (!now_.is_counted()) {
    const Moment moment = now_;
    go_to_moment(moment);
  }
  return now_.place();
}

// A run that was interrupted somewhere stands at a place that can be named: where the task is at
// this address for the first time.
void Traveller::stand_after_interruption(const Moment& from, std::uint64_t address) {
  if (from.base == 0) {
    restart(from.place());
  }
  go_to_moment(from);
  CountedSites sites;
  sites.addresses = {address};
  CountedRun run(*session_, sites);
  const CountedOutcome outcome = run.run(kNoLimit);
  counted_ += outcome.executed;
  now_ = now_.after(outcome.executed);
}

Stop Traveller::run(Direction direction, const RunSettings& settings) {
  session();
  try {
    if (direction == Direction::kForward) {
      return forward(settings);
    }
    return settings.step != 0 ? step_back(settings) : backward(settings);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) {
      session_.reset();
    }
    throw;
  }
}

Stop Traveller::forward(const RunSettings& settings) {
  Walk way{settings};
  switch (walk(way)) {
  case Outcome::kFound:
    return way.found->stop;
  case Outcome::kInterrupted:
    return stop_of(StopReason::kInterrupted, session_->runner());
  default:
    return stop_of(StopReason::kEndOfHistory, session_->runner());
  }
}

std::optional<Traveller::Happening> Traveller::latest_before(const Place& until, const Place& from,
                                                             const RunSettings& settings,
                                                             pid_t except, bool& interrupted,
                                                             bool with_until) {
  Place limit = until;
  bool with_limit = with_until;
  while (limit > from) {
    const Base& last = base_before(limit, false);
    if (last.is_inside()) {
      std::size_t newest = 0;
      while (bases_[newest].get() != &last) {
        ++newest;
      }
      std::size_t oldest = newest;
      while (bases_[oldest]->is_inside()) {
        --oldest;
      }
      const Place before = bases_[oldest]->place;
      std::optional<Happening> found =
          latest_inside(newest, {limit, with_limit, nullptr}, settings, except, interrupted);
      if (found || interrupted || before <= start_) {
        return found;
      }
      limit = before;
      with_limit = true;
      continue;
    }
    const Place base = last.place;
    restart(base);
    const Place begun = now_.place(); // of an older one, where that cannot be used
    Walk way{settings, limit, with_limit};
    way.record = true;
    way.except = except;
    if (walk(way) == Outcome::kInterrupted) {
      interrupted = true;
      return std::nullopt;
    }
    if (way.found) {
      return way.found;
    }
    if (begun <= start_) {
      return std::nullopt;
    }
    limit = begun;
    with_limit = true;
  }
  return std::nullopt;
}

Stop Traveller::backward(const RunSettings& settings) {
  if (now_.base != 0) {
    return backward_inside(settings);
  }
  const Place here = this->here();
  bool interrupted = false;
  const std::optional<Happening> found = latest_before(here, start_, settings, 0, interrupted);
  if (interrupted) {
    go_to(here);
    return stop_of(StopReason::kInterrupted, session_->runner());
  }
  return end_backward(found);
}

// How a search backward ends: at what was found, or else where the recording starts.
Stop Traveller::end_backward(const std::optional<Happening>& found) {
  if (!found) {
    go_to(start_);
    return stop_of(StopReason::kStartOfHistory, session_->runner());
  }
  go_to_moment(found->before, false, found->before.base == 0);
  return found->stop;
}

// The first place at which a task is as it is at the beginning of its way to the event.
std::int64_t Traveller::behind_latest_of(pid_t task, std::int64_t event) {
  for (std::int64_t before = event - 1; before >= start_.event; --before) {
    const EventFacts& facts = index_.facts(before);
    if (facts.task == task || facts.runner == task ||
        (facts.kind == trace::EventKind::kNewTask && facts.child == task)) {
      return before + 1;
    }
  }
  return start_.event;
}

Stop Traveller::step_back(const RunSettings& settings) {
  const pid_t tid = settings.step;
  RunSettings quiet = settings;
  quiet.step = 0;
  for (;;) {
    if (const std::optional<Stop> stop = step_back_inside(settings)) {
      return *stop;
    }
    const Place here = this->here();
    // Where the task's previous instruction begins.
    std::optional<Moment> target;
    Stop stop;
    stop.reason = StopReason::kStep;
    stop.tid = tid;
    const auto runs = [&](std::int64_t event) {
      return event <= trace_.event_count() && index_.facts(event).runner == tid;
    };
    if (runs(here.event) && here.instructions != 0) {
      if (!here.arrived()) {
        target = Moment::of({here.event, here.instructions - 1});
        if (target->count == 0) {
          // Forward it stops right behind the event before, whatever others did since.
          target->event = behind_latest_of(tid, here.event);
        }
      } else if (index_.facts(here.event).has_way) {
        target = Moment::last_of(here.event);
      } else if (here.event > start_.event && index_.facts(here.event - 1).task == tid &&
                 index_.facts(here.event - 1).kind != trace::EventKind::kSystemCallBegun) {
        // A signal, or its end, behind its latest event: forward it stops there first.
        target = Moment::of({here.event, 0});
      }
    }
    pid_t name = tid; // before it executed a program, it may have had another
    for (std::int64_t event = here.event - 1; !target && event >= start_.event; --event) {
      const EventFacts& facts = index_.facts(event);
      if (facts.kind == trace::EventKind::kNewTask && facts.child == name) {
        break; // it begins here
      }
      if (facts.task != name && facts.runner != name) {
        continue;
      }
      if (facts.kind == trace::EventKind::kSignal &&
          (!settings.report_signal || settings.report_signal(facts.signal))) {
        target = Moment::arrived(event);
        stop.reason = StopReason::kSignal;
        stop.signal = facts.signal;
      } else if (facts.kind == trace::EventKind::kPreemption) {
        target = Moment::of({event, 0});
      } else if (facts.has_way) {
        target = Moment::last_of(event);
      }
      name = facts.runner;
      stop.tid = name;
    }
    const Place from =
        target ? (target->at_last ? Place{target->event, 0} : target->place()) : start_;
    // What happens to others in between is met first.
    if (!breakpoints_.empty() && from.event < here.event) {
      // On the way to its event others may run already.
      const std::int64_t own = target && !runs(from.event) ? from.event - 1 : from.event;
      bool others = false;
      for (std::int64_t event = own + 1; event < here.event && !others; ++event) {
        others = index_.facts(event).runner != tid;
      }
      others = others || (here.instructions != 0 && !runs(here.event));
      if (others) {
        bool interrupted = false;
        const std::optional<Happening> found =
            latest_before(here, Place{own, Place::kArrived}, quiet, tid, interrupted);
        if (interrupted) {
          go_to(here);
          return stop_of(StopReason::kInterrupted, tid);
        }
        if (found && found->before.event > own && (!target || found->before != *target)) {
          go_to_moment(found->before);
          return found->stop;
        }
      }
    }
    if (!target) {
      go_to(start_);
      return stop_of(StopReason::kStartOfHistory, session_->runner());
    }
    go_to_moment(*target, true);
    if (target->at_last && now_.is_counted() && now_.count == 0 && breakpoints_.empty()) {
      go_to(Place{behind_latest_of(stop.tid, now_.event), 0});
    }
    if (const TaskState* task = session_->state().find_task(stop.tid)) {
      stop.pid = task->pid;
    }
    if (stop.reason != StopReason::kStep) {
      return stop;
    }
    const std::uint64_t address = session_->tracee(stop.tid).registers().rip;
    if (address < settings.range_begin || address >= settings.range_end ||
        is_interrupted({settings})) {
      return stop;
    }
  }
}

} // namespace rrpcp::replay
