// pcp-convert: writes checkpoints in the form that rr's own persistent-checkpoint work reads.

#include "common/command.h"
#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"

#include <string>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(Each FILE becomes a directory checkpoint-EVENT in TRACE, which must be the trace that the checkpoint
belongs to. It is read back and compared before it appears, so it is whole or not there at all. What
the other form has no place for is named; what a replay would miss is refused.

Exit codes:
  0  all were converted
  1  some were not
  2  wrong usage

Example:
  pcp-convert --to rr-2025 ~/traces/ls-0/pcp/*.pcp ~/traces/ls-0)";

int convert_main(int argc, char** argv, Console& console) {
  Command command({"pcp-convert", "--to rr-2025 [OPTION]... FILE... TRACE",
                   "Writes checkpoints as directories that rr's persistent-checkpoint work reads.",
                   kDetails});
  command.add("to", "form to write: rr-2025", "FORM");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(2, SIZE_MAX, "FILE and TRACE");
  const std::string form = arguments.get_or("to", "");
  if (form != "rr-2025") {
    throw UsageError(form.empty() ? "say what to write: --to rr-2025"
                                  : "'" + form + "' cannot be written; known is rr-2025");
  }
  std::vector<std::string> files = arguments.positional();
  const std::string trace = files.back();
  files.pop_back();

  Json results = Json::array();
  bool failed = false;
  for (const std::string& file : files) {
    try {
      const CheckpointReader reader = CheckpointReader::open(file);
      Progress progress(console, file);
      ExportOptions options;
      options.progress = [&](std::uint64_t done, std::uint64_t total) {
        progress.update(done, total);
      };
      const ExportResult result = export_rr2025(reader, trace, options);
      progress.clear();
      if (console.json) {
        Json losses = Json::array();
        for (const std::string& loss : result.losses) {
          losses.push_back(loss);
        }
        results.push_back(Json{{"file", json_bytes_as_text(file)},
                               {"directory", json_bytes_as_text(result.directory)},
                               {"bytesBefore", reader.file_size()},
                               {"bytesAfter", result.bytes},
                               {"pageFiles", result.page_files},
                               {"losses", std::move(losses)}});
        continue;
      }
      for (const std::string& loss : result.losses) {
        console.note(printable(file) + ": " + loss);
      }
      if (!console.quiet) {
        console.print("%s: %s, %s to %s\n", printable(file).c_str(),
                      printable(result.directory).c_str(), human_size(reader.file_size()).c_str(),
                      human_size(result.bytes).c_str());
      }
    } catch (const Error& error) {
      failed = true;
      if (console.json) {
        results.push_back(
            Json{{"file", json_bytes_as_text(file)}, {"error", json_error(error)["error"]}});
      } else {
        report_error(console, error.file().empty() ? error.in_file(file) : error);
      }
    }
  }
  if (console.json) {
    console.write_json(Json{{"checkpoints", std::move(results)}});
  }
  return failed ? kExitNo : kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-convert", argc, argv, rrpcp::tools::convert_main);
}
