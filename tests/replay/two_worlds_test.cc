// The two worlds: an uninterrupted replay, and one that was started from a checkpoint in fresh
// processes, are the same in everything that can be seen of them, at the checkpoint and later.

#include "process/subject_process.h"
#include "replay/checkpoint/session_checkpoint.h"
#include "replay/session_world.h"
#include "rrpcp/replay/replay_checkpoints.h"
#include "rrpcp/store.h"
#include "rrpcp/validate.h"
#include "support/temp_dir.h"

#include <cstdlib>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace rrpcp::replay {
namespace {

using test::SessionWorld;
using test::TempDir;

constexpr std::size_t kCheckpoints = 6;

struct Program {
  const char* name;
  // For the shell, in a directory of its own.
  const char* script;
};

// What spec/pcp-rr.md says must be carried, in sizes that leave time for looking at every page.
constexpr Program kPrograms[] = {
    {"ListRecursively", "exec ls -lR /usr/include/linux"},
    {"Sha256sum", "head -c 3000000 /dev/urandom > data; exec sha256sum data"},
    {"Gzip", "seq 200000 > data; exec gzip -9 -c data > data.gz"},
    {"Sort", "seq 60000 | shuf > data; exec sort -S 400K -T . data"},
    {"Sqlite",
     "sqlite3 base 'create table t(a integer, b text); with recursive n(i) as (select 1 union all "
     "select i + 1 from n where i < 3000) insert into t select i, hex(i * 7919) from n; create "
     "index x on t(b); select count(*), max(b) from t where b like \"3%\";'"},
    {"Python", "exec /usr/bin/python3 -c 'import json, threading, subprocess, hashlib\n"
               "out = []\n"
               "def work(i):\n"
               "  out.append(hashlib.sha256(str(i).encode() * 1000).hexdigest())\n"
               "threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]\n"
               "[t.start() for t in threads]\n"
               "[t.join() for t in threads]\n"
               "print(json.dumps(sorted(out)), subprocess.run([\"echo\", \"hello\"], "
               "capture_output=True).stdout)'"},
    {"Perl", "exec perl -e 'my %h; $h{$_ % 97} .= $_ for 1..20000; print length(join(\"\", map { "
             "$h{$_} } sort keys %h)), \"\\n\"'"},
    {"Bash", "exec bash -c 'for i in 1 2 3; do seq 1000 | grep $i | wc -l; done; sleep 0.1 & wait; "
             "trap \"echo usr1\" USR1; kill -USR1 $$; echo done'"},
    {"Gcc", "printf 'int f(int a) { return a * 3; }\\n' > f.c; exec gcc -O2 -c f.c"},
    {"Git", "export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a "
            "GIT_COMMITTER_EMAIL=a@b; exec sh -c 'git init -q r && cd r && echo x > y && git add y "
            "&& git commit -qm m && git log --oneline | wc -l'"},
    {"Threads", "exec \"$FIXTURES\"/producer_consumer"},
    {"Sockets", "exec \"$FIXTURES\"/loopback"},
    {"Signals", "\"$FIXTURES\"/signals; true"},
    {"SharedMemory", "exec \"$FIXTURES\"/shared_memory"},
    {"Vfork", "exec \"$FIXTURES\"/vforks"},
};

class TwoWorlds : public testing::TestWithParam<Program> {
protected:
  std::string trace() const { return dir_.file("trace"); }

  // Records a script and makes some checkpoints of it, spread over all its events.
  void record(const char* script, const CreationOptions& how = {},
              std::size_t checkpoints = kCheckpoints) {
    std::ofstream(dir_.file("script")) << script;
    const std::string command = "cd '" + dir_.path() +
                                "' && FIXTURES='" RRPCP_REPLAY_FIXTURES "' '" RRPCP_PCP_RR
                                "' record -o '" +
                                trace() + "' -- sh script > output 2> errors";
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << status << ": " << test::read_all(dir_.file("errors"));
    CreationOptions options = how;
    const std::int64_t events = TraceReader::open(trace()).event_count();
    options.event_interval =
        std::max<std::int64_t>(1, events / static_cast<std::int64_t>(checkpoints + 1));
    create_checkpoints(trace(), options);
  }

  std::vector<StoreEntry> checkpoints() const { return checkpoint_store(trace()).list(); }

  TempDir dir_;
};

TEST_P(TwoWorlds, AreEqual) {
  record(GetParam().script);
  const std::vector<StoreEntry> entries = checkpoints();
  ASSERT_GE(entries.size(), 5u);
  // N is where the checkpoint is; M, where the next one is, or shortly before the end.
  const std::int64_t last = TraceReader::open(trace()).event_count();
  std::vector<std::pair<std::int64_t, std::int64_t>> places;
  std::set<std::int64_t> events;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    ASSERT_FALSE(entries[i].problem) << entries[i].problem->what();
    const std::int64_t n = entries[i].header.event;
    const std::int64_t m = i + 1 < entries.size() ? entries[i + 1].header.event : last;
    places.emplace_back(n, m);
    events.insert({n, m});
    const ValidationReport report = validate_file(entries[i].path);
    EXPECT_TRUE(report.valid() && report.findings.empty())
        << report.findings.front().code << ": " << report.findings.front().message;
  }
  std::map<std::int64_t, SessionWorld> worlds;
  {
    ReplaySession session(trace(), {});
    for (std::int64_t event : events) {
      session.run_to(event);
      worlds[event] = test::world_of(session);
    }
  }
  std::size_t compared = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const CheckpointReader reader = CheckpointReader::open(entries[i].path);
    const std::unique_ptr<ReplaySession> session = restore_session(trace(), {}, reader);
    for (std::int64_t event : {places[i].first, places[i].second}) {
      session->run_to(event);
      EXPECT_THAT(test::differences(worlds.at(event), test::world_of(*session)), testing::IsEmpty())
          << "checkpoint at " << places[i].first << ", world at " << event;
      ++compared;
    }
    // And on to the end: the engine compares every event with the recording.
    session->run_to(last + 1);
    EXPECT_EQ(session->event(), last + 1);
  }
  std::printf("%s: %lld events, %zu checkpoints, %zu worlds compared\n", GetParam().name,
              static_cast<long long>(last), entries.size(), compared);
}

INSTANTIATE_TEST_SUITE_P(Programs, TwoWorlds, testing::ValuesIn(kPrograms),
                         [](const auto& tested) { return tested.param.name; });

class TwoWorldsOfSeries : public TwoWorlds {};

// Checkpoints that take over pages of 1, 3 and 8 others, and of as many as there are, bring back
// the world of an uninterrupted replay.
TEST_P(TwoWorldsOfSeries, AreEqualFromEveryDepth) {
  CreationOptions options;
  options.most_decoded = 0;
  record(GetParam().script, options, 10);
  ReplaySession uninterrupted(trace(), {});
  std::set<std::size_t> depths;
  for (const StoreEntry& entry : checkpoints()) {
    const CheckpointReader reader = CheckpointReader::open(entry.path);
    if (reader.base_count() == 0) {
      continue;
    }
    depths.insert(reader.base_count());
    uninterrupted.run_to(entry.header.event);
    const std::unique_ptr<ReplaySession> session = restore_session(trace(), {}, reader);
    EXPECT_THAT(test::differences(test::world_of(uninterrupted), test::world_of(*session)),
                testing::IsEmpty())
        << "event " << entry.header.event << ", depth " << reader.base_count();
    session->run_to(uninterrupted.trace().event_count() + 1);
  }
  EXPECT_TRUE(depths.contains(1));
  if (GetParam().name == std::string("Growing")) {
    EXPECT_THAT(depths, testing::IsSupersetOf({1u, 3u, 8u}));
  }
}

// Never writes again what it has written once: so every checkpoint needs all before it.
constexpr Program kGrowing = {"Growing", "exec perl -e 'my @a; for (1..300) { push @a, \"$_ \" x "
                                         "5000; syswrite STDOUT, \"$_\\n\"; }'"};

INSTANTIATE_TEST_SUITE_P(Programs, TwoWorldsOfSeries,
                         testing::Values(kGrowing, kPrograms[3], kPrograms[5], kPrograms[10],
                                         kPrograms[13]),
                         [](const auto& tested) { return tested.param.name; });

class TwoWorldsCanFail : public TwoWorlds {};

TEST_P(TwoWorldsCanFail, NamesWhatDiffers) {
  record(GetParam().script);
  const std::vector<StoreEntry> entries = checkpoints();
  ASSERT_FALSE(entries.empty());
  const CheckpointReader reader = CheckpointReader::open(entries.back().path);
  const std::unique_ptr<ReplaySession> session = restore_session(trace(), {}, reader);
  const SessionWorld before = test::world_of(*session);
  ASSERT_THAT(test::differences(before, test::world_of(*session)), testing::IsEmpty());
  const pid_t tid = session->state().tasks.front().tid;
  process::Tracee& tracee = session->tracee(tid);

  user_regs_struct registers = tracee.registers();
  registers.r12 ^= 0x10;
  tracee.set_registers(registers);
  std::vector<std::string> found = test::differences(before, test::world_of(*session));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0], testing::HasSubstr("thread " + std::to_string(tid) + ": r12: 0x"));
  registers.r12 ^= 0x10;
  tracee.set_registers(registers);

  process::RemoteMemory& memory = session->memory(tid);
  const std::uint64_t address = registers.rsp & ~std::uint64_t{0xfff};
  auto byte = memory.read_value<unsigned char>(address + 77);
  byte ^= 1;
  memory.write(address + 77, std::as_bytes(std::span(&byte, 1)));
  found = test::differences(before, test::world_of(*session));
  ASSERT_EQ(found.size(), 1u);
  char place[64];
  std::snprintf(place, sizeof place, "page at 0x%llx: ", static_cast<unsigned long long>(address));
  EXPECT_THAT(found[0], testing::HasSubstr(place));
  byte ^= 1;
  memory.write(address + 77, std::as_bytes(std::span(&byte, 1)));

  tracee.set_signal_mask(tracee.signal_mask() ^ 0x200);
  found = test::differences(before, test::world_of(*session));
  ASSERT_FALSE(found.empty());
  EXPECT_THAT(found[0] + found.back(), testing::HasSubstr("signal mask"));
  tracee.set_signal_mask(tracee.signal_mask() ^ 0x200);

  SupervisorState state = session->state();
  state.tasks.front().ticks += 1;
  SessionWorld other = before;
  other.supervisor = test::supervisor_facts(state);
  found = test::differences(before, other);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0], testing::StartsWith("supervisor: task " + std::to_string(tid) + " ticks: " +
                                            std::to_string(state.tasks.front().ticks - 1) + " vs " +
                                            std::to_string(state.tasks.front().ticks)));
}

INSTANTIATE_TEST_SUITE_P(Programs, TwoWorldsCanFail, testing::Values(kPrograms[3]),
                         [](const auto& tested) { return tested.param.name; });

} // namespace
} // namespace rrpcp::replay
