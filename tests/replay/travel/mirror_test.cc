// The mirror: what a run forward stops at, a run backward stops at in the opposite order, with the
// same registers and memory.

#include "replay/travel/generated_program.h"
#include "rrpcp/error.h"
#include "rrpcp/replay/replay_checkpoints.h"
#include "rrpcp/replay/timeline.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <vector>

namespace rrpcp {
namespace {

using test::TempDir;

// All that can be seen at a stop.
struct Seen {
  Stop stop;
  Place place;
  user_regs_struct registers{};
  // The XSAVE area but for its word about which components are in use: a processor may take one for
  // used that has its initial value.
  std::vector<std::byte> extended;
  // Digests of pages.
  std::map<std::uint64_t, std::size_t> memory;
  // The bytes about the stack pointer, for people.
  std::uint64_t near = 0;
  std::vector<std::byte> stack;

  std::string text() const {
    char line[256];
    std::snprintf(line, sizeof line, "%s of %d at %s: rip %llx rsp %llx rax %llx",
                  std::string(stop_reason_name(stop.reason)).c_str(), stop.tid,
                  place.to_string().c_str(), registers.rip, registers.rsp, registers.rax);
    return line;
  }
};

bool same_state(const Seen& a, const Seen& b) {
  return a.place == b.place && a.memory == b.memory && a.extended == b.extended &&
         std::memcmp(&a.registers, &b.registers, sizeof a.registers) == 0;
}

bool same(const Seen& a, const Seen& b) {
  return a.stop.reason == b.stop.reason && a.stop.tid == b.stop.tid &&
         a.stop.signal == b.stop.signal && same_state(a, b);
}

std::string difference(const Seen& forward, const Seen& backward) {
  std::string text = "\nforward:  " + forward.text() + "\nbackward: " + backward.text();
  for (std::size_t i = 0; i < forward.extended.size() && i < backward.extended.size(); ++i) {
    if (forward.extended[i] != backward.extended[i]) {
      text += "\nextended registers, byte " + std::to_string(i);
      break;
    }
  }
  for (const auto& [address, digest] : forward.memory) {
    const auto other = backward.memory.find(address);
    if (other == backward.memory.end() || other->second != digest) {
      char line[64];
      std::snprintf(line, sizeof line, "\npage %llx", static_cast<unsigned long long>(address));
      text += line;
    }
  }
  int words = 0;
  for (std::size_t at = 0; at + 8 <= std::min(forward.stack.size(), backward.stack.size());
       at += 8) {
    std::uint64_t values[2];
    std::memcpy(&values[0], forward.stack.data() + at, 8);
    std::memcpy(&values[1], backward.stack.data() + at, 8);
    if (values[0] != values[1] && ++words <= 16) {
      char line[128];
      std::snprintf(line, sizeof line, "\n  %llx: %llx and %llx",
                    static_cast<unsigned long long>(forward.near + at),
                    static_cast<unsigned long long>(values[0]),
                    static_cast<unsigned long long>(values[1]));
      text += line;
    }
  }
  return text;
}

Seen look(Timeline& timeline, const Stop& stop) {
  Seen seen;
  seen.stop = stop;
  seen.place = timeline.here();
  const std::int32_t tid = stop.tid != 0 ? stop.tid : timeline.current_task();
  const auto registers = timeline.registers(tid, NT_PRSTATUS);
  std::memcpy(&seen.registers, registers->data(), sizeof seen.registers);
  constexpr std::size_t kInUse = 512;      // XSTATE_BV
  constexpr std::uint32_t kXstate = 0x202; // NT_X86_XSTATE
  seen.extended = timeline.registers(tid, kXstate).value_or(std::vector<std::byte>(kInUse + 8));
  std::fill_n(seen.extended.begin() + kInUse, 8, std::byte{});
  for (const TimelineTask& task : timeline.tasks()) {
    if (task.tid == tid) {
      constexpr std::uint64_t kAbout = 4096;
      seen.near = (seen.registers.rsp & ~std::uint64_t{7}) - kAbout;
      seen.stack.resize(2 * kAbout);
      seen.stack.resize(timeline.read_memory(task.pid, seen.near, seen.stack));
    }
  }
  std::vector<std::byte> bytes;
  for (const TimelineProcess& process : timeline.processes()) {
    for (const TimelineMapping& mapping : timeline.mappings(process.pid)) {
      if ((mapping.protection & PROT_WRITE) == 0) {
        continue;
      }
      // Large ones are mostly untouched: their beginning and end.
      const std::uint64_t length = mapping.end - mapping.start;
      constexpr std::uint64_t kMost = 256 << 10;
      const std::uint64_t from = length > kMost ? mapping.end - kMost : mapping.start;
      bytes.assign(mapping.end - from, std::byte{});
      bytes.resize(timeline.read_memory(process.pid, from, bytes));
      constexpr std::size_t kPage = 4096;
      for (std::size_t at = 0; at < bytes.size(); at += kPage) {
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + at, kPage);
        seen.memory[from + at] ^=
            std::hash<std::string_view>()(text) * static_cast<std::size_t>(process.pid);
      }
    }
  }
  return seen;
}

class Mirror : public testing::Test {
protected:
  std::string trace() const { return dir_.file("trace"); }

  void make(std::uint32_t seed) {
    program_ = test::generate_program(seed);
    std::ofstream(dir_.file("program.c")) << program_.source;
    const char* const levels[] = {"-O0", "-O1", "-O2"};
    // The programs push to the stack behind the compiler's back.
    run("cd '" + dir_.path() + "' && cc " + levels[seed % 3] +
        " -w -g0 -no-pie -pthread -mno-red-zone -o program program.c && nm program > symbols");
    record("./program");
    std::ifstream symbols(dir_.file("symbols"));
    std::string address;
    std::string kind;
    std::string name;
    while (symbols >> address >> kind) {
      if (kind.size() != 1 || address.size() != 16) { // one without an address
        name = kind;
        continue;
      }
      symbols >> name;
      symbols_[name] = std::stoull(address, nullptr, 16);
    }
  }

  void record(const std::string& command) {
    run("cd '" + dir_.path() + "' && '" RRPCP_PCP_RR "' record -o '" + trace() + "' -- " + command +
        " > output 2> errors; true");
  }

  static void run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }

  // Every stop of the program, up to some number of them, and the same backward.
  void check_runs(Timeline& timeline, const RunSettings& settings, std::size_t most) {
    std::vector<Seen> forward;
    timeline.go_to(timeline.start());
    for (;;) {
      const Stop stop = timeline.run(Direction::kForward, settings);
      if (stop.reason == StopReason::kEndOfHistory) {
        break;
      }
      if (forward.size() == most) {
        timeline.go_to(forward.back().place); // the last one that is looked at
        break;
      }
      forward.push_back(look(timeline, stop));
    }
    stops_ += forward.size();
    // At the end it stands still where it stopped last; a change is met again from behind.
    std::size_t left = forward.size();
    if (left > 0 && timeline.here() == forward.back().place &&
        forward.back().stop.reason != StopReason::kWatchpoint) {
      --left;
    }
    for (std::size_t i = left; i-- > 0;) {
      const Stop stop = timeline.run(Direction::kBackward, settings);
      Seen seen = look(timeline, stop);
      if (stop.reason == StopReason::kWatchpoint) {
        // Met from the other side: the change is what comes next.
        EXPECT_LT(seen.place, forward[i].place);
        const Place behind = seen.place;
        seen = look(timeline, timeline.run(Direction::kForward, settings));
        ASSERT_TRUE(same(seen, forward[i])) << "stop " << i << difference(forward[i], seen);
        timeline.go_to(behind);
        continue;
      }
      ASSERT_TRUE(same(seen, forward[i])) << "stop " << i << difference(forward[i], seen);
    }
    EXPECT_EQ(timeline.run(Direction::kBackward, settings).reason, StopReason::kStartOfHistory);
    EXPECT_EQ(timeline.here(), timeline.start());
  }

  // Single steps from a place on, and back.
  void check_steps(Timeline& timeline, const Place& from, std::size_t most) {
    timeline.go_to(from);
    RunSettings settings;
    settings.step = timeline.current_task();
    std::vector<Seen> forward;
    Stop start;
    start.tid = settings.step;
    forward.push_back(look(timeline, start));
    while (forward.size() <= most) {
      const Stop stop = timeline.run(Direction::kForward, settings);
      if (stop.reason != StopReason::kStep && stop.reason != StopReason::kSignal) {
        break;
      }
      forward.push_back(look(timeline, stop));
      if (stop.tid != settings.step) {
        break;
      }
    }
    if (timeline.here() != forward.back().place) {
      timeline.go_to(forward.back().place);
    }
    steps_ += forward.size() - 1;
    std::size_t left = forward.size() - 1;
    if (forward.back().stop.tid != settings.step) {
      --left; // the step was stopped by another task's signal: it has executed nothing
    }
    for (std::size_t i = left; i-- > 0;) {
      const Stop stop = timeline.run(Direction::kBackward, settings);
      const Seen seen = look(timeline, stop);
      ASSERT_TRUE(same_state(seen, forward[i])) << "step " << i << difference(forward[i], seen);
    }
  }

  void check(std::uint32_t seed, bool checkpoints, std::size_t most) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    make(seed);
    if (testing::Test::HasFatalFailure()) {
      return;
    }
    std::mt19937 random(seed);
    if (checkpoints) {
      CreationOptions options;
      options.event_interval = 25;
      create_checkpoints(trace(), options);
      // One between two events.
      Timeline timeline = Timeline::open(trace());
      Breakpoint breakpoint;
      breakpoint.address = symbols_.at("f" + std::to_string(random() % 6));
      timeline.add(breakpoint);
      if (timeline.run(Direction::kForward).reason == StopReason::kBreakpoint) {
        timeline.store();
      }
    }
    TimelineSettings settings;
    std::vector<std::string> warnings;
    settings.warn = [&](const std::string& warning) { warnings.push_back(warning); };
    settings.ignore_checkpoints = !checkpoints;
    Timeline timeline = Timeline::open(trace(), settings);
    std::vector<BreakpointId> ids;
    for (const char* name : {"f0", "f2", "f4", "handler"}) {
      Breakpoint breakpoint;
      breakpoint.address = symbols_.at(name);
      ids.push_back(timeline.add(breakpoint));
    }
    RunSettings everything;
    everything.fork = everything.vfork = program_.forks;
    everything.threads = program_.threads;
    check_runs(timeline, everything, most);
    const Place somewhere = [&] {
      timeline.go_to(timeline.start());
      for (unsigned i = 0; i < 2 + random() % 3; ++i) {
        timeline.run(Direction::kForward);
      }
      return timeline.here();
    }();
    for (BreakpointId id : ids) {
      timeline.remove(id);
    }
    if (!HasFatalFailure() && !somewhere.arrived()) {
      check_steps(timeline, somewhere, most * 4);
    }
    if (!HasFatalFailure()) {
      Breakpoint watch;
      watch.kind = Breakpoint::Kind::kWrite;
      watch.address = symbols_.at("g") + 8 * (random() % 8);
      watch.length = 8;
      timeline.add(watch);
      check_runs(timeline, {}, most);
    }
    for (const std::string& warning : warnings) {
      ADD_FAILURE() << warning;
    }
  }

  // The same of a program that nobody made for this: the breakpoints are where it comes by, the
  // watched bytes what is on its stack.
  void check_real(const std::string& command, bool checkpoints, std::size_t most) {
    SCOPED_TRACE(command);
    record(command);
    if (checkpoints) {
      CreationOptions options;
      options.event_interval = 40;
      create_checkpoints(trace(), options);
    }
    TimelineSettings settings;
    settings.warn = [&](const std::string& warning) { ADD_FAILURE() << warning; };
    settings.ignore_checkpoints = !checkpoints;
    Timeline timeline = Timeline::open(trace(), settings);
    const std::int64_t events = timeline.end().event;
    ASSERT_GT(events, 20);
    std::vector<BreakpointId> ids;
    std::uint64_t stack = 0;
    Place middle;
    for (int part = 1; part <= 4; ++part) {
      timeline.go_to({events * part / 5, 0});
      RunSettings step;
      step.step = timeline.current_task();
      Seen seen;
      for (int i = 0; i < 20 * part; ++i) {
        seen = look(timeline, timeline.run(Direction::kForward, step));
        if (seen.stop.reason != StopReason::kStep) {
          break;
        }
      }
      Breakpoint breakpoint;
      breakpoint.address = seen.registers.rip;
      ids.push_back(timeline.add(breakpoint));
      if (part == 2) {
        stack = seen.registers.rsp;
        middle = seen.place;
        breakpoint.address = stack;
        ids.push_back(timeline.add(breakpoint)); // never met
      }
    }
    RunSettings everything;
    everything.fork = everything.vfork = everything.exec = everything.threads = true;
    check_runs(timeline, everything, most);
    for (BreakpointId id : ids) {
      timeline.remove(id);
    }
    if (!HasFatalFailure() && !middle.arrived()) {
      check_steps(timeline, middle, most * 4);
    }
    if (!HasFatalFailure()) {
      Breakpoint watch;
      watch.kind = Breakpoint::Kind::kWrite;
      watch.address = stack;
      watch.length = 8;
      timeline.add(watch);
      check_runs(timeline, {}, most);
    }
    EXPECT_GT(stops_ + steps_, most);
  }

  TempDir dir_;
  test::GeneratedProgram program_;
  std::map<std::string, std::uint64_t> symbols_;
  std::size_t stops_ = 0;
  std::size_t steps_ = 0;
};

class GeneratedMirror : public Mirror, public testing::WithParamInterface<std::uint32_t> {};

TEST_P(GeneratedMirror, ShowsTheSameBackward) {
  const std::uint32_t seed = GetParam();
  check(seed, seed % 2 == 1, 12);
}

INSTANTIATE_TEST_SUITE_P(Seeds, GeneratedMirror, testing::Range(0u, 8u));

// Eight more programs each.
class ManyMirrors : public Mirror, public testing::WithParamInterface<std::uint32_t> {};

TEST_P(ManyMirrors, ShowTheSameBackward) {
  const char* all = std::getenv("RRPCP_ALL");
  if (all == nullptr || std::string_view(all) != "1") {
    GTEST_SKIP() << "with RRPCP_ALL=1";
  }
  for (std::uint32_t seed = 8 * GetParam(); seed < 8 * (GetParam() + 1); ++seed) {
    run("rm -rf '" + trace() + "'");
    symbols_.clear();
    check(seed, seed % 2 == 1, 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, ManyMirrors, testing::Range(1u, 26u));

class RealMirror : public Mirror, public testing::WithParamInterface<const char*> {};

TEST_P(RealMirror, ShowsTheSameBackward) {
  const char* all = std::getenv("RRPCP_ALL");
  if (all == nullptr || std::string_view(all) != "1") {
    GTEST_SKIP() << "with RRPCP_ALL=1";
  }
  std::ofstream words(dir_.file("words"));
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    words << random() % 1000 << " word\n";
  }
  words.close();
  check_real(GetParam(), std::strlen(GetParam()) % 2 == 1, 8);
}

INSTANTIATE_TEST_SUITE_P(
    Programs, RealMirror,
    testing::Values(
        "ls -l /", "gzip -9 -c words", "sort -n words", "sha256sum words",
        "sqlite3 :memory: 'create table t(a); insert into t values(1); select * from t'",
        "python3 -c 'print(sum(map(hash, range(1000))))'",
        "perl -ne '$n += $_; print if /99/' words",
        "bash -c 'for i in 1 2 3; do echo $i | cat; done'", "awk '{n += $1} END {print n}' words",
        "xz -0 -T2 -c words"));

// The mirror is no mirror if it does not see a count that is one off.
TEST_F(Mirror, NoticesACountThatIsOneOff) {
  make(3);
  Timeline timeline = Timeline::open(trace());
  Breakpoint breakpoint;
  breakpoint.address = symbols_.at("f0");
  timeline.add(breakpoint);
  const Seen seen = look(timeline, timeline.run(Direction::kForward));
  ASSERT_GT(seen.place.instructions, 0u);
  for (int off : {-1, 0, 1}) {
    Place place = seen.place;
    place.instructions += static_cast<std::uint64_t>(off);
    timeline.go_to(place);
    Seen other = look(timeline, seen.stop);
    other.place = seen.place; // as an engine that counts wrongly would have it
    EXPECT_EQ(same(seen, other), off == 0) << off;
  }
}

} // namespace
} // namespace rrpcp
