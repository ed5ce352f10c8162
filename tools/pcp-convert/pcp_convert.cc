// pcp-convert: from checkpoints to what others read, and back.

#include "common/command.h"
#include "common/console.h"
#include "common/tool_main.h"
#include "pcp-convert/convert.h"

#include <string>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(--to core writes an ELF core file for gdb, lldb and others; of a checkpoint with several processes
one for each, with a dot and the pid behind the name. --from core reads such a file, whoever wrote it,
into a checkpoint that can be looked at and not restored.

--to rr-2025 makes each FILE a directory checkpoint-EVENT in TRACE, which must be the trace that the
checkpoint belongs to. It is read back and compared before it appears, so it is whole or not there at
all. What the other form has no place for is named; what a replay would miss is refused.

Exit codes:
  0  all were converted
  1  some were not (rr-2025)
  2  wrong usage, or a failure

Examples:
  pcp-convert --to core x.pcp -o core && gdb PROGRAM core
  pcp-convert --from core core.4711 -o x.pcp && pcp-inspect bt x.pcp
  pcp-convert --to rr-2025 ~/traces/ls-0/pcp/*.pcp ~/traces/ls-0)";

int convert_main(int argc, char** argv, Console& console) {
  Command command({"pcp-convert",
                   "--to core [OPTION]... FILE -o CORE\n"
                   "  pcp-convert --from core [OPTION]... CORE -o FILE\n"
                   "  pcp-convert --to rr-2025 [OPTION]... FILE... TRACE",
                   "Writes checkpoints in a form that other programs read, or reads such a form.",
                   kDetails});
  command.add("to", "form to write: core or rr-2025", "FORM");
  command.add("from", "form to read: core", "FORM");
  command.add("o,output", "file to write", "FILE");
  command.add("file-pages",
              "with --to core: which pages of mapped files that were not written to go into it: "
              "none, headers (those that name the file) or all",
              "WHICH", "headers");
  command.add("process", "with --to core: only this process", "PID");
  command.add("trace", "with --to core: directory of the trace, for files that lie in it", "DIR");
  command.add("ignore-files", "with --from core: do not look for the files that the core names");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  const std::string to = arguments.get_or("to", "");
  const std::string from = arguments.get_or("from", "");
  if (!to.empty() && !from.empty()) {
    throw UsageError("--to and --from exclude each other");
  }
  if (to == "core") {
    return convert_to_core(arguments, console);
  }
  if (to == "rr-2025") {
    return convert_to_rr2025(arguments, console);
  }
  if (from == "core") {
    return convert_from_core(arguments, console);
  }
  if (to.empty() && from.empty()) {
    throw UsageError("say what to do: --to core, --to rr-2025 or --from core");
  }
  throw UsageError(to.empty() ? "'" + from + "' cannot be read; known is core"
                              : "'" + to + "' cannot be written; known are core and rr-2025");
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-convert", argc, argv, rrpcp::tools::convert_main);
}
