// Core files: `--to core` and `--from core`.

#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "pcp-convert/convert.h"
#include "rrpcp/error.h"
#include "rrpcp/interop/core_file.h"
#include "rrpcp/store.h"

#include <climits>

namespace rrpcp::tools {

namespace {

std::string output_of(const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw UsageError("missing option: -o FILE");
  }
  return arguments.get("output");
}

CorePages parse_file_pages(const std::string& text) {
  if (text == "none") {
    return CorePages::kNone;
  }
  if (text == "headers") {
    return CorePages::kHeaders;
  }
  if (text == "all") {
    return CorePages::kAll;
  }
  throw UsageError("--file-pages is none, headers or all, not '" + text + "'");
}

Json texts(const std::vector<std::string>& all) {
  Json out = Json::array();
  for (const std::string& text : all) {
    out.push_back(json_bytes_as_text(text));
  }
  return out;
}

} // namespace

int convert_to_core(const Arguments& arguments, Console& console) {
  arguments.expect(1, 1, "FILE");
  const std::string output = output_of(arguments);
  CoreOptions options;
  options.file_pages = parse_file_pages(arguments.get("file-pages"));
  options.files.trace_directory = arguments.get_or("trace", "");
  if (arguments.has("process")) {
    options.process = static_cast<std::int32_t>(
        parse_number(arguments.get("process"), "the process id", INT32_MAX));
  }
  const CheckpointReader checkpoint = CheckpointReader::open(arguments.positional()[0]);
  Progress progress(console, arguments.positional()[0]);
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  const std::vector<CoreResult> results = write_cores(checkpoint, output, options);
  progress.clear();
  if (console.json) {
    Json cores = Json::array();
    for (const CoreResult& core : results) {
      cores.push_back(Json{{"file", json_bytes_as_text(core.path)},
                           {"pid", core.pid},
                           {"bytes", core.bytes},
                           {"storedBytes", core.stored_bytes},
                           {"segments", core.segments},
                           {"threads", core.threads},
                           {"remarks", texts(core.remarks)}});
    }
    console.write_json(
        Json{{"checkpoint", json_bytes_as_text(checkpoint.name())}, {"cores", std::move(cores)}});
    return kExitOk;
  }
  for (const CoreResult& core : results) {
    for (const std::string& remark : core.remarks) {
      console.warn(printable(core.path) + ": " + printable(remark));
    }
    if (!console.quiet) {
      console.print("%s: process %d, %s, %s, %s, of which %s are stored\n",
                    printable(core.path).c_str(), static_cast<int>(core.pid),
                    human_count(core.threads, "thread", "threads").c_str(),
                    human_count(core.segments, "segment", "segments").c_str(),
                    human_size(core.bytes).c_str(), human_size(core.stored_bytes).c_str());
    }
  }
  return kExitOk;
}

int convert_from_core(const Arguments& arguments, Console& console) {
  arguments.expect(1, 1, "CORE");
  const std::string output = output_of(arguments);
  const std::string& core = arguments.positional()[0];
  CoreImportOptions options;
  options.look_for_files = !arguments.has("ignore-files");
  CoreImportResult result;
  write_file_atomically(output, true,
                        [&](Output& file) { result = import_core(core, file, options); });
  if (console.json) {
    console.write_json(Json{{"core", json_bytes_as_text(core)},
                            {"file", json_bytes_as_text(output)},
                            {"id", result.id.to_string()},
                            {"pid", result.pid},
                            {"threads", result.threads},
                            {"mappings", result.mappings},
                            {"pages", result.pages},
                            {"unknownPages", result.unknown_pages},
                            {"remarks", texts(result.remarks)}});
    return kExitOk;
  }
  for (const std::string& remark : result.remarks) {
    console.warn(printable(core) + ": " + printable(remark));
  }
  if (!console.quiet) {
    console.print("%s: process %d, %s, %s; %s are not in the core\n", printable(output).c_str(),
                  static_cast<int>(result.pid),
                  human_count(result.threads, "thread", "threads").c_str(),
                  human_count(result.mappings, "mapping", "mappings").c_str(),
                  human_count(result.unknown_pages, "page", "pages").c_str());
    console.print("  for looking at: it cannot be restored\n  id %s\n",
                  result.id.to_string().c_str());
  }
  return kExitOk;
}

} // namespace rrpcp::tools
