// `pcp-inspect trace`: what an rr trace says about itself.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"
#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"

#include <filesystem>
#include <sys/wait.h>

namespace rrpcp::tools {
namespace {

// A trace as far as it could be read.
struct Contents {
  RrTrace trace;
  std::uint64_t frames = 0;
  std::vector<RrTraceTask> tasks;
  std::uint64_t mappings = 0;
};

Contents read_trace(const std::string& directory) {
  Contents contents{RrTrace::open(directory), 0, {}, 0};
  RrTraceFrameReader reader = contents.trace.frames();
  while (reader.next()) {
    ++contents.frames;
  }
  contents.tasks = contents.trace.tasks();
  contents.mappings = contents.trace.mappings().size();
  return contents;
}

const char* kind_name(RrTraceTask::Kind kind) {
  switch (kind) {
  case RrTraceTask::Kind::kClone:
    return "clone";
  case RrTraceTask::Kind::kExec:
    return "exec";
  case RrTraceTask::Kind::kExit:
    return "exit";
  case RrTraceTask::Kind::kDetach:
    return "detach";
  }
  return "unknown";
}

// What happened, for people.
std::string describe(const RrTraceTask& task) {
  switch (task.kind) {
  case RrTraceTask::Kind::kClone:
    return format_text("by %d, flags 0x%x", task.parent_tid,
                       static_cast<unsigned>(task.clone_flags));
  case RrTraceTask::Kind::kExec: {
    std::string words;
    for (const std::string& word : task.command_line) {
      words += " " + printable(word);
    }
    return printable(task.file_name) + ":" + words;
  }
  case RrTraceTask::Kind::kExit:
    return WIFSIGNALED(task.exit_status)
               ? "by signal " + std::to_string(WTERMSIG(task.exit_status))
               : "status " + std::to_string(WEXITSTATUS(task.exit_status));
  case RrTraceTask::Kind::kDetach:
    break;
  }
  return {};
}

void show_trace(Console& console, const Contents& contents) {
  const RrTraceHeader& header = contents.trace.header();
  console.print("Trace:    %s, version %u\n", header.uuid.to_string().c_str(), header.version);
  console.print("Machine:  %s, pages of %s\n", machine_name(header.machine).c_str(),
                human_size(header.page_size).c_str());
  if (header.required_forward_compatibility != 0) {
    console.print("Replays:  with an rr of forward-compatibility version %d or newer\n",
                  header.required_forward_compatibility);
  }
  if (header.xcr0 != 0) {
    console.print("XCR0:     0x%llx\n", static_cast<unsigned long long>(header.xcr0));
  }
  console.print("Events:   %llu\n", static_cast<unsigned long long>(contents.frames));
  console.print("Mappings: %s\n\n", human_count(contents.mappings, "record", "records").c_str());
  Table table({{"EVENT", true}, {"TID", true}, {"WHAT"}, {""}});
  for (const RrTraceTask& task : contents.tasks) {
    table.add({std::to_string(task.event), std::to_string(task.tid), kind_name(task.kind),
               describe(task)});
  }
  if (!table.empty()) {
    table.print(console);
  }
}

Json trace_json(const RrTraceTask& task) {
  Json json{{"event", task.event}, {"tid", task.tid}, {"kind", kind_name(task.kind)}};
  switch (task.kind) {
  case RrTraceTask::Kind::kClone:
    json["parentTid"] = task.parent_tid;
    json["flags"] = task.clone_flags;
    json["ownNamespaceTid"] = task.own_namespace_tid;
    break;
  case RrTraceTask::Kind::kExec: {
    json["fileName"] = json_bytes_as_text(task.file_name);
    Json words = Json::array();
    for (const std::string& word : task.command_line) {
      words.push_back(json_bytes_as_text(word));
    }
    json["commandLine"] = std::move(words);
    break;
  }
  case RrTraceTask::Kind::kExit:
    json["exitStatus"] = task.exit_status;
    break;
  case RrTraceTask::Kind::kDetach:
    break;
  }
  return json;
}

Json trace_json(const Contents& contents) {
  const RrTraceHeader& header = contents.trace.header();
  Json tasks = Json::array();
  for (const RrTraceTask& task : contents.tasks) {
    tasks.push_back(trace_json(task));
  }
  return Json{{"directory", json_bytes_as_text(contents.trace.directory())},
              {"version", header.version},
              {"uuid", header.uuid.to_string()},
              {"machine", header.machine},
              {"pageSize", header.page_size},
              {"xcr0", header.xcr0},
              {"requiredForwardCompatibility", header.required_forward_compatibility},
              {"events", contents.frames},
              {"mappings", contents.mappings},
              {"taskEvents", std::move(tasks)}};
}

} // namespace

int inspect_trace(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect trace", "[OPTION]... DIR",
                   "Shows what an rr trace says about itself: identity, machine, number of events, "
                   "and when tasks began, executed programs and ended.",
                   kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "DIR");
  const std::string& directory = arguments.positional()[0];
  std::error_code ignored;
  if (std::filesystem::is_regular_file(directory, ignored)) {
    throw Error(ErrorCode::kInvalidArgument, "this is a file, and `trace` shows trace directories")
        .in_file(directory)
        .with_hint("`pcp-inspect info` shows a checkpoint");
  }
  if (is_pcp_trace(directory)) {
    throw Error(ErrorCode::kInvalidArgument, "this is a trace of pcp-rr, and `trace` shows rr's")
        .in_file(directory)
        .with_hint("`pcp-rr traceinfo` shows it");
  }
  const Contents contents = read_trace(directory);
  if (console.json) {
    console.write_json(trace_json(contents));
  } else {
    show_trace(console, contents);
  }
  return kExitOk;
}

} // namespace rrpcp::tools
