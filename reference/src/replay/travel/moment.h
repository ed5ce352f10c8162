// Where a replay stands, named by the way on which it came there.
#pragma once

#include "rrpcp/replay/timeline.h"

#include <cstdint>
#include <vector>

namespace rrpcp::replay {

// A program that runs as fast as it can, up to a breakpoint, counts no instructions: what is known
// then is how often it came to that address. From that its place can be counted later.
struct Moment {
  // From where it was so far.
  struct Leg {
    std::uint64_t address = 0; // 0: executes `times` instructions
    std::uint64_t times = 0;   // comes to it so many times
    bool operator==(const Leg&) const = default;
  };

  std::int64_t event = 0;
  std::uint64_t count = 0; // Place::kArrived: at the event
  // At the instruction by which the event comes about, which has not been executed.
  bool at_last = false;
  std::vector<Leg> legs = {};
  // Number of the base on the way to the event from which `count` goes; 0: its beginning. (Such
  // a base is somewhere in a computation, which nobody has counted.)
  std::uint64_t base = 0;

  bool operator==(const Moment&) const = default;

  static Moment of(const Place& place) { return {place.event, place.instructions, false, {}}; }
  static Moment arrived(std::int64_t event) { return {event, Place::kArrived, false, {}}; }
  static Moment last_of(std::int64_t event) { return {event, 0, true, {}}; }
  static Moment at_base(std::int64_t event, std::uint64_t number) {
    return {event, 0, false, {}, number};
  }

  bool is_arrived() const { return count == Place::kArrived; }
  bool is_counted() const { return base == 0 && is_settled(); }
  // The same, if need be from its base.
  bool is_settled() const { return legs.empty() && !at_last; }
  Place place() const { return {event, count}; }

  Moment after(std::uint64_t instructions) const {
    Moment moment = *this;
    if (instructions == 0) {
      return moment;
    }
    if (legs.empty()) {
      moment.count += instructions;
    } else if (legs.back().address == 0) {
      moment.legs.back().times += instructions;
    } else {
      moment.legs.push_back({0, instructions});
    }
    return moment;
  }
  Moment at_arrival(std::uint64_t address, std::uint64_t times) const {
    Moment moment = *this;
    moment.legs.push_back({address, times});
    return moment;
  }
};

} // namespace rrpcp::replay
