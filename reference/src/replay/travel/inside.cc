// Ways back within a long computation, where nobody has counted.
//
// A task that computes for long without an event runs as fast as it can, and now and then its state
// is kept: a base at an arbitrary instruction. How many instructions lead there is not known, but
// the bases on the way to one event are in the order in which they were made, and what is met is
// named by the newest base before it. Other bases on the way to the event do not stay where they
// could not be put in order.
//
// What is met between an old base and the place where one stands is found by running from the base
// to that place, which is known again by its state (Meeting). Where such a run is to begin is only
// guessed: where the breakpoint was met before, or where a short look finds something. What a look
// missed, the run finds; so the guess costs time at worst.

#include "replay/travel/traveller.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;

// Looks take as long as what lies between two bases took, at least this.
constexpr std::chrono::milliseconds kLeastLook(1);
constexpr std::size_t kMostSightings = 256; // of an address

} // namespace

// The base from which the moment is named, or one before it.
const Base& Traveller::base_of(const Moment& moment) const {
  const Base* best = bases_.front().get();
  for (const std::unique_ptr<Base>& base : bases_) {
    const bool before =
        base->is_inside() && base->place.event == moment.event
            ? moment.base != 0 && base->number <= moment.base
            : base->place <= Place{moment.event, moment.base != 0 ? Base::kInside : moment.count};
    best = before ? base.get() : best;
  }
  return *best;
}

// Those on the way to the event, but for the ones up to number `after`.
void Traveller::drop_inside(std::int64_t event, std::uint64_t after) {
  std::erase_if(bases_, [&](const std::unique_ptr<Base>& base) {
    return base->is_inside() && base->place.event == event && base->number > after;
  });
}

// Keeps the state of a task that was interrupted on its way. False where that is not to be.
bool Traveller::make_base_inside() {
  // In the middle of a string instruction a place is none that a debugger may see.
  if (stands_at_repeating(*session_) && !step_natively(*session_)) {
    return false;
  }
  const auto is_behind = [&](const Base& base) {
    return base.place.event == now_.event && !base.is_inside() && now_.base == 0 &&
           base.place.instructions > now_.count;
  };
  const bool kept = std::any_of(bases_.begin(), bases_.end(), [&](const auto& base) {
    return is_behind(*base) && (base->kept != 0 || !base->copy);
  });
  if (kept) {
    return false;
  }
  std::erase_if(bases_, [&](const std::unique_ptr<Base>& base) { return is_behind(*base); });
  keep_inside();
  return true;
}

void Traveller::keep_inside() {
  drop_inside(now_.event, now_.base); // nobody knows which of them are before it
  const Clock::time_point begun = Clock::now();
  std::unique_ptr<Base> made = new_base({now_.event, Base::kInside});
  now_ = Moment::at_base(now_.event, made->number);
  insert_base(std::move(made), begun);
}

// Starts from the base that a moment is named from, and goes on by its count.
void Traveller::start_inside(const Moment& moment, bool near) {
  const auto named = std::find_if(bases_.begin(), bases_.end(), [&](const auto& base) {
    return base->is_inside() && base->number == moment.base;
  });
  if (named == bases_.end()) {
    throw Error(ErrorCode::kInternal, "a state that was kept is not there any more");
  }
  start_at(**named);
  const auto run = [&](std::uint64_t instructions) {
    if (instructions == 0) {
      return;
    }
    CountedRun counted(*session_, {});
    const CountedOutcome outcome = counted.run(instructions);
    counted_ += outcome.executed;
    now_ = now_.after(outcome.executed);
  };
  if (near && moment.count > kFar) {
    run(moment.count - kNear);
    keep_inside();
  }
  run(near && moment.count > kFar ? kNear : moment.count);
}

void Traveller::note_sighting(std::uint64_t address) {
  if (now_.base == 0) {
    return;
  }
  std::set<std::uint64_t>& seen = sightings_[address];
  seen.insert(now_.base);
  if (seen.size() > kMostSightings) {
    seen.erase(seen.begin());
  }
}

// The base before the latest known sighting of a breakpoint before base `newest`.
std::optional<std::size_t> Traveller::seen_before(std::size_t newest, std::size_t oldest) const {
  std::uint64_t latest = 0;
  for (const auto& [id, breakpoint] : breakpoints_) {
    const auto seen = sightings_.find(breakpoint.address);
    if (seen == sightings_.end()) {
      continue;
    }
    const auto behind = seen->second.lower_bound(bases_[newest]->number);
    if (behind != seen->second.begin()) {
      latest = std::max(latest, *std::prev(behind));
    }
  }
  for (std::size_t at = newest; at-- > oldest + 1;) {
    if (bases_[at]->number <= latest) {
      return at;
    }
  }
  return std::nullopt;
}

// The latest happening from the counted base before those on the way to an event, of which the one
// at index `newest` is the last that can be used, to the goal.
std::optional<Traveller::Happening> Traveller::latest_inside(std::size_t newest, const Goal& goal,
                                                             const RunSettings& settings,
                                                             pid_t except, bool& interrupted) {
  std::size_t oldest = newest;
  while (bases_[oldest]->is_inside()) {
    --oldest; // the first of all is not
  }
  const auto way_from = [&](std::size_t index) {
    start_at(*bases_[index]);
    Walk way{settings, goal.limit, goal.with_limit};
    way.except = except;
    way.with_start = bases_[index]->is_inside();
    way.without_bases = true;
    return way;
  };
  const auto all_from = [&](std::size_t index) {
    Walk way = way_from(index);
    way.record = true;
    way.meeting = goal.meeting;
    interrupted = walk(way) == Outcome::kInterrupted;
    return interrupted ? std::nullopt : way.found;
  };
  std::optional<Happening> found = all_from(newest);
  std::size_t searched = newest; // nothing is met from there on
  const bool runs_freely =
      std::all_of(breakpoints_.begin(), breakpoints_.end(), [](const auto& entry) {
        return entry.second.kind == Breakpoint::Kind::kSoftware ||
               entry.second.kind == Breakpoint::Kind::kHardware;
      });
  if (!runs_freely) {
    // The whole way back to twice as many bases each time.
    for (std::size_t more = 2; !found && !interrupted && searched > oldest; more *= 2) {
      searched -= std::min(more, searched - oldest);
      found = all_from(searched);
    }
    return found;
  }
  if (!found && !interrupted) {
    if (const std::optional<std::size_t> at = seen_before(newest, oldest)) {
      found = all_from(*at);
      searched = *at;
    }
  }
  for (std::size_t at = searched; !found && !interrupted && at > oldest;) {
    --at;
    Walk look = way_from(at);
    look.until = Clock::now() + std::max<std::chrono::nanoseconds>(
                                    bases_[at + 1]->clock - bases_[at]->clock, kLeastLook);
    const Outcome outcome = walk(look);
    interrupted = outcome == Outcome::kInterrupted;
    if (outcome == Outcome::kFound) {
      found = all_from(at);
      searched = at;
    }
  }
  if (!found && !interrupted && searched > oldest) {
    found = all_from(oldest); // looks prove nothing
  }
  return found;
}

Stop Traveller::backward_inside(const RunSettings& settings) {
  const Moment here = now_;
  const std::chrono::nanoseconds at = clock();
  const Meeting meeting(*session_);
  std::size_t newest = 0;
  const Base& base = base_of(here);
  while (bases_[newest].get() != &base) {
    ++newest;
  }
  Place before = base.place;
  for (std::size_t i = newest; bases_[i]->is_inside(); --i) {
    before = bases_[i - 1]->place;
  }
  bool interrupted = false;
  std::optional<Happening> found =
      latest_inside(newest, {{}, false, &meeting}, settings, 0, interrupted);
  if (!found && !interrupted && before > start_) {
    found = latest_before(before, start_, settings, 0, interrupted, true);
  }
  if (interrupted) {
    start_from(meeting.copy(), here, at);
    return stop_of(StopReason::kInterrupted, session_->runner());
  }
  return end_backward(found);
}

// Counts where a task stands, from the base before a place that is known to be before it.
void Traveller::count_from(const Place& place) {
  const Meeting meeting(*session_);
  drop_inside(now_.event);
  restart(place);
  const RunSettings settings;
  Walk way{settings};
  way.blind = true;
  way.counts = true;
  way.meeting = &meeting;
  walk(way);
}

std::unique_ptr<KeptState> Traveller::keep_uncounted() {
  if (now_.base == 0) {
    return nullptr;
  }
  return std::make_unique<KeptState>(KeptState{now_, copy_here(), clock()});
}

// What is known of the order of bases is that those of the state's computation that were there when
// it was kept, and were not counted, are before it.
void Traveller::go_to(const KeptState& state) {
  start_from(*state.copy, state.moment, state.clock);
  const auto is_counted = [&](const Base& base) {
    return base.place.event == now_.event && !base.is_inside() && base.place.instructions != 0;
  };
  if (std::any_of(bases_.begin(), bases_.end(), [&](const auto& base) {
        return is_counted(*base) && (base->kept != 0 || !base->copy);
      })) {
    count_from({now_.event, 0});
    return;
  }
  std::erase_if(bases_, [&](const std::unique_ptr<Base>& base) { return is_counted(*base); });
  keep_inside();
}

// One instruction back, or to before the range, as far as that is behind the base; nothing where it
// is not.
std::optional<Stop> Traveller::step_back_inside(const RunSettings& settings) {
  while (now_.base != 0 && base_of(now_).number == now_.base &&
         session_->runner() == settings.step) {
    if (!now_.is_settled()) {
      const Moment here = now_;
      go_to_moment(here);
    }
    if (now_.count == 0) {
      break;
    }
    Moment target = now_;
    --target.count;
    go_to_moment(target, true);
    const std::uint64_t address = session_->tracee(settings.step).registers().rip;
    if (address < settings.range_begin || address >= settings.range_end ||
        (settings.interrupt != nullptr && settings.interrupt->load(std::memory_order_relaxed))) {
      return stop_of(StopReason::kStep, settings.step);
    }
  }
  return std::nullopt;
}

} // namespace rrpcp::replay
