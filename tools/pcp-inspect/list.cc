// `pcp-inspect list`: the checkpoints of a directory.

#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/names.h"
#include "pcp-inspect/open.h"
#include "rrpcp/store.h"

#include <filesystem>

namespace rrpcp::tools {
namespace {

struct Row {
  StoreEntry entry;
  std::optional<std::uint64_t> tasks;
};

std::string file_name(const StoreEntry& entry) {
  return std::filesystem::path(entry.path).filename().string();
}

// Opens the entry for what is in its manifest; what goes wrong becomes its problem.
Row examine(StoreEntry entry) {
  Row row{std::move(entry), std::nullopt};
  if (row.entry.problem) {
    return row;
  }
  try {
    const CheckpointReader reader = open_checkpoint(row.entry.path);
    with_manifest(reader, [&] { row.tasks = reader.state().getTasks().size(); });
  } catch (const Error& error) {
    row.entry.problem = error;
  }
  return row;
}

// Whether the header itself could be read.
bool has_header(const StoreEntry& entry) {
  return entry.header.major != 0;
}

std::string place_text(const Header& header) {
  switch (header.position_kind) {
  case format::kPositionForwardTo:
    return "to mark in " + std::to_string(header.mark_event);
  case format::kPositionBetween:
    return "inside, order " + std::to_string(header.order);
  case format::kPositionNone:
    return "no trace";
  default:
    return "";
  }
}

void show(Console& console, const std::vector<Row>& rows) {
  Table table({{"EVENT", true},
               {"TICKS", true},
               {"PLACE"},
               {"TASKS", true},
               {"SIZE", true},
               {"FORMAT"},
               {"HEALTH"},
               {"FILE"}});
  for (const Row& row : rows) {
    const Header& header = row.entry.header;
    const bool known = has_header(row.entry);
    table.add({known ? std::to_string(header.event) : "-",
               known ? std::to_string(header.ticks) : "-", known ? place_text(header) : "",
               row.tasks ? std::to_string(*row.tasks) : "-", human_size(row.entry.file_size),
               known ? format_text("%u.%u", header.major, header.minor) : "-",
               row.entry.problem ? std::string(error_code_name(row.entry.problem->code())) : "ok",
               printable(file_name(row.entry))});
  }
  if (!table.empty()) {
    table.print(console);
  }
}

Json to_json(const std::string& directory, const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    const Header& header = row.entry.header;
    Json json;
    json["file"] = json_bytes_as_text(file_name(row.entry));
    json["size"] = row.entry.file_size;
    json["checkpointId"] = row.entry.id ? Json(row.entry.id->to_string()) : Json();
    const bool known = has_header(row.entry);
    json["version"] = known ? Json{{"major", header.major}, {"minor", header.minor}} : Json();
    json["position"] = known ? Json{{"kind", position_kind_name(header.position_kind)},
                                    {"event", header.event},
                                    {"ticks", header.ticks},
                                    {"markEvent", header.mark_event},
                                    {"order", header.order}}
                             : Json();
    json["traceUuid"] =
        known && !header.trace_uuid.is_nil() ? Json(header.trace_uuid.to_string()) : Json();
    json["tasks"] = row.tasks ? Json(*row.tasks) : Json();
    json["problem"] = row.entry.problem ? json_error(*row.entry.problem)["error"] : Json();
    list.push_back(std::move(json));
  }
  return Json{{"directory", json_bytes_as_text(directory)}, {"checkpoints", std::move(list)}};
}

} // namespace

int inspect_list(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect list", "[OPTION]... DIR",
                   "Lists the checkpoint files of a directory in the order of their positions.",
                   "HEALTH is 'ok' where header, footer and manifest are whole; otherwise the kind "
                   "of problem.\n'pcp-validate' checks the page data too.\n\n"
                   "Exit codes: 0 done, 1 a checkpoint of the directory cannot be used, 2 the "
                   "directory could not\nbe read or wrong usage."});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "DIR");
  const std::string& directory = arguments.positional()[0];
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    throw Error(error ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
                error ? "cannot read the directory: " + error.message() : "this is no directory")
        .in_file(directory);
  }
  std::vector<Row> rows;
  int code = kExitOk;
  for (StoreEntry& entry : Store(directory).list()) {
    rows.push_back(examine(std::move(entry)));
    if (rows.back().entry.problem) {
      code = kExitNo;
    }
  }
  if (console.json) {
    console.write_json(to_json(directory, rows));
    return code;
  }
  show(console, rows);
  console.flush();
  for (const Row& row : rows) {
    if (row.entry.problem) {
      report_error(console, *row.entry.problem);
    }
  }
  if (rows.empty()) {
    console.note("no checkpoints in " + directory);
  }
  return code;
}

} // namespace rrpcp::tools
