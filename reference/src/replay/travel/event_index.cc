#include "replay/travel/event_index.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace rrpcp::replay {

namespace {

constexpr std::int64_t kStretch = 256;
constexpr std::size_t kMostStretches = 64;
// Of an event's data, enough for a siginfo_t.
constexpr std::uint64_t kMostHeld = 1 << 20;

} // namespace

const EventFacts& EventIndex::facts(std::int64_t event) {
  const std::int64_t first = (event - 1) / kStretch * kStretch + 1;
  auto found = stretches_.find(first);
  if (found == stretches_.end()) {
    if (stretches_.size() >= kMostStretches) {
      stretches_.clear();
    }
    std::vector<EventFacts> made;
    EventReader events = trace_.events(first);
    trace::EventData data;
    for (std::int64_t i = 0; i < kStretch && !events.at_end(); ++i, events.next()) {
      const std::span<std::byte> room =
          data.decode(events.event(), events.data_length(), kMostHeld);
      EventFacts facts;
      facts.kind = data.kind;
      facts.task = data.task;
      facts.runner = data.former_task != 0 ? data.former_task : data.task;
      facts.child = data.child;
      facts.has_way = data.registers && data.kind != trace::EventKind::kPreemption;
      facts.time = data.time;
      if (data.kind == trace::EventKind::kSignal && !room.empty()) {
        events.read_data(0, room);
        const std::span<const std::byte> info = data.bytes(data.signal_info);
        if (info.size() >= sizeof facts.signal) {
          std::memcpy(&facts.signal, info.data(), sizeof facts.signal);
        }
      }
      made.push_back(facts);
    }
    found = stretches_.emplace(first, std::move(made)).first;
  }
  return found->second.at(static_cast<std::size_t>(event - first));
}

} // namespace rrpcp::replay
