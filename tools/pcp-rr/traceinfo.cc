// `pcp-rr traceinfo`: what a trace says about itself.

#include "common/json_writer.h"
#include "rrpcp/message_json.h"
#include "common/names.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"
#include "rrpcp/store.h"
#include "rrpcp/trace/trace_directory.h"

#include <filesystem>

namespace rrpcp::tools {
namespace {

void write_checkpoints(JsonWriter& json, const TraceReader& trace) {
  const Store store(trace.directory() + "/" + std::string(trace_format::kCheckpointsName));
  json.begin_array();
  for (const StoreEntry& entry : store.list()) {
    const bool known = entry.header.major != 0;
    json.value(
        Json{{"file", json_bytes_as_text(std::filesystem::path(entry.path).filename().string())},
             {"size", entry.file_size},
             {"event", known ? Json(entry.header.event) : Json()},
             {"id", entry.id ? Json(entry.id->to_string()) : Json()},
             {"problem", entry.problem ? json_error(*entry.problem)["error"] : Json()}});
  }
  json.end_array();
}

} // namespace

int rr_traceinfo(int argc, char** argv, Console& console) {
  Command command({"pcp-rr traceinfo", "[OPTION]... [TRACE]",
                   "Writes a JSON document about a trace: its identity and format, how it was "
                   "recorded, how it\nended, the files that it keeps and its checkpoints.",
                   kShowExitCodes});
  command.add("verify", "read the whole trace first; exit with 8 where it is not as written");
  command.add_json("does nothing: the output is JSON always").add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  console.json = true; // errors are JSON too
  const TraceReader trace = TraceReader::open(
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]));
  if (arguments.has("verify")) {
    trace.verify();
  }
  const TraceHeader& header = trace.header();
  JsonWriter json(console);
  json.begin_object();
  json.key("trace");
  json.bytes_as_text(trace.directory());
  json.key("uuid");
  json.string(header.uuid.to_string());
  json.key("format");
  json.value(Json{{"id", trace_format::kFormatId},
                  {"major", header.major},
                  {"minor", header.minor},
                  {"incompatible", header.incompatible},
                  {"readOnlyCompatible", header.read_only_compatible},
                  {"compatible", header.compatible}});
  json.key("machine");
  json.string(machine_name(header.machine));
  json.key("complete");
  json.boolean(trace.complete());
  json.key("beingRecorded");
  json.boolean(trace.being_recorded());
  json.key("problem");
  json.value(trace.problem() ? json_error(*trace.problem())["error"] : Json());
  json.key("events");
  json.number(trace.event_count());
  json.key("chunks");
  json.number(trace.chunks().size());
  json.key("streamBytes");
  json.number(trace.file_size());
  json.key("start");
  write_message(json, trace.start());
  json.key("waitStatus");
  json.value(trace.complete() ? Json(trace.end().getWaitStatus()) : Json());
  json.key("endedAt");
  json.value(trace.complete() ? Json(trace.end().getEndedAt()) : Json());
  json.key("files");
  json.begin_array();
  for (const schema::TraceFile::Reader file : trace.files()) {
    write_message(json, file);
  }
  json.end_array();
  json.key("checkpoints");
  write_checkpoints(json, trace);
  json.end_object();
  json.finish();
  return kExitOk;
}

} // namespace rrpcp::tools
