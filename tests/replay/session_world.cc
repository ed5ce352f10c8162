#include "replay/session_world.h"

#include <chrono>
#include <sys/ptrace.h>

namespace rrpcp::test {

namespace {

// What tells of the replay and not of the program: ids that each replay has anew.
constexpr const char* kForeignThreadFacts[] = {"Tgid", "Ngid", "NSpid"};

std::string hex_of(std::span<const std::byte> bytes) {
  std::string text;
  for (std::byte byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
    text += digits;
  }
  return text;
}

} // namespace

std::map<std::string, std::string> supervisor_facts(const replay::SupervisorState& state) {
  std::map<std::string, std::string> facts;
  facts["event"] = std::to_string(state.event);
  facts["next serial"] = std::to_string(state.next_serial);
  facts["last task"] = std::to_string(state.last_task);
  facts["last signal"] = hex_of(state.last_signal);
  facts["ended"] = state.ended ? "yes" : "no";
  facts["status"] = std::to_string(state.status);
  facts["bytes written"] = std::to_string(state.bytes_written);
  facts["system calls"] = std::to_string(state.system_calls);
  std::string order;
  for (const replay::TaskState& task : state.tasks) {
    const std::string name = "task " + std::to_string(task.tid) + " ";
    order += std::to_string(task.tid) + " ";
    facts[name + "pid"] = std::to_string(task.pid);
    facts[name + "serial"] = std::to_string(task.serial);
    facts[name + "in call"] = task.in_call ? "yes" : "no";
    facts[name + "ticks"] = std::to_string(task.ticks);
    facts[name + "first run event"] = std::to_string(task.first_run_event);
    facts[name + "last event"] = std::to_string(task.last_event);
  }
  facts["order of tasks"] = order;
  order.clear();
  for (const replay::ProcessState& process : state.processes) {
    const std::string name = "process " + std::to_string(process.pid) + " ";
    order += std::to_string(process.pid) + " ";
    facts[name + "parent"] = std::to_string(process.parent);
    facts[name + "serial"] = std::to_string(process.serial);
    facts[name + "space event"] = std::to_string(process.space_event);
    facts[name + "shares memory of"] = std::to_string(process.shares_memory_of);
    facts[name + "executable"] = process.executable;
  }
  facts["order of processes"] = order;
  for (const replay::ObjectState& object : state.objects) {
    const std::string name = "object " + std::to_string(object.number) + " ";
    facts[name + "size"] = std::to_string(object.size);
    facts[name + "path"] = object.path;
  }
  return facts;
}

SessionWorld world_of(replay::ReplaySession& session) {
  SessionWorld world;
  std::map<pid_t, std::map<pid_t, pid_t>> recorded; // by real pid: real tid to recorded tid
  std::map<pid_t, pid_t> recorded_pids;
  for (const replay::TaskState& task : session.state().tasks) {
    process::Tracee& tracee = session.tracee(task.tid);
    if (!tracee.last_stop().event_stop()) {
      tracee.interrupt();
      tracee.resume(PTRACE_CONT);
      tracee.await_event_stop(std::chrono::seconds(10));
    }
    const pid_t real = session.real_process(task.tid);
    recorded[real][tracee.tid()] = task.tid;
    recorded_pids[real] = task.pid;
  }
  for (const auto& [real, tids] : recorded) {
    WorldOptions options;
    options.join_heap = true;
    World seen = read_world(real, options);
    std::map<pid_t, WorldThread> threads;
    for (auto& [tid, thread] : seen.threads) {
      for (const char* fact : kForeignThreadFacts) {
        thread.facts.erase(fact);
      }
      auto name = tids.find(tid);
      if (name != tids.end()) { // else a main thread that has ended in the recording
        threads[name->second] = thread;
      }
    }
    seen.threads = threads;
    seen.facts.erase("process group");
    world.processes[recorded_pids[real]] = seen;
    for (const auto& [tid, name] : tids) {
      session.tracee(name).set_options(replay::kTaskTraceOptions);
    }
  }
  world.supervisor = supervisor_facts(session.state());
  return world;
}

std::vector<std::string> differences(const SessionWorld& a, const SessionWorld& b,
                                     std::size_t limit) {
  std::vector<std::string> found;
  auto add = [&](const std::string& text) {
    if (found.size() < limit) {
      found.push_back(text);
    }
  };
  auto value_of = [](const std::map<std::string, std::string>& facts, const std::string& name) {
    auto fact = facts.find(name);
    return fact == facts.end() ? std::string("(none)") : fact->second;
  };
  std::map<std::string, std::string> names = a.supervisor;
  names.insert(b.supervisor.begin(), b.supervisor.end());
  for (const auto& [name, value] : names) {
    const std::string x = value_of(a.supervisor, name);
    const std::string y = value_of(b.supervisor, name);
    if (x != y) {
      add("supervisor: " + name + ": " + x + " vs " + y);
    }
  }
  std::map<pid_t, World> pids = a.processes;
  pids.insert(b.processes.begin(), b.processes.end());
  for (const auto& [pid, world] : pids) {
    const std::string where = "process " + std::to_string(pid) + ": ";
    auto x = a.processes.find(pid);
    auto y = b.processes.find(pid);
    if (x == a.processes.end() || y == b.processes.end()) {
      add(where + (x == a.processes.end() ? "(none) vs there" : "there vs (none)"));
      continue;
    }
    for (const std::string& difference : differences(x->second, y->second, limit)) {
      add(where + difference);
    }
  }
  return found;
}

} // namespace rrpcp::test
