// `pcp-rr ls`: the traces.

#include "common/table.h"
#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"
#include "rrpcp/trace/trace_directory.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <sys/stat.h>

namespace rrpcp::tools {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string name;
  // Nanoseconds since the epoch: begin of the recording, or the stream's time of modification.
  std::int64_t started = 0;
  // Bytes of all files, checkpoints included.
  std::uint64_t size = 0;
  std::uint64_t checkpoints = 0;
  std::uint64_t checkpoint_bytes = 0;
  std::int64_t events = 0;
  bool complete = false;
  bool being_recorded = false;
  std::int32_t wait_status = 0;
  std::vector<std::string> command_line;
  std::optional<Error> problem;
};

void add_sizes(const std::string& directory, Row& row) {
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    struct stat status = {};
    if (::lstat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
      continue;
    }
    row.size += static_cast<std::uint64_t>(status.st_size);
    if (entry->path().extension() == ".pcp" &&
        entry->path().parent_path().filename() == trace_format::kCheckpointsName) {
      ++row.checkpoints;
      row.checkpoint_bytes += static_cast<std::uint64_t>(status.st_size);
    }
  }
}

Row examine(const std::string& root, const std::string& name) {
  Row row;
  row.name = name;
  const std::string directory = root + "/" + name;
  struct stat status = {};
  if (::stat((directory + "/" + std::string(trace_format::kEventsName)).c_str(), &status) == 0) {
    row.started = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  }
  add_sizes(directory, row);
  try {
    const TraceReader trace = TraceReader::open(directory);
    const schema::TraceStart::Reader start = trace.start();
    row.started = start.getStartedAt() != 0 ? start.getStartedAt() : row.started;
    for (const capnp::Data::Reader word : start.getCommandLine()) {
      row.command_line.emplace_back(word.asChars().begin(), word.size());
    }
    row.events = trace.event_count();
    row.complete = trace.complete();
    row.being_recorded = trace.being_recorded();
    row.wait_status = row.complete ? trace.end().getWaitStatus() : 0;
    row.problem = trace.problem();
  } catch (const Error& error) {
    row.problem = error;
  }
  return row;
}

std::string state_text(const Row& row) {
  if (row.complete) {
    return exit_text(row.wait_status);
  }
  return row.being_recorded ? "running" : "none";
}

void show(Console& console, const std::vector<Row>& rows) {
  Table table({{"NAME"},
               {"WHEN"},
               {"SIZE", true},
               {"CHECKPOINTS", true},
               {"EVENTS", true},
               {"EXIT", true},
               {"CMD"}});
  for (const Row& row : rows) {
    const bool readable = !row.problem || row.problem->code() == ErrorCode::kIncomplete;
    table.add({printable(row.name), human_time(row.started), human_size(row.size),
               row.checkpoints == 0 ? "-"
                                    : std::to_string(row.checkpoints) + " (" +
                                          human_size(row.checkpoint_bytes) + ")",
               std::to_string(row.events), state_text(row),
               (readable ? "" : "(" + std::string(error_code_name(row.problem->code())) + ") ") +
                   command_text(row.command_line)});
  }
  if (!table.empty()) {
    table.print(console);
  }
}

Json to_json(const std::string& root, const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    Json words = Json::array();
    for (const std::string& word : row.command_line) {
      words.push_back(json_bytes_as_text(word));
    }
    Json json;
    json["name"] = json_bytes_as_text(row.name);
    json["startedAt"] = row.started;
    json["size"] = row.size;
    json["checkpoints"] = row.checkpoints;
    json["checkpointBytes"] = row.checkpoint_bytes;
    json["events"] = row.events;
    json["complete"] = row.complete;
    json["beingRecorded"] = row.being_recorded;
    json["waitStatus"] = row.complete ? Json(row.wait_status) : Json();
    json["commandLine"] = std::move(words);
    json["problem"] = row.problem ? json_error(*row.problem)["error"] : Json();
    list.push_back(std::move(json));
  }
  return Json{{"directory", json_bytes_as_text(root)}, {"traces", std::move(list)}};
}

} // namespace

int rr_ls(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr ls", "[OPTION]... [DIR]",
       "Lists the traces in DIR, else $_PCP_RR_TRACE_DIR, else $XDG_DATA_HOME/pcp-rr, else "
       "~/.local/share/pcp-rr.",
       "SIZE counts everything in a trace's directory, checkpoints included. EXIT is the exit code "
       "of\nthe recorded program, minus the signal that ended it, 'running' while it is recorded, "
       "or 'none'\nwhere the recording did not end properly.\n\n" +
           std::string(kShowExitCodes)});
  command.add_json().add_quiet();
  command.add("l,long-listing", "a line for each trace with its time, size and command");
  command.add("t,sort-by-age", "sort from newest to oldest");
  command.add("r,reverse", "reverse the order");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "DIR");
  const bool named = !arguments.positional().empty();
  const std::string root = named ? arguments.positional()[0] : trace_root();
  if (named && !fs::is_directory(root)) {
    throw Error(ErrorCode::kNotFound, "there is no such directory").in_file(root);
  }
  std::vector<Row> rows;
  for (const std::string& name : list_traces(root)) {
    rows.push_back(examine(root, name));
  }
  if (arguments.has("sort-by-age")) {
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.started > b.started; });
  }
  if (arguments.has("reverse")) {
    std::reverse(rows.begin(), rows.end());
  }
  if (console.json) {
    console.write_json(to_json(root, rows));
  } else if (arguments.has("long-listing")) {
    show(console, rows);
  } else {
    for (const Row& row : rows) {
      console.write(printable(row.name) + "\n");
    }
  }
  if (rows.empty() && !console.json) {
    console.note("there is no trace in " + printable(root));
  }
  return kExitOk;
}

} // namespace rrpcp::tools
