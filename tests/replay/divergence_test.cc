// The detector of divergences: a replay that does not do what was recorded says so, and where.

#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"
#include "rrpcp/replay/record.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/trace/trace_writer.h"
#include "support/temp_dir.h"
#include "tools/run_command.h"
#include "trace/event.h"

#include <capnp/message.h>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <vector>

namespace rrpcp {
namespace {

using replay::ReplaySession;
using test::TempDir;
using testing::AnyOf;
using testing::HasSubstr;

std::string record(const std::vector<std::string>& command, const TempDir& temp,
                   RecordOptions options = {}) {
  const std::string directory = temp.path() + "/trace";
  std::filesystem::create_directory(directory);
  options.directory = directory;
  options.command = command;
  const RecordResult result = record_program(options);
  EXPECT_TRUE(WIFEXITED(result.status));
  EXPECT_EQ(WEXITSTATUS(result.status), 0);
  return directory;
}

std::string record_echo(const TempDir& temp) {
  return record({"/bin/echo", "the words"}, temp);
}

// The trace again, with `change` applied to every event.
std::string changed_trace(const std::string& from,
                          const std::function<void(std::int64_t, trace::EventData&)>& change) {
  const std::string to = from + "-changed";
  std::filesystem::create_directory(to);
  std::filesystem::copy(from + "/images", to + "/images");
  if (std::filesystem::exists(from + "/files")) {
    std::filesystem::copy(from + "/files", to + "/files");
  }
  const TraceReader reader = TraceReader::open(from);
  TraceWriter writer(to, reader.start());
  trace::EventData event;
  std::vector<std::span<const std::byte>> pieces;
  for (EventReader events = reader.events(); !events.at_end(); events.next()) {
    const std::span<std::byte> room = event.decode(events.event(), events.data_length());
    if (!room.empty()) {
      events.read_data(0, room);
    }
    change(events.number(), event);
    capnp::MallocMessageBuilder message;
    schema::Event::Builder root = message.initRoot<schema::Event>();
    event.encode(root);
    event.pieces(pieces);
    writer.append(root.asReader(), pieces);
  }
  writer.finish(0);
  return to;
}

std::string replay_all(const std::string& directory, replay::ReplayOptions options = {}) {
  std::string output;
  options.output = [&](int, std::span<const std::byte> bytes) {
    output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  ReplaySession session(directory, std::move(options));
  while (!session.at_end()) {
    session.step();
  }
  return output;
}

std::string divergence_of(const std::string& directory, const replay::ReplayOptions& options = {}) {
  try {
    replay_all(directory, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no divergence";
}

// Number of the first event of this system call, with this result where one is given.
std::int64_t find_call(const std::string& directory, long number,
                       std::optional<std::int64_t> result = std::nullopt) {
  const TraceReader reader = TraceReader::open(directory);
  trace::EventData event;
  for (EventReader events = reader.events(); !events.at_end(); events.next()) {
    static_cast<void>(event.decode(events.event(), events.data_length()));
    if (event.registers && static_cast<long>(event.registers->orig_rax) == number &&
        (!result || event.result == *result)) {
      return events.number();
    }
  }
  return 0;
}

TEST(Divergence, AnUnchangedTraceReplays) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  EXPECT_EQ(replay_all(changed_trace(trace, [](std::int64_t, trace::EventData&) {})),
            "the words\n");
}

TEST(Divergence, NamesTheRegisterAndTheEvent) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::int64_t write = find_call(trace, SYS_write);
  ASSERT_GT(write, 0);
  const std::string what =
      divergence_of(changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == write) {
          event.registers->rdx += 1;
        }
      }));
  EXPECT_THAT(what, HasSubstr("event " + std::to_string(write)));
  EXPECT_THAT(what, HasSubstr("write"));
  EXPECT_THAT(what, HasSubstr("rdx is 0xa and was recorded as 0xb"));
}

TEST(Divergence, NamesBothSystemCalls) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::int64_t write = find_call(trace, SYS_write);
  const std::string what =
      divergence_of(changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == write) {
          event.registers->orig_rax = SYS_lseek;
        }
      }));
  EXPECT_THAT(what, HasSubstr("write (recorded: lseek)"));
}

// A byte that the program only hands on: no register ever shows it.
TEST(Divergence, SeesAChangedByteOfWhatTheProgramWrites) {
  const TempDir temp;
  const std::string file = temp.path() + "/words";
  std::ofstream(file) << "the words\n";
  const std::string trace = record({"/bin/cat", file}, temp);
  const std::int64_t read = find_call(trace, SYS_read, 10);
  ASSERT_GT(read, 0);
  const std::string what =
      divergence_of(changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == read) {
          event.bytes_of(event.memory.at(0).data)[4] ^= std::byte{1};
        }
      }));
  EXPECT_THAT(what, HasSubstr("what write reads has other contents (10 bytes at 0x"));
}

// What stays in memory is seen by the digests, at the first event that has some.
TEST(Divergence, SeesAChangedByteOfMemoryByItsDigest) {
  const TempDir temp;
  const std::string file = temp.path() + "/words";
  std::ofstream(file) << std::string(3 * 4096, 'a');
  RecordOptions options;
  options.checksum_interval = 1;
  const std::string trace = record({RRPCP_REPLAY_FIXTURES "/quiet_sum", file}, temp, options);
  const std::int64_t read = find_call(trace, SYS_read, 3 * 4096);
  ASSERT_GT(read, 0);
  std::uint64_t page = 0;
  const std::string changed =
      changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == read) {
          trace::EventData::Write& write = event.memory.at(0);
          page = (write.address + 5000) & ~std::uint64_t{4095};
          event.bytes_of(write.data)[5000] = std::byte{'b'};
        }
      });
  replay::ReplayOptions verify;
  verify.verify = true;
  char place[32];
  std::snprintf(place, sizeof place, "0x%llx", static_cast<unsigned long long>(page));
  const std::string what = divergence_of(changed, verify);
  EXPECT_THAT(what, HasSubstr("at event " + std::to_string(read) + " (system call)"));
  EXPECT_THAT(what, HasSubstr("memory differs from " + std::string(place) + " on (1 page)"));
  // The program itself does nothing else because of it.
  EXPECT_EQ(divergence_of(changed), "no divergence");
}

// What a call returned decides what the program does next.
TEST(Divergence, SeesAChangedResult) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::int64_t open = find_call(trace, SYS_openat);
  const std::string what =
      divergence_of(changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == open) {
          event.result = -ENOENT;
        }
      }));
  EXPECT_THAT(what, HasSubstr("differs from the recording"));
}

// A replay that somebody tampers with.
TEST(Divergence, SeesAChangedRegisterOfAReplayedTask) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::int64_t write = find_call(trace, SYS_write);
  ReplaySession session(trace, {});
  session.run_to(write);
  const pid_t tid = session.current().task;
  user_regs_struct registers = session.tracee(tid).registers();
  registers.fs_base += 4096; // of thread-local storage: its pages lie side by side
  session.tracee(tid).set_registers(registers);
  try {
    session.step();
    FAIL() << "nothing was noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDivergence);
    EXPECT_THAT(error.what(),
                HasSubstr("differs from the recording at event " + std::to_string(write)));
  }
}

TEST(Divergence, SeesAChangedByteOfMemory) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  // The argument of the program: "the words" becomes "the".
  ReplaySession session(trace, {});
  session.step();
  const pid_t tid = session.state().tasks.front().tid;
  const std::uint64_t stack = session.tracee(tid).registers().rsp;
  const auto word = session.memory(tid).read_value<std::uint64_t>(stack + 16); // argv[1]
  const std::byte end[1] = {std::byte{0}};
  session.memory(tid).write(word + 3, end); // "the"
  try {
    while (!session.at_end()) {
      session.step();
    }
    FAIL() << "nothing was noticed";
  } catch (const Error& error) {
    // Its length is in a register when the program makes its next calls.
    EXPECT_THAT(error.what(), HasSubstr("is 0x3 and was recorded as 0x9"));
  }
}

// The features of the recording processor are in the trace. No processor has both of these: AMD has
// given up TBM (2011 to 2016) long before it took up AVX-512.
TEST(Divergence, AProcessorThatLacksAFeatureIsRefused) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::string to = temp.path() + "/other";
  std::filesystem::create_directory(to);
  capnp::MallocMessageBuilder message;
  message.setRoot(TraceReader::open(trace).start());
  schema::TraceStart::Builder start = message.getRoot<schema::TraceStart>();
  int found = 0;
  for (schema::CpuidLeaf::Builder leaf : start.getCpu().getCpuid()) {
    if (leaf.getLeaf() == 7 && leaf.getSubleaf() == 0) {
      leaf.setEbx(leaf.getEbx() | 1 << 28); // AVX512CD
      ++found;
    } else if (leaf.getLeaf() == 0x80000001) {
      leaf.setEcx(leaf.getEcx() | 1 << 21); // TBM
      ++found;
    }
  }
  ASSERT_EQ(found, 2);
  { TraceWriter(to, start.asReader()).finish(0); }
  try {
    const ReplaySession session(to, {});
    FAIL() << "it was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupportedState);
    EXPECT_THAT(error.what(), AnyOf(HasSubstr("AVX512CD"), HasSubstr("TBM")));
  }
}

// One that was recorded as on a modest processor needs no more than that.
TEST(Divergence, AModestTraceNeedsAModestProcessor) {
  const TempDir temp;
  const std::string directory = temp.path() + "/trace";
  std::filesystem::create_directory(directory);
  RecordOptions options;
  options.directory = directory;
  options.command = {"/bin/echo", "the words"};
  options.cpuid = "x86-64";
  EXPECT_EQ(record_program(options).status, 0);
  const TraceReader trace = TraceReader::open(directory);
  EXPECT_EQ(std::string(trace.start().getCpuidModel().cStr()), "x86-64");
  for (schema::CpuidLeaf::Reader leaf : trace.start().getCpu().getCpuid()) {
    EXPECT_EQ(leaf.getEcx(), 0u) << leaf.getLeaf();
    if (leaf.getLeaf() == 7) {
      EXPECT_EQ(leaf.getEbx(), 0u);
    }
  }
  EXPECT_EQ(replay_all(directory), "the words\n");
  options.directory = temp.path() + "/none";
  options.cpuid = "486";
  EXPECT_THROW(record_program(options), Error);
}

// --- on the command line

std::string argument(std::int64_t number) {
  return std::to_string(number);
}

TEST(DivergenceCommand, EndsWith1AndSaysWhatDiffersWhere) {
  const TempDir temp;
  const std::string trace = record_echo(temp);
  const std::int64_t write = find_call(trace, SYS_write);
  ASSERT_GT(write, 0);
  pid_t task = 0;
  const std::string changed =
      changed_trace(trace, [&](std::int64_t number, trace::EventData& event) {
        if (number == write) {
          event.registers->rdx += 1;
          task = event.task;
        }
      });
  const std::string words = "pcp-rr: " + changed +
                            ": the replay differs from the recording at event " + argument(write) +
                            " (system call), task " + argument(task) +
                            ": at the entry of write, rdx is 0xa and was recorded as 0xb";
  const std::vector<std::vector<std::string>> commands = {
      {"replay", "-a"},
      {"replay", "-a", "--ignore-pcp"},
      {"replay", "--place", "-g", argument(write + 1)},
      {"rerun", "-s", argument(write)},
      {"create-checkpoints", "-i", argument(write + 1)}};
  for (std::vector<std::string> command : commands) {
    command.insert(command.begin(), RRPCP_PCP_RR);
    command.push_back(changed);
    const test::CommandResult result = test::run_command(command);
    EXPECT_EQ(result.code, 1) << command[1];
    EXPECT_THAT(result.err, testing::StartsWith(words)) << command[1];
    EXPECT_THAT(result.out, testing::Not(HasSubstr("the words"))) << command[1];
  }
  // Up to there it is as it was.
  const test::CommandResult before =
      test::run_command({RRPCP_PCP_RR, "replay", "--place", "-g", argument(write), changed});
  EXPECT_EQ(before.code, 0) << before.err;
}

// What a user meets: an instruction that nobody can trap, in code that cannot be changed.
TEST(DivergenceCommand, ARandomNumberInSharedCodeIsToldOfAndNoticed) {
  const TempDir temp;
  const std::string trace = temp.file("trace");
  const test::CommandResult recorded =
      test::run_command({RRPCP_PCP_RR, "record", "-o", trace, "--",
                         RRPCP_REPLAY_FIXTURES "/random_instruction", "shared"});
  if (recorded.code == 77) {
    GTEST_SKIP() << "this processor has no RDRAND";
  }
  ASSERT_EQ(recorded.code, 0) << recorded.err;
  EXPECT_EQ(recorded.out, "before\nafter\n");
  EXPECT_THAT(recorded.err, HasSubstr("RDRAND at 0x"));
  EXPECT_THAT(recorded.err, HasSubstr("which is in memory that is mapped shared"));
  const test::CommandResult replayed = test::run_command({RRPCP_PCP_RR, "replay", "-a", trace});
  EXPECT_EQ(replayed.code, 1);
  EXPECT_EQ(replayed.out, "before\n");
  // At the call, or before it where the linker saves the number among the registers of a call that
  // it binds lazily.
  EXPECT_THAT(replayed.err, testing::ContainsRegex(
                                "differs from the recording at event [0-9]+ .*, task [0-9]+: at "
                                ".*, r[ds]i is 0x[0-9a-f]+ and was recorded as 0x"));
}

// The same of code that comes into being where nobody looks, if the processor traps nothing.
TEST(DivergenceCommand, ACounterReadInCodeThatIsMappedTwiceIsToldOfAndNoticed) {
  const TempDir temp;
  const std::string trace = temp.file("trace");
  const test::CommandResult recorded =
      test::run_command({"/usr/bin/env", "RRPCP_TRAPS=replace", RRPCP_PCP_RR, "record", "-o", trace,
                         "--", RRPCP_REPLAY_FIXTURES "/mapped_twice"});
  ASSERT_EQ(recorded.code, 0) << recorded.err;
  EXPECT_THAT(recorded.err, HasSubstr("executes memory that it has mapped shared"));
  const test::CommandResult replayed = test::run_command({RRPCP_PCP_RR, "replay", "-a", trace});
  EXPECT_TRUE(replayed.code == 1 || replayed.out != recorded.out) << replayed.err;
}

TEST(DivergenceCommand, ARandomNumberOfTheProcessorIsReplayed) {
  const TempDir temp;
  const std::string trace = temp.file("trace");
  const test::CommandResult recorded = test::run_command(
      {RRPCP_PCP_RR, "record", "-o", trace, "--", RRPCP_REPLAY_FIXTURES "/random_instruction"});
  if (recorded.code == 77) {
    GTEST_SKIP() << "this processor has no RDRAND";
  }
  ASSERT_EQ(recorded.code, 0) << recorded.err;
  const test::CommandResult replayed = test::run_command({RRPCP_PCP_RR, "replay", "-a", trace});
  EXPECT_EQ(replayed.code, 0) << replayed.err;
  EXPECT_EQ(replayed.out, recorded.out);
}

} // namespace
} // namespace rrpcp
