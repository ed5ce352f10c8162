// The states to start from.

#include "replay/checkpoint/session_checkpoint.h"
#include "replay/checkpoint/start_session.h"
#include "replay/travel/traveller.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <utility>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;

// Bases are at least so far apart, in time of replay.
constexpr std::chrono::milliseconds kLeastInterval(20);
// Making them takes about this part of the time at most.
constexpr int kPart = 15;
constexpr std::size_t kMostBases = 64;

} // namespace

ReplayOptions Traveller::options() {
  ReplayOptions options;
  options.warn = settings_.warn;
  options.machine_tried = session_ != nullptr || bases_made_ != 0;
  options.output = [this](int descriptor, std::span<const std::byte> bytes) {
    if (settings_.output && session_ && session_->event() >= told_) {
      settings_.output(descriptor, bytes, false);
    }
  };
  return options;
}

std::chrono::nanoseconds Traveller::clock() const {
  return clock_since_ ? clock_before_ + (Clock::now() - *clock_since_) : clock_before_;
}

void Traveller::stop_clock() {
  clock_before_ = clock();
  clock_since_.reset();
}

void Traveller::start_at(Base& base) {
  counted_run_.reset();
  code_.clear();
  if (session_) {
    stops_before_ += session_->stops();
  }
  ReplayOptions how = options();
  session_.reset(); // its processes end first
  if (base.copy) {
    session_ = base.copy->start(directory_, std::move(how));
  } else if (!base.path.empty()) {
    session_ = restore_session(directory_, std::move(how), CheckpointReader::open(base.path));
    session_->run_to(base.place.event);
  } else {
    session_ = std::make_unique<ReplaySession>(directory_, std::move(how));
    session_->run_to(base.place.event);
  }
  now_ = base.is_inside() ? Moment::at_base(base.place.event, base.number) : Moment::of(base.place);
  clock_before_ = base.clock;
  clock_since_.reset();
}

void Traveller::start_from(SessionCopy& copy, const Moment& moment, std::chrono::nanoseconds at) {
  counted_run_.reset();
  code_.clear();
  if (session_) {
    stops_before_ += session_->stops();
  }
  ReplayOptions how = options();
  session_.reset();
  session_ = copy.start(directory_, std::move(how));
  now_ = moment;
  clock_before_ = at;
  clock_since_.reset();
}

Base& Traveller::base_before(const Place& place, bool with_it) {
  Base* best = bases_.front().get();
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->place < place || (with_it && base->place == place)) {
      best = base.get();
    }
  }
  return *best;
}

// Starts from the newest usable base at or before the place.
void Traveller::restart(const Place& place) {
  for (;;) {
    Base& base = base_before(place);
    try {
      start_at(base);
      return;
    } catch (const Error& error) {
      session_.reset();
      if (&base == bases_.front().get()) {
        throw;
      }
      if (settings_.warn) {
        settings_.warn(
            "passing over a checkpoint: " +
            std::string(
                (error.file().empty() && !base.path.empty() ? error.in_file(base.path) : error)
                    .what()));
      }
      std::erase_if(bases_,
                    [&](const std::unique_ptr<Base>& other) { return other.get() == &base; });
    }
  }
}

bool Traveller::base_is_due() const {
  if (now_.is_arrived() || !now_.is_counted() || session_->state().tasks.empty()) {
    return false;
  }
  const std::chrono::nanoseconds here = clock();
  const Place place = now_.place();
  const Base* before = nullptr;
  const Base* after = nullptr;
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->place <= place) {
      before = base.get();
    } else if (after == nullptr) {
      after = base.get();
    }
  }
  return before != nullptr && before->place != place && here - before->clock >= base_interval_ &&
         (after == nullptr || !after->copy || after->clock - here >= base_interval_ / 2);
}

std::unique_ptr<Base> Traveller::new_base(const Place& place) {
  auto made = std::make_unique<Base>();
  made->place = place;
  made->clock = clock();
  made->copy = std::make_unique<SessionCopy>(*session_);
  made->most_memory = made->copy->most_memory();
  made->number = ++bases_made_;
  return made;
}

void Traveller::insert_base(std::unique_ptr<Base> base, Clock::time_point begun) {
  auto at = std::find_if(bases_.begin(), bases_.end(), [&](const std::unique_ptr<Base>& other) {
    return other->place > base->place;
  });
  bases_.insert(at, std::move(base));
  thin_out();
  const auto took = Clock::now() - begun;
  if (clock_since_) {
    *clock_since_ += took; // it is no time of replay
  }
  // On a busy machine one may take a hundred times as long as the others.
  const std::chrono::nanoseconds cost = base_interval_ / kPart;
  base_interval_ = std::max<std::chrono::nanoseconds>(
      kLeastInterval, kPart * (3 * cost + std::min<std::chrono::nanoseconds>(took, 4 * cost)) / 4);
}

void Traveller::make_base() {
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->copy && base->place == now_.place()) {
      return;
    }
  }
  if (now_.count != 0) {
    drop_inside(now_.event); // nobody knows which of them are before it
  }
  const Clock::time_point begun = Clock::now();
  insert_base(new_base(now_.place()), begun);
}

// What the bases occupy at most until the next one is made.
std::uint64_t Traveller::most_base_memory() const {
  std::uint64_t memory = 0;
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->copy) {
      memory += base->measured ? base->memory : base->most_memory;
    }
  }
  return memory;
}

// But for the latest one: what the replay shares with it becomes its own with time, and for that it
// is taken as all its own until another has been made. That covers what older ones share with both.
void Traveller::measure_bases() {
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->copy && base->number != bases_made_) {
      base->memory = base->copy->memory();
      base->measured = true;
    }
  }
}

// Keeps the number and the memory of bases within their limits: the older ones get thinner.
void Traveller::thin_out() {
  std::size_t alive = 0;
  for (const std::unique_ptr<Base>& base : bases_) {
    alive += base->copy ? 1 : 0;
  }
  // Measuring takes a while: only if what is known of them does not suffice.
  bool too_large = most_base_memory() > settings_.base_memory;
  if (too_large) {
    measure_bases();
    too_large = most_base_memory() > settings_.base_memory;
  }
  const std::chrono::nanoseconds here = clock();
  // Where somebody stands, and what was made just now, is wanted next.
  const auto is_wanted = [&](const Base& base) {
    return base.number == bases_made_ || (now_.base != 0 && base.number == now_.base);
  };
  bool all = false;
  while (alive > kMostBases || too_large) {
    std::size_t worst = 0;
    double least = 0;
    for (std::size_t i = 1; i < bases_.size(); ++i) {
      const Base& base = *bases_[i];
      if (!base.copy || base.kept != 0 || (!all && is_wanted(base))) {
        continue;
      }
      const auto after = i + 1 < bases_.size() ? bases_[i + 1]->clock : here;
      const double gap = static_cast<double>((after - bases_[i - 1]->clock).count());
      const double age = std::abs(static_cast<double>((here - base.clock).count())) +
                         static_cast<double>(base_interval_.count());
      if (worst == 0 || gap / age < least) {
        worst = i;
        least = gap / age;
      }
    }
    if (worst == 0) {
      if (all || !too_large) {
        return; // the user's own, all of them
      }
      all = true;
      continue;
    }
    bases_.erase(bases_.begin() + static_cast<std::ptrdiff_t>(worst));
    --alive;
    if (too_large) { // what it shared with others is now theirs
      measure_bases();
      too_large = most_base_memory() > settings_.base_memory;
    }
  }
}

void Traveller::keep(const Place& place) {
  if (place.arrived()) {
    return; // it is reached from bases before it
  }
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->place == place) {
      ++base->kept;
      return;
    }
  }
  make_base();
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->place == place) {
      ++base->kept;
    }
  }
}

void Traveller::release(const Place& place) {
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->place == place && base->kept > 0) {
      --base->kept;
    }
  }
}

std::unique_ptr<SessionCopy> Traveller::copy_here() {
  return std::make_unique<SessionCopy>(session());
}

// Checkpoints of the trace that are exact places, or lie before an event's boundary.
void Traveller::look_for_stored() {
  std::erase_if(bases_, [](const std::unique_ptr<Base>& base) { return !base->path.empty(); });
  if (settings_.ignore_checkpoints) {
    return;
  }
  std::vector<StoreEntry> entries;
  try {
    entries = checkpoint_store(directory_).list();
  } catch (const Error& error) {
    if (settings_.warn) {
      settings_.warn("passing over checkpoints: " + std::string(error.what()));
    }
    return;
  }
  for (const StoreEntry& entry : entries) {
    std::optional<Error> problem = entry.problem;
    if (!problem && entry.header.trace_uuid != trace_.uuid()) {
      problem = Error(ErrorCode::kForeignTrace, "it belongs to another trace");
    }
    if (problem) {
      if (settings_.warn) {
        settings_.warn("passing over a checkpoint: " + entry.path + ": " + problem->what());
      }
      continue;
    }
    Place place{entry.header.event, 0};
    if (entry.header.position_kind == format::kPositionBetween) {
      if (entry.header.instructions != 0) {
        place.instructions = entry.header.instructions;
      } else {
        ++place.event; // somewhere before it
      }
    } else if (entry.header.position_kind != format::kPositionAtEvent) {
      continue;
    }
    if (place <= start_ || place.event > trace_.event_count()) {
      continue;
    }
    if (place.instructions != 0) {
      drop_inside(place.event); // nobody knows which of them are before it
    }
    auto made = std::make_unique<Base>();
    made->place = place;
    made->path = entry.path;
    auto at = std::find_if(bases_.begin(), bases_.end(),
                           [&](const std::unique_ptr<Base>& base) { return base->place > place; });
    made->clock = at == bases_.begin() ? std::chrono::nanoseconds{} : (*(at - 1))->clock;
    bases_.insert(at, std::move(made));
  }
}

// What the kernel keeps of tasks is complete only in processes that were not copied: another replay
// goes there.
std::string Traveller::store(const Place& place, const WriterOptions& writer) {
  StartOptions start;
  start.target = place.event;
  start.ignore_checkpoints = settings_.ignore_checkpoints;
  ReplayOptions how;
  how.machine_tried = true;
  const StartedSession started = start_session(directory_, how, start);
  ReplaySession& session = *started.session;
  session.run_to(place.event);
  if (place.instructions != 0) {
    CountedRun run(session, {});
    if (run.run(place.instructions).executed != place.instructions) {
      throw Error(ErrorCode::kDivergence, "the replay did not come to place " + place.to_string())
          .in_file(directory_);
    }
  }
  std::optional<PlaceBetween> between;
  if (place.instructions != 0) {
    between = {0, place.instructions};
  }
  return save_checkpoint(session, writable_checkpoint_store(directory_), writer, between);
}

std::vector<StoredCheckpoint> Traveller::stored() const {
  std::vector<StoredCheckpoint> list;
  for (const StoreEntry& entry : checkpoint_store(directory_).list()) {
    if (entry.problem || entry.header.trace_uuid != trace_.uuid()) {
      continue;
    }
    if (entry.header.position_kind == format::kPositionAtEvent) {
      list.push_back({entry.path, {entry.header.event, 0}});
    } else if (entry.header.position_kind == format::kPositionBetween &&
               entry.header.instructions != 0) {
      list.push_back({entry.path, {entry.header.event, entry.header.instructions}});
    }
  }
  return list;
}

TimelineCosts Traveller::costs() const {
  TimelineCosts costs;
  costs.stops = stops_before_ + (session_ ? session_->stops() : 0);
  for (const std::unique_ptr<Base>& base : bases_) {
    if (base->copy) {
      ++costs.bases;
      costs.base_memory += base->copy->memory();
    }
  }
  costs.bases_made = bases_made_;
  costs.counted_instructions = counted_;
  return costs;
}

} // namespace rrpcp::replay
