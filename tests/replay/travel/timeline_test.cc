// What a timeline is besides a mirror: diversions, checkpoints with their places, limits.

#include "replay/travel/recorded_program.h"
#include "rrpcp/error.h"
#include "rrpcp/replay/timeline.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/user.h>
#include <vector>

namespace rrpcp {
namespace {

constexpr const char* kProgram = R"(
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
volatile long value = 5;
volatile int counter;
__attribute__((noinline)) long twice(long a) { value = a; write(1, "diverted\n", 9); return 2 * a; }
__attribute__((noinline)) void tick(void) { counter++; }
int main(void) {
  char *block = malloc(8 << 20);
  for (int i = 0; i < 60; ++i) {
    memset(block, i, 8 << 20);
    tick();
    for (int k = 0; k < 20; ++k) getppid();
  }
  long n = 0;
  for (int i = 0; i < 1000000; ++i) { n += i; tick(); }
  write(1, "end\n", 4);
  return (int)(n & 1) + (counter == 0 ? (int)twice(1) : 0);
}
)";

class TimelineTest : public test::RecordedProgram {
protected:
  TimelineTest() : RecordedProgram(kProgram) {}

  static user_regs_struct registers_of(const std::optional<std::vector<std::byte>>& bytes) {
    user_regs_struct registers{};
    std::memcpy(&registers, bytes->data(), sizeof registers);
    return registers;
  }
  static long value_at(Timeline& timeline, std::uint64_t address) {
    long value = 0;
    timeline.read_memory(0, address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
};

TEST_F(TimelineTest, ADiversionLeavesTheReplayAsItIs) {
  std::string written;
  std::string diverted;
  TimelineSettings settings;
  settings.output = [&](int, std::span<const std::byte> bytes, bool is_diverted) {
    (is_diverted ? diverted : written)
        .append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  Timeline timeline = Timeline::open(trace(), settings);
  stop_at(timeline, "tick");
  const Stop stop = timeline.run(Direction::kForward);
  ASSERT_EQ(stop.reason, StopReason::kBreakpoint);
  const Place place = timeline.here();
  const user_regs_struct before = registers_of(timeline.registers(stop.tid, NT_PRSTATUS));
  {
    Diversion diversion = timeline.divert();
    user_regs_struct registers = before;
    registers.rsp = ((registers.rsp - 1024) & ~15ull) - 8;
    const std::uint64_t back = symbol("main");
    Breakpoint returned;
    returned.address = back;
    const BreakpointId id = diversion.add(returned);
    diversion.write_memory(stop.pid, registers.rsp, std::as_bytes(std::span(&back, 1)));
    registers.rip = symbol("twice");
    registers.rdi = 21;
    diversion.set_registers(stop.tid, NT_PRSTATUS, std::as_bytes(std::span(&registers, 1)));
    const Stop end = diversion.run(stop.tid, false);
    EXPECT_EQ(end.reason, StopReason::kBreakpoint);
    EXPECT_EQ(end.breakpoint, id);
    EXPECT_EQ(registers_of(diversion.registers(stop.tid, NT_PRSTATUS)).rax, 42u);
    long value = 0;
    diversion.read_memory(stop.pid, symbol("value"), std::as_writable_bytes(std::span(&value, 1)));
    EXPECT_EQ(value, 21);
  }
  EXPECT_EQ(diverted, "diverted\n");
  EXPECT_EQ(written, "");
  EXPECT_EQ(value_at(timeline, symbol("value")), 5);
  const user_regs_struct after = registers_of(timeline.registers(stop.tid, NT_PRSTATUS));
  EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
  EXPECT_EQ(timeline.here(), place);
  timeline.go_to(timeline.end());
  EXPECT_EQ(written, "end\n");
}

TEST_F(TimelineTest, CheckpointsAreExactPlacesAcrossStarts) {
  Place place;
  user_regs_struct registers{};
  {
    Timeline timeline = Timeline::open(trace());
    stop_at(timeline, "tick");
    timeline.run(Direction::kForward);
    const Stop stop = timeline.run(Direction::kForward);
    ASSERT_EQ(stop.reason, StopReason::kBreakpoint);
    place = timeline.here();
    registers = registers_of(timeline.registers(stop.tid, NT_PRSTATUS));
    const std::uint64_t number = timeline.make_checkpoint();
    timeline.store();
    timeline.go_to(timeline.end());
    timeline.go_to_checkpoint(number);
    EXPECT_EQ(timeline.here(), place);
    timeline.forget_checkpoint(number);
    EXPECT_THROW(timeline.go_to_checkpoint(number), Error);
  }
  Timeline timeline = Timeline::open(trace());
  const std::vector<StoredCheckpoint> stored = timeline.stored_checkpoints();
  ASSERT_EQ(stored.size(), 1u);
  EXPECT_EQ(stored[0].place, place);
  ASSERT_GT(place.instructions, 0u);
  timeline.go_to(stored[0].place);
  const user_regs_struct again =
      registers_of(timeline.registers(timeline.current_task(), NT_PRSTATUS));
  EXPECT_EQ(std::memcmp(&registers, &again, sizeof again), 0);
}

TEST_F(TimelineTest, ReadsAndAllAccessesAreFound) {
  Timeline timeline = Timeline::open(trace());
  Breakpoint watch;
  watch.address = symbol("counter");
  watch.length = 4;
  watch.kind = Breakpoint::Kind::kRead;
  const BreakpointId id = timeline.add(watch);
  const Stop stop = timeline.run(Direction::kForward);
  EXPECT_EQ(stop.reason, StopReason::kWatchpoint);
  EXPECT_EQ(stop.breakpoint, id);
  const Place place = timeline.here();
  EXPECT_EQ(timeline.run(Direction::kForward).reason, StopReason::kWatchpoint);
  EXPECT_EQ(timeline.run(Direction::kBackward).reason, StopReason::kWatchpoint);
  EXPECT_EQ(timeline.run(Direction::kBackward).reason, StopReason::kWatchpoint);
  EXPECT_EQ(timeline.here(), (Place{place.event, place.instructions - 1}));
}

TEST_F(TimelineTest, ALongLoopIsSearchedBackward) {
  Timeline timeline = Timeline::open(trace());
  timeline.go_to(timeline.end());
  Breakpoint watch;
  watch.kind = Breakpoint::Kind::kWrite;
  watch.address = symbol("counter");
  watch.length = 4;
  timeline.add(watch);
  const std::uint64_t stops = timeline.costs().stops;
  EXPECT_EQ(timeline.run(Direction::kBackward).reason, StopReason::kWatchpoint);
  EXPECT_EQ(value_at(timeline, symbol("counter")) & 0xffffffff, 1000059);
  // Not one for each of the million changes.
  EXPECT_LT(timeline.costs().stops - stops, 20'000u);
}

TEST_F(TimelineTest, SteppingBackTakesFewStopsNearABase) {
  Timeline timeline = Timeline::open(trace());
  timeline.go_to(timeline.end());
  RunSettings settings;
  settings.step = timeline.current_task();
  std::vector<std::uint64_t> stops;
  for (int i = 0; i < 21; ++i) {
    const std::uint64_t before = timeline.costs().stops;
    timeline.run(Direction::kBackward, settings);
    stops.push_back(timeline.costs().stops - before);
  }
  std::sort(stops.begin(), stops.end());
  EXPECT_LE(stops[stops.size() / 2], 100u);
}

TEST_F(TimelineTest, BasesStayWithinTheirMemory) {
  for (const std::uint64_t limit : {std::uint64_t{40} << 20, std::uint64_t{1} << 20}) {
    TimelineSettings settings;
    settings.base_memory = limit;
    Timeline timeline = Timeline::open(trace(), settings);
    std::uint64_t made = 0;
    // The program changes 8 MiB again and again: each base comes to pages of its own.
    for (std::int64_t event = timeline.here().event; event <= timeline.end().event; event += 100) {
      timeline.go_to({event, 0});
      const TimelineCosts costs = timeline.costs();
      EXPECT_LE(costs.base_memory, limit) << event;
      made = costs.bases_made;
    }
    EXPECT_GT(made, 0u);
    timeline.go_to(timeline.end());
    EXPECT_LE(timeline.costs().base_memory, limit);
  }
}

constexpr const char* kDataProgram = R"(
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
volatile long value;
unsigned char *made;
long *stack;
__attribute__((noinline)) void ready(void) { value++; }
int main(void) {
  volatile long local[16] = {0};
  made = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(made, "\x8d\x47\x01\xc3", 4); /* lea eax, [rdi + 1]; ret */
  stack = (long *)local;
  long sum = 0;
  for (int i = 0; i < 8; ++i) {
    ready();
    local[i % 16] += i;
    made[64] += 3;
    sum += ((int (*)(int))made)(i) + local[3] + made[64] + value;
    for (int k = 0; k < 128; ++k) sum = sum * 31 + made[k];
  }
  printf("%ld\n", sum);
  return 0;
}
)";

class Breakpoints : public test::RecordedProgram {
protected:
  Breakpoints() : RecordedProgram(kDataProgram) {}
};

// Debuggers and people put breakpoints where no code is. There they are never met, and the program
// reads what it wrote.
TEST_F(Breakpoints, OnDataChangeNothing) {
  Timeline timeline = Timeline::open(trace());
  const auto put = [&](std::uint64_t address) {
    Breakpoint breakpoint;
    breakpoint.address = address;
    return timeline.add(breakpoint);
  };
  const auto pointer = [&](const char* name) {
    std::uint64_t at = 0;
    timeline.read_memory(0, symbol(name), std::as_writable_bytes(std::span(&at, 1)));
    return at;
  };
  const BreakpointId ready = stop_at(timeline, "ready");
  ASSERT_EQ(timeline.run(Direction::kForward).breakpoint, ready);
  timeline.remove(ready);
  put(pointer("stack") + 24);
  put(symbol("value"));
  put(0x1000);               // nothing is mapped there
  put(pointer("made") + 64); // data between code
  const BreakpointId code = put(pointer("made"));
  for (int i = 0; i < 8; ++i) {
    const Stop stop = timeline.run(Direction::kForward);
    ASSERT_EQ(stop.reason, StopReason::kBreakpoint) << i;
    ASSERT_EQ(stop.breakpoint, code) << i;
  }
  EXPECT_EQ(timeline.run(Direction::kForward).reason, StopReason::kExit);
  for (int i = 0; i < 8; ++i) {
    const Stop stop = timeline.run(Direction::kBackward);
    ASSERT_EQ(stop.reason, StopReason::kBreakpoint) << i;
    ASSERT_EQ(stop.breakpoint, code) << i;
  }
  EXPECT_EQ(timeline.run(Direction::kBackward).reason, StopReason::kStartOfHistory);
}

TEST_F(TimelineTest, PlacesAreText) {
  for (const Place& place : {Place{12, 0}, Place{12, 345}, Place{7, Place::kArrived}}) {
    EXPECT_EQ(Place::parse(place.to_string()), place);
  }
  for (const char* text : {"", "+", "x", "1+", "1+x", "-1", "1+2+3", "99999999999999999999"}) {
    EXPECT_FALSE(Place::parse(text)) << text;
  }
  Timeline timeline = Timeline::open(trace());
  EXPECT_THROW(timeline.go_to({1'000'000, 0}), Error);
  EXPECT_THROW(timeline.go_to({3, 1'000'000'000}), Error);
  EXPECT_EQ(timeline.here(), (Place{3, 0}));
}

} // namespace
} // namespace rrpcp
