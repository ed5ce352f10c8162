// `pcp-rr ps`: the processes of a trace.

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"

#include <algorithm>

namespace rrpcp::tools {
namespace {

// A process: its leader, and the threads that it had.
struct ProcessRow {
  const TaskRecord* leader = nullptr;
  std::vector<const TaskRecord*> threads; // the leader among them
  // Of the thread that ended last; nothing while one lives.
  const TaskRecord* last_ended() const {
    const TaskRecord* last = nullptr;
    for (const TaskRecord* thread : threads) {
      if (thread->last_event == 0) {
        return nullptr;
      }
      if (last == nullptr || thread->last_event >= last->last_event) {
        last = thread;
      }
    }
    return last;
  }
};

std::vector<ProcessRow> processes_of(const TaskTable& tasks) {
  std::vector<ProcessRow> rows;
  for (const TaskRecord& task : tasks) {
    if (task.tid == task.pid) {
      rows.push_back({&task, {&task}});
      continue;
    }
    // Ids may be used again: the youngest process of that id is meant.
    const auto owner = std::find_if(rows.rbegin(), rows.rend(), [&](const ProcessRow& row) {
      return row.leader->pid == task.pid;
    });
    if (owner != rows.rend()) {
      owner->threads.push_back(&task);
    }
  }
  return rows;
}

Json to_json(const TaskRecord& task) {
  Json json;
  json["tid"] = task.tid;
  json["firstEvent"] = task.first_event;
  json["lastEvent"] = task.last_event == 0 ? Json() : Json(task.last_event);
  json["waitStatus"] = task.last_event == 0 ? Json() : Json(task.exit_status);
  return json;
}

Json to_json(const ProcessRow& row) {
  Json executions = Json::array();
  for (const TaskExecution& execution : row.leader->executions) {
    Json arguments = Json::array();
    for (const std::string& argument : execution.command_line) {
      arguments.push_back(json_bytes_as_text(argument));
    }
    executions.push_back(Json{{"event", execution.event},
                              {"path", json_bytes_as_text(execution.path)},
                              {"commandLine", std::move(arguments)}});
  }
  Json threads = Json::array();
  for (const TaskRecord* thread : row.threads) {
    threads.push_back(to_json(*thread));
  }
  const TaskRecord* last = row.last_ended();
  Json json;
  json["pid"] = row.leader->pid;
  json["parentPid"] = row.leader->parent_pid == 0 ? Json() : Json(row.leader->parent_pid);
  json["firstEvent"] = row.leader->first_event;
  json["lastEvent"] = last == nullptr ? Json() : Json(last->last_event);
  json["waitStatus"] = last == nullptr ? Json() : Json(last->exit_status);
  json["executions"] = std::move(executions);
  json["threads"] = std::move(threads);
  return json;
}

} // namespace

int rr_ps(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr ps", "[OPTION]... [TRACE]",
       "Lists the processes of a trace, in the order in which they were made.",
       "EXIT is the exit code, minus the signal that ended it, or 'none' where it was "
       "alive at the\nend of the trace. CMD is the first program that it executed.\n\n" +
           std::string(kShowExitCodes)});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  const TraceReader trace =
      open_trace(arguments.positional().empty() ? "" : arguments.positional()[0], console);
  const TaskTable tasks = trace.tasks();
  const std::vector<ProcessRow> rows = processes_of(tasks);
  if (console.json) {
    Json list = Json::array();
    for (const ProcessRow& row : rows) {
      list.push_back(to_json(row));
    }
    console.write_json(
        Json{{"trace", json_bytes_as_text(trace.directory())}, {"processes", std::move(list)}});
    return kExitOk;
  }
  console.write("PID\tPPID\tEXIT\tCMD\n");
  for (const ProcessRow& row : rows) {
    const TaskRecord& leader = *row.leader;
    const TaskRecord* last = row.last_ended();
    console.print("%d\t%s\t%s\t%s\n", leader.pid,
                  leader.parent_pid == 0 ? "--" : std::to_string(leader.parent_pid).c_str(),
                  last == nullptr ? "none" : exit_text(last->exit_status).c_str(),
                  leader.executions.empty()
                      ? "(forked without exec)"
                      : command_text(leader.executions[0].command_line).c_str());
  }
  return kExitOk;
}

} // namespace rrpcp::tools
