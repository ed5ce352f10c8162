#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "pcp-convert/convert.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"

#include <string>
#include <vector>

namespace rrpcp::tools {

int convert_to_rr2025(const Arguments& arguments, Console& console) {
  arguments.expect(2, SIZE_MAX, "FILE and TRACE");
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

} // namespace rrpcp::tools
