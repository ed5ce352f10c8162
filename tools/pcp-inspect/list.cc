// `pcp-inspect list`: the checkpoints of a directory, or of every version in a trace.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/series.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <filesystem>
#include <set>

namespace rrpcp::tools {
namespace {

struct Row {
  StoreEntry entry;
  std::optional<std::uint64_t> tasks;
  // "1.0", "rr-2025"; empty where it is not known.
  std::string format;
  // Relative to the directory that is listed.
  std::string name;
  // The entry's header says something.
  bool known = false;
  // What it takes over pages of, from the first of the series on.
  std::vector<CheckpointId> bases = {};
  // Bytes of pages that it stores, and that it takes over.
  std::optional<std::uint64_t> own_bytes = {};
  std::uint64_t inherited_bytes = 0;
};

// Opens the entry for what is in its manifest; what goes wrong becomes its problem.
Row examine(StoreEntry entry, const std::string& directory) {
  Row row;
  row.name = std::filesystem::path(entry.path).lexically_relative(directory).string();
  row.known = entry.header.major != 0;
  if (row.known) {
    row.format = format_text("%u.%u", entry.header.major, entry.header.minor);
  }
  row.entry = std::move(entry);
  if (row.entry.problem) {
    return row;
  }
  try {
    const CheckpointReader reader = open_checkpoint(row.entry.path);
    with_manifest(reader, [&] {
      row.tasks = reader.state().getTasks().size();
      row.bases = base_ids(reader);
      const SeriesCost cost = series_cost(reader.state());
      const std::uint64_t page_size = reader.header().page_size;
      row.own_bytes = cost.own_pages * page_size;
      row.inherited_bytes = (cost.pages - cost.own_pages) * page_size;
    });
  } catch (const Error& error) {
    row.entry.problem = error;
  }
  return row;
}

// A checkpoint of an older generation in a trace.
Row examine(const LegacyTrace& trace, const LegacyEntry& legacy) {
  Row row;
  row.name = legacy.name;
  row.format = generation_name(legacy.generation);
  row.entry.path = legacy.path;
  row.entry.header.event = legacy.event;
  row.known = legacy.event != 0;
  row.entry.problem = legacy.problem;
  if (legacy.problem) {
    return row;
  }
  try {
    const LegacyCheckpoint checkpoint = trace.load(legacy);
    const HeaderFields fields = import_header(checkpoint);
    Header& header = row.entry.header;
    header.ticks = fields.ticks;
    header.mark_event = fields.mark_event;
    header.position_kind = fields.position_kind;
    header.trace_uuid = fields.trace_uuid;
    row.tasks = checkpoint.task_count();
    row.entry.file_size = checkpoint.stored_bytes();
    for (const Finding& finding : checkpoint.findings()) {
      if (finding.severity == Severity::kError && !row.entry.problem) {
        row.entry.problem = Error(ErrorCode::kDamaged, finding.message)
                                .in_file(finding.file)
                                .with_diagnostic(finding.code)
                                .with_hint(std::string(finding.hint));
      }
    }
  } catch (const Error& error) {
    row.entry.problem = error;
  }
  return row;
}

// All checkpoints of a trace, of every version, in the order of their positions.
std::vector<Row> examine_trace(const std::string& directory, Console& console) {
  std::vector<Row> rows;
  const LegacyTrace trace = LegacyTrace::open(directory);
  for (const Finding& finding : trace.findings()) {
    console.warn(printable(finding.file) + ": [" + std::string(finding.code) + "] " +
                 printable(finding.message));
  }
  for (const LegacyEntry& legacy : trace.entries()) {
    rows.push_back(examine(trace, legacy));
  }
  const auto store = (std::filesystem::path(directory) / std::string(kTraceStoreName)).string();
  for (StoreEntry& entry : Store(store).list()) {
    rows.push_back(examine(std::move(entry), directory));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.entry.header.event < b.entry.header.event;
  });
  return rows;
}

// Who takes over pages of a checkpoint that is not there cannot be used. (Whether what is there is
// undamaged, pcp-validate says.)
void look_for_bases(std::vector<Row>& rows) {
  std::set<CheckpointId> there;
  for (const Row& row : rows) {
    if (row.entry.id && !row.entry.problem) {
      there.insert(*row.entry.id);
    }
  }
  for (Row& row : rows) {
    for (const CheckpointId& base : row.bases) {
      if (!there.contains(base) && !row.entry.problem) {
        row.entry.problem = Error(ErrorCode::kNotFound, "base " + base.to_string() + " is missing")
                                .in_file(row.entry.path)
                                .with_diagnostic("base.missing")
                                .with_hint("put the base's file back beside this one: the pages "
                                           "it holds are nowhere else");
      }
    }
  }
}

// The chain of a row: how many checkpoints it needs, and the last of them.
std::string chain_text(const Row& row, const std::vector<Row>& rows) {
  if (row.bases.empty()) {
    return "-";
  }
  const CheckpointId& last = row.bases.back();
  std::string text = last.to_string().substr(0, 8);
  for (const Row& other : rows) {
    if (other.entry.id == last && other.entry.header.event != 0) {
      text = "event " + std::to_string(other.entry.header.event);
    }
  }
  return row.bases.size() == 1 ? text : text + " and " + std::to_string(row.bases.size() - 1);
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

void show_list(Console& console, const std::vector<Row>& rows) {
  Table table({{"EVENT", true},
               {"TICKS", true},
               {"PLACE"},
               {"TASKS", true},
               {"SIZE", true},
               {"OWN", true},
               {"INHERITED", true},
               {"BASE"},
               {"FORMAT"},
               {"HEALTH"},
               {"FILE"}});
  for (const Row& row : rows) {
    const Header& header = row.entry.header;
    const bool known = row.known;
    table.add({known ? std::to_string(header.event) : "-",
               known ? std::to_string(header.ticks) : "-", known ? place_text(header) : "",
               row.tasks ? std::to_string(*row.tasks) : "-", human_size(row.entry.file_size),
               row.own_bytes ? human_size(*row.own_bytes) : "-",
               row.bases.empty() ? "-" : human_size(row.inherited_bytes), chain_text(row, rows),
               row.format.empty() ? "-" : row.format,
               row.entry.problem ? std::string(error_code_name(row.entry.problem->code())) : "ok",
               printable(row.name)});
  }
  if (!table.empty()) {
    table.print(console);
  }
}

Json list_json(const std::string& directory, const std::vector<Row>& rows) {
  Json list = Json::array();
  for (const Row& row : rows) {
    const Header& header = row.entry.header;
    Json json;
    json["file"] = json_bytes_as_text(row.name);
    json["format"] = row.format.empty() ? Json() : Json(row.format);
    json["size"] = row.entry.file_size;
    json["checkpointId"] = row.entry.id ? Json(row.entry.id->to_string()) : Json();
    const bool known = row.known;
    json["version"] =
        header.major != 0 ? Json{{"major", header.major}, {"minor", header.minor}} : Json();
    json["position"] = known ? Json{{"kind", position_kind_name(header.position_kind)},
                                    {"event", header.event},
                                    {"ticks", header.ticks},
                                    {"markEvent", header.mark_event},
                                    {"order", header.order}}
                             : Json();
    json["traceUuid"] =
        known && !header.trace_uuid.is_nil() ? Json(header.trace_uuid.to_string()) : Json();
    json["tasks"] = row.tasks ? Json(*row.tasks) : Json();
    json["bases"] = Json::array();
    for (const CheckpointId& base : row.bases) {
      json["bases"].push_back(base.to_string());
    }
    json["ownBytes"] = row.own_bytes ? Json(*row.own_bytes) : Json();
    json["inheritedBytes"] = row.own_bytes ? Json(row.inherited_bytes) : Json();
    json["problem"] = row.entry.problem ? json_error(*row.entry.problem)["error"] : Json();
    list.push_back(std::move(json));
  }
  return Json{{"directory", json_bytes_as_text(directory)}, {"checkpoints", std::move(list)}};
}

} // namespace

int inspect_list(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect list", "[OPTION]... DIR",
       "Lists the checkpoint files of a directory in the order of their positions. Of "
       "an rr trace: its checkpoints of every version.",
       "OWN are bytes of pages that the checkpoint stores, INHERITED those that it takes "
       "over from others:\nfrom the one that BASE names, and so many before it.\n\n"
       "HEALTH is 'ok' where header, footer and manifest are whole and all bases are "
       "there; otherwise the\nkind of problem.\n'pcp-validate' checks the page data too.\n\n"
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
  if (is_trace_directory(directory)) {
    rows = examine_trace(directory, console);
  } else {
    for (StoreEntry& entry : Store(directory).list()) {
      rows.push_back(examine(std::move(entry), directory));
    }
  }
  look_for_bases(rows);
  const bool bad = std::any_of(rows.begin(), rows.end(),
                               [](const Row& row) { return row.entry.problem.has_value(); });
  const int code = bad ? kExitNo : kExitOk;
  if (console.json) {
    console.write_json(list_json(directory, rows));
    return code;
  }
  show_list(console, rows);
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
