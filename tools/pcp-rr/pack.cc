// `pcp-rr pack`: makes traces independent of other files, and smaller.

#include "common/progress.h"
#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_pack.h"

namespace rrpcp::tools {

int rr_pack(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr pack", "[OPTION]... [TRACE]...",
       "Makes traces independent of other files: what is a link to a file of the system becomes a "
       "copy,\nall kept files are checked, and the events are compressed again.",
       "Be careful with giving traces away: they hold what the program's memory held.\n\n"
       "Exit codes: 0 done, 2 wrong usage or the trace is being recorded, 3 no such trace, 5 the\n"
       "disk is full, 7 a kept file is missing or changed, 8 the trace cannot be used."});
  command.add_json().add_quiet();
  command.add("profile", "how to store the events: raw, fast, default or small (slow)", "PROFILE",
              "default");
  const Arguments arguments = command.parse(argc, argv, console);
  PackOptions options;
  try {
    options.profile = parse_profile(arguments.get("profile"));
  } catch (const Error& error) {
    throw UsageError(error.message() + "; " + error.hint());
  }
  std::vector<std::string> names = arguments.positional();
  if (names.empty()) {
    names.emplace_back();
  }
  Json traces = Json::array();
  for (const std::string& name : names) {
    const std::string directory = find_trace(name);
    Progress progress(console, "Packing " + printable(directory));
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      progress.update(done, total);
    };
    const PackReport report = pack_trace(directory, options);
    progress.clear();
    if (console.json) {
      traces.push_back(Json{{"trace", json_bytes_as_text(directory)},
                            {"copiedFiles", report.copied_files},
                            {"copiedBytes", report.copied_bytes},
                            {"removedFiles", report.removed_files},
                            {"streamBytesBefore", report.stream_before},
                            {"streamBytes", report.stream_after}});
    } else if (!console.quiet) {
      console.print("%s: %s copied (%s), events %s (before: %s)\n", printable(directory).c_str(),
                    human_count(report.copied_files, "file", "files").c_str(),
                    human_size(report.copied_bytes).c_str(),
                    human_size(report.stream_after).c_str(),
                    human_size(report.stream_before).c_str());
    }
  }
  if (console.json) {
    console.write_json(Json{{"traces", std::move(traces)}});
  }
  return kExitOk;
}

} // namespace rrpcp::tools
