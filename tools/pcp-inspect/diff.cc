// `pcp-inspect diff`: what differs between two checkpoints, in words.

#include "common/text.h"
#include "diff/diff_report.h"
#include "diff/state_diff.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"

namespace rrpcp::tools {
namespace {

DiffOptions options_from(const Arguments& arguments) {
  DiffOptions options;
  options.files.trace_directory = arguments.get_or("trace", "");
  options.max_ranges = arguments.has("all") ? UINT64_MAX : 8;
  options.provenance = arguments.has("provenance");
  options.names = !arguments.has("no-names");
  return options;
}

} // namespace

int inspect_diff(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect diff", "[OPTION]... A B",
       "Says what differs between the states of two checkpoints: tasks and their registers, "
       "mappings, memory byte by byte, descriptors, signals, the replayer's session.",
       "How the files store it (codecs, chunks, sharing of pages, who wrote them) is no "
       "difference.\n\n"
       "Exit codes: 0 equal, 1 different, 2 a file or a backing file could not be read or wrong "
       "usage."});
  command.add_json().add_quiet();
  command.add("a,all", "show every range of memory that differs, not only the first of a mapping");
  command.add("no-names", "do not name the functions and variables that differ");
  command.add("provenance", "compare who wrote the files, when and how, too");
  command.add("trace", "directory of the trace, for files that lie in it", "DIR");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(2, 2, "two FILEs are needed");
  const CheckpointReader a = open_checkpoint(arguments.positional()[0]);
  const CheckpointReader b = open_checkpoint(arguments.positional()[1]);
  DiffReport report(console);
  try {
    compare_checkpoints(report, a, b, options_from(arguments), console);
  } catch (const kj::Exception& exception) {
    throw error_from(exception);
  }
  const bool equal = report.count() == 0;
  const bool unknown = equal && report.incomplete();
  if (console.json) {
    console.write_json({{"a", json_bytes_as_text(a.name())},
                        {"b", json_bytes_as_text(b.name())},
                        {"equal", unknown ? Json() : Json(equal)},
                        {"differences", report.take()}});
  } else if (equal && !unknown && !console.quiet) {
    console.write("equal: the same state and memory\n");
  }
  return unknown ? kExitTrouble : equal ? kExitOk : kExitNo;
}

} // namespace rrpcp::tools
