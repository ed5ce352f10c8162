// `pcp-inspect tasks`: processes, threads and their signals.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "diff/registers.h"
#include "pcp-inspect/data_text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"

namespace rrpcp::tools {
namespace {

std::string address_cell(const std::optional<std::uint64_t>& value) {
  return value ? format_text("0x%llx", static_cast<unsigned long long>(*value)) : "-";
}

std::uint64_t pending_set(capnp::List<schema::SignalInfo>::Reader signals) {
  std::uint64_t set = 0;
  for (const auto signal : signals) {
    if (signal.getSignal() >= 1 && signal.getSignal() <= 64) {
      set |= std::uint64_t{1} << (signal.getSignal() - 1);
    }
  }
  return set;
}

std::string index_cell(std::uint32_t index) {
  return index == schema::NO_INDEX ? "-" : std::to_string(index);
}

bool mask_recorded(schema::Task::Reader task) {
  return task.getSignalMask() != UINT64_MAX;
}

std::optional<schema::Process::Reader> process_of(schema::State::Reader state,
                                                  schema::Task::Reader task) {
  const auto processes = state.getProcesses();
  if (task.getProcess() < processes.size()) {
    return processes[task.getProcess()];
  }
  return std::nullopt;
}

std::string command_line(schema::Process::Reader process) {
  std::string text;
  for (const auto argument : process.getCommandLine()) {
    text += (text.empty() ? "" : " ") + printable(bytes_of(argument));
  }
  return text;
}

void show_processes(Console& console, schema::State::Reader state) {
  Table table(
      {{"PID", true}, {"PPID", true}, {"PGRP", true}, {"SID", true}, {"PENDING"}, {"COMMAND"}});
  for (const auto process : state.getProcesses()) {
    table.add({std::to_string(process.getPid()), std::to_string(process.getParentPid()),
               std::to_string(process.getProcessGroup()), std::to_string(process.getSessionId()),
               signal_set(pending_set(process.getPendingSignals())), command_line(process)});
  }
  table.print(console);
}

void show_tasks(Console& console, schema::State::Reader state) {
  bool ticks = false;
  for (const auto task : state.getTasks()) {
    ticks = ticks || task.hasReplay();
  }
  std::vector<Column> columns = {{"TID", true}, {"PID", true}, {"NAME"},    {"SPACE", true},
                                 {"FDS", true}, {"PC", true},  {"SP", true}};
  if (ticks) {
    columns.push_back({"TICKS", true});
  }
  columns.push_back({"PENDING"});
  columns.push_back({"BLOCKED"});
  Table table(columns);
  for (const auto task : state.getTasks()) {
    const auto process = process_of(state, task);
    std::vector<std::string> row = {
        std::to_string(task.getTid()),           process ? std::to_string(process->getPid()) : "-",
        printable(bytes_of(task.getName())),     std::to_string(task.getAddressSpace()),
        index_cell(task.getFileTable()),         address_cell(program_counter(state, task)),
        address_cell(stack_pointer(state, task))};
    if (ticks) {
      row.push_back(std::to_string(task.getReplay().getTicks()));
    }
    row.push_back(signal_set(pending_set(task.getPendingSignals())));
    row.push_back(mask_recorded(task) ? signal_set(task.getSignalMask()) : "not recorded");
    table.add(std::move(row));
  }
  table.print(console);
}

void show_handlers(Console& console, schema::State::Reader state) {
  const auto tables = state.getSignalHandlerTables();
  for (unsigned i = 0; i < tables.size(); ++i) {
    console.print("\nsignal handlers, table %u%s\n", i,
                  tables[i].getActions().size() == 0 ? ": all default" : "");
    Table table({{"SIGNAL"}, {"HANDLER", true}, {"FLAGS", true}, {"BLOCKED MEANWHILE"}});
    for (const auto action : tables[i].getActions()) {
      const std::string handler = action.getHandler() == 0   ? "default"
                                  : action.getHandler() == 1 ? "ignored"
                                                             : address_cell(action.getHandler());
      table.add({signal_name(action.getSignal()), handler,
                 format_text("0x%llx", static_cast<unsigned long long>(action.getFlags())),
                 signal_set(action.getMask())});
    }
    if (!table.empty()) {
      table.print(console);
    }
  }
}

void show_tasks(Console& console, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  show_processes(console, state);
  console.write("\n");
  show_tasks(console, state);
  show_handlers(console, state);
}

Json pending_json(capnp::List<schema::SignalInfo>::Reader signals) {
  Json list = Json::array();
  for (const auto signal : signals) {
    list.push_back({{"signal", signal.getSignal()},
                    {"name", signal_name(signal.getSignal())},
                    {"code", signal.getCode()}});
  }
  return list;
}

Json tasks_json(const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  const auto index = [](std::uint32_t value) {
    return value == schema::NO_INDEX ? Json() : Json(value);
  };
  const auto optional = [](const std::optional<std::uint64_t>& value) {
    return value ? Json(*value) : Json();
  };
  Json processes = Json::array();
  for (const auto process : state.getProcesses()) {
    Json arguments = Json::array();
    for (const auto argument : process.getCommandLine()) {
      arguments.push_back(json_bytes_as_text(bytes_of(argument)));
    }
    processes.push_back({{"pid", process.getPid()},
                         {"parentPid", process.getParentPid()},
                         {"processGroup", process.getProcessGroup()},
                         {"sessionId", process.getSessionId()},
                         {"pending", pending_json(process.getPendingSignals())},
                         {"commandLine", std::move(arguments)}});
  }
  Json tasks = Json::array();
  for (const auto task : state.getTasks()) {
    const auto process = process_of(state, task);
    tasks.push_back({{"tid", task.getTid()},
                     {"pid", process ? Json(process->getPid()) : Json()},
                     {"name", json_bytes_as_text(bytes_of(task.getName()))},
                     {"addressSpace", task.getAddressSpace()},
                     {"fileTable", index(task.getFileTable())},
                     {"fileSystemContext", index(task.getFileSystemContext())},
                     {"signalHandlers", index(task.getSignalHandlers())},
                     {"programCounter", optional(program_counter(state, task))},
                     {"stackPointer", optional(stack_pointer(state, task))},
                     {"ticks", task.hasReplay() ? Json(task.getReplay().getTicks()) : Json()},
                     {"pending", pending_json(task.getPendingSignals())},
                     {"signalMask", mask_recorded(task) ? Json(task.getSignalMask()) : Json()}});
  }
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"processes", std::move(processes)},
              {"tasks", std::move(tasks)}};
}

} // namespace

int inspect_tasks(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect tasks", "[OPTION]... FILE...",
                   "Shows processes and threads: where each stands, and its signals.",
                   kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  return show_checkpoints(console, arguments.positional(), tasks_json,
                          [&](const CheckpointReader& reader) { show_tasks(console, reader); });
}

} // namespace rrpcp::tools
