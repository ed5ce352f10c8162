// A timeline within a computation that makes no event: what is met there is found again backward,
// though nobody has counted how far it is.

#include "replay/travel/recorded_program.h"
#include "rrpcp/replay/timeline.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/user.h>
#include <thread>
#include <utility>
#include <vector>

namespace rrpcp {
namespace {

constexpr int kTurns = 32;

constexpr const char* kProgram = R"(
#include <string.h>
#include <unistd.h>
volatile long turn, state, last;
static char from[4096], to[4096];
__attribute__((noinline)) void common(long a) { __asm__ volatile("" : : "r"(a) : "memory"); }
__attribute__((noinline)) void rare(long a) { last = a; __asm__ volatile("" : : : "memory"); }
__attribute__((noinline)) void compute(long n) {
  for (; n > 0; --n) {
    state = state * 31 + n;
    if ((n & 0xfffff) == 0) {
      void *d = to; const void *s = from; long c = sizeof to;
      __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
  }
}
int main(void) {
  getppid();
  for (turn = 0; turn < 32; ++turn) {
    compute(3000000);
    common(turn);
    if (turn % 8 == 5) rare(turn);
  }
  getppid();
  return 0;
}
)";

// All that the program can tell its places by.
struct Seen {
  StopReason reason = StopReason::kStep;
  std::array<long, 3> values{}; // turn, state, last
  user_regs_struct registers{};

  bool operator==(const Seen& other) const {
    return reason == other.reason && values == other.values &&
           std::memcmp(&registers, &other.registers, sizeof registers) == 0;
  }
};

class LongComputation : public test::RecordedProgram {
protected:
  LongComputation() : RecordedProgram(kProgram) {}

  Timeline open(std::uint64_t base_memory = std::uint64_t{1} << 30) {
    TimelineSettings settings;
    settings.base_memory = base_memory;
    settings.warn = [](const std::string& warning) { ADD_FAILURE() << warning; };
    return Timeline::open(trace(), settings);
  }
  Seen look(Timeline& timeline, const Stop& stop) {
    Seen seen;
    seen.reason = stop.reason;
    const char* const names[] = {"turn", "state", "last"};
    for (std::size_t i = 0; i < 3; ++i) {
      timeline.read_memory(stop.pid, symbol(names[i]),
                           std::as_writable_bytes(std::span(&seen.values[i], 1)));
    }
    const auto bytes = timeline.registers(stop.tid, NT_PRSTATUS);
    std::memcpy(&seen.registers, bytes->data(), sizeof seen.registers);
    return seen;
  }
  // All stops in a direction, and where they stand still at its end.
  std::vector<Seen> all(Timeline& timeline, Direction direction) {
    const StopReason end =
        direction == Direction::kForward ? StopReason::kExit : StopReason::kStartOfHistory;
    std::vector<Seen> list;
    for (;;) {
      const Stop stop = timeline.run(direction);
      if (stop.reason == end) {
        return list;
      }
      list.push_back(look(timeline, stop));
      if (list.size() > 2 * kTurns) {
        ADD_FAILURE() << "it finds too many";
        return list;
      }
    }
  }
};

TEST_F(LongComputation, IsAMirror) {
  // With all bases and with hardly any.
  for (const std::uint64_t memory : {std::uint64_t{1} << 30, std::uint64_t{3} << 20}) {
    Timeline timeline = open(memory);
    const BreakpointId rare = stop_at(timeline, "rare");
    const std::vector<Seen> forward = all(timeline, Direction::kForward);
    ASSERT_EQ(forward.size(), kTurns / 8u);
    std::vector<Seen> backward = all(timeline, Direction::kBackward);
    std::reverse(backward.begin(), backward.end());
    EXPECT_EQ(forward, backward);
    if (memory < std::uint64_t{1} << 30) {
      EXPECT_LE(timeline.costs().base_memory, memory);
      continue;
    }
    // Again, and from the middle.
    EXPECT_EQ(all(timeline, Direction::kForward), forward);
    timeline.run(Direction::kBackward);
    timeline.run(Direction::kBackward);
    EXPECT_EQ(look(timeline, timeline.run(Direction::kForward)), forward.back());
    EXPECT_EQ(look(timeline, timeline.run(Direction::kBackward)), forward[forward.size() - 2]);
    // What was never looked for on the way.
    all(timeline, Direction::kForward);
    timeline.remove(rare);
    stop_at(timeline, "common");
    backward = all(timeline, Direction::kBackward);
    ASSERT_EQ(backward.size(), static_cast<std::size_t>(kTurns));
    std::reverse(backward.begin(), backward.end());
    EXPECT_EQ(all(timeline, Direction::kForward), backward);
    for (int i = 0; i < kTurns; ++i) {
      EXPECT_EQ(backward[static_cast<std::size_t>(i)].values[0], i);
    }
  }
}

TEST_F(LongComputation, ChangesAreFoundBackward) {
  Timeline timeline = open();
  timeline.go_to(timeline.end());
  Breakpoint watch;
  watch.kind = Breakpoint::Kind::kWrite;
  watch.address = symbol("last");
  watch.length = 8;
  timeline.add(watch);
  // Each is met where it is about to be made.
  for (const long before : {21, 13, 5, 0}) {
    const Stop stop = timeline.run(Direction::kBackward);
    ASSERT_EQ(stop.reason, StopReason::kWatchpoint);
    EXPECT_EQ(look(timeline, stop).values[2], before);
  }
  EXPECT_EQ(timeline.run(Direction::kBackward).reason, StopReason::kStartOfHistory);
}

// What is counted afterwards is where it was, and steps from places that are not counted are steps.
TEST_F(LongComputation, PlacesAreCountedLater) {
  Timeline timeline = open();
  stop_at(timeline, "rare");
  timeline.run(Direction::kForward);
  timeline.run(Direction::kForward);
  const Stop third = timeline.run(Direction::kForward);
  const Seen seen = look(timeline, third);
  // From there into the loop, whose instructions are met all the time.
  RunSettings step;
  step.step = third.tid;
  std::vector<Seen> steps;
  for (int i = 0; i < 40; ++i) {
    steps.push_back(look(timeline, timeline.run(Direction::kForward, step)));
  }
  EXPECT_EQ(look(timeline, timeline.run(Direction::kBackward)), seen);
  for (int i = 0; i < 40; ++i) {
    timeline.run(Direction::kForward, step);
  }
  for (std::size_t i = steps.size() - 1; i-- > 0;) {
    Seen back = look(timeline, timeline.run(Direction::kBackward, step));
    ASSERT_EQ(back, steps[i]) << i;
  }
  timeline.run(Direction::kBackward, step);
  const Place place = timeline.here();
  EXPECT_GT(place.instructions, 3'000'000u * 20);
  {
    Timeline other = open();
    other.go_to(place);
    Stop there = third;
    Seen again = look(other, there);
    EXPECT_EQ(again, seen);
    stop_at(other, "rare");
    const Stop before = other.run(Direction::kBackward);
    EXPECT_EQ(look(other, before).values[0], seen.values[0] - 8);
  }
  // Before the first instruction of all that were passed.
  EXPECT_EQ(look(timeline, timeline.run(Direction::kBackward)).values[0], seen.values[0] - 8);
  const Place second = timeline.here();
  EXPECT_LT(second, place);
  EXPECT_EQ(timeline.run(Direction::kForward).reason, StopReason::kBreakpoint);
  EXPECT_EQ(timeline.here(), place);
  timeline.go_to(second);
  EXPECT_EQ(timeline.here(), second);
}

// A checkpoint whose place nobody has counted leads back to it, before and after that is asked.
TEST_F(LongComputation, CheckpointsAreCountedLater) {
  Timeline timeline = open();
  stop_at(timeline, "rare");
  timeline.run(Direction::kForward);
  const Seen second = look(timeline, timeline.run(Direction::kForward));
  const std::uint64_t number = timeline.make_checkpoint();
  timeline.run(Direction::kForward);
  const Seen fourth = look(timeline, timeline.run(Direction::kForward));
  const std::uint64_t other = timeline.make_checkpoint();
  timeline.run(Direction::kBackward);
  timeline.go_to_checkpoint(number);
  Stop stop;
  stop.reason = StopReason::kBreakpoint;
  stop.tid = timeline.current_task();
  EXPECT_EQ(look(timeline, stop), second);
  EXPECT_EQ(look(timeline, timeline.run(Direction::kBackward)).values[0], second.values[0] - 8);
  EXPECT_EQ(look(timeline, timeline.run(Direction::kForward)), second);
  timeline.go_to_checkpoint(other);
  EXPECT_EQ(look(timeline, stop), fourth);
  timeline.go_to_checkpoint(number);
  const std::vector<TimelineCheckpoint> list = timeline.checkpoints();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(look(timeline, stop), second);
  EXPECT_EQ(timeline.here(), list[0].place);
  timeline.go_to(list[1].place);
  EXPECT_EQ(look(timeline, stop), fourth);
  EXPECT_LT(list[0].place, list[1].place);
  timeline.forget_checkpoint(number);
  timeline.go_to_checkpoint(other);
  EXPECT_EQ(timeline.here(), list[1].place);
}

TEST_F(LongComputation, AnInterruptionLeavesItAtAPlace) {
  Timeline timeline = open();
  const BreakpointId common = stop_at(timeline, "common");
  timeline.run(Direction::kForward);
  const Seen first = look(timeline, timeline.run(Direction::kForward));
  timeline.remove(common);
  std::atomic<bool> interrupt = false;
  RunSettings settings;
  settings.interrupt = &interrupt;
  std::thread interrupter([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    interrupt = true;
  });
  const Stop stop = timeline.run(Direction::kForward, settings);
  interrupter.join();
  if (stop.reason != StopReason::kInterrupted) {
    return; // a fast machine is at the end before
  }
  const Seen where = look(timeline, stop);
  EXPECT_GE(where.values[0], first.values[0]);
  stop_at(timeline, "common");
  // An interruption on the way back leaves it where it was.
  interrupt = true;
  Stop still = timeline.run(Direction::kBackward, settings);
  EXPECT_EQ(still.reason, StopReason::kInterrupted);
  EXPECT_EQ(look(timeline, still), where);
  // What it comes to from there is the same from a place that was counted.
  const Stop back = timeline.run(Direction::kBackward);
  const Seen latest = look(timeline, back);
  EXPECT_EQ(latest.reason, StopReason::kBreakpoint);
  EXPECT_LE(latest.values[0], where.values[0]);
  EXPECT_GE(latest.values[0], where.values[0] - 1);
  const Place place = timeline.here();
  EXPECT_EQ(look(timeline, back), latest);
  const Seen before = look(timeline, timeline.run(Direction::kBackward));
  EXPECT_EQ(before.values[0], latest.values[0] - 1);
  EXPECT_EQ(look(timeline, timeline.run(Direction::kForward)), latest);
  EXPECT_EQ(timeline.here(), place);
}

} // namespace
} // namespace rrpcp
