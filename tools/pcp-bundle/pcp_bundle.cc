// pcp-bundle: checkpoints with all that they need, in one archive.

#include "common/progress.h"
#include "common/subcommand.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/interop/bundle.h"

#include <array>
#include <cstring>

namespace rrpcp::tools {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done, 1 'check' found a checkpoint that is not valid, 2 wrong usage or another "
    "failure,\n3 not found, 4 no permission, 5 no space left, 7 a file is missing or another one "
    "than it was,\n8 the bundle cannot be used, 9 something is in the way.";

void add_limit(Command& command) {
  command.add("max-size",
              "refuse a bundle that would become larger (default: 16G and 256 times "
              "the size of the archive)",
              "SIZE");
}

BundleLimits limits_from(const Arguments& arguments) {
  BundleLimits limits;
  if (arguments.has("max-size")) {
    limits.max_bytes =
        std::max<std::uint64_t>(parse_size(arguments.get("max-size"), "--max-size"), 1);
  }
  return limits;
}

Json texts(const std::vector<std::string>& all) {
  Json out = Json::array();
  for (const std::string& text : all) {
    out.push_back(json_bytes_as_text(text));
  }
  return out;
}

Json report_json(const std::string& file, const BundleReport& report) {
  Json entries = Json::array();
  for (const BundleEntry& entry : report.entries) {
    entries.push_back(Json{{"kind", bundle_kind_name(entry.kind)},
                           {"name", entry.name},
                           {"path", json_bytes_as_text(entry.path())},
                           {"size", entry.size},
                           {"sha256", hex(entry.sha256)}});
  }
  return Json{{"file", json_bytes_as_text(file)},
              {"archiveBytes", report.archive_bytes},
              {"bytes", report.bytes},
              {"entries", std::move(entries)},
              {"invalid", texts(report.invalid)},
              {"remarks", texts(report.remarks)}};
}

void show_report(Console& console, const std::string& file, const BundleReport& report) {
  std::array<std::size_t, 5> counts{};
  for (const BundleEntry& entry : report.entries) {
    ++counts[static_cast<std::size_t>(entry.kind)];
  }
  if (!console.quiet) {
    console.print("%s: %s, %s, %s, %s of the trace, %s; %s in %s\n", printable(file).c_str(),
                  human_count(counts[0], "checkpoint", "checkpoints").c_str(),
                  human_count(counts[1], "file", "files").c_str(),
                  human_count(counts[2], "directory", "directories").c_str(),
                  human_count(counts[3], "file", "files").c_str(),
                  human_count(counts[4], "debug file", "debug files").c_str(),
                  human_size(report.bytes).c_str(), human_size(report.archive_bytes).c_str());
  }
}

int run_create(int argc, char** argv, Console& console) {
  Command command({"pcp-bundle create", "[OPTION]... CHECKPOINT... -o BUNDLE",
                   "Puts checkpoints and the files that they need into one archive.", kExitCodes});
  command.add("o,output", "the archive to write", "BUNDLE");
  command.add("trace", "directory of the trace that the checkpoints belong to: goes in too", "DIR");
  command.add("debug", "put in debug files that are found by build id");
  command.add("allow-missing", "leave out files that are missing or changed, and say so");
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "CHECKPOINT");
  if (!arguments.has("output")) {
    throw UsageError("missing option: -o BUNDLE");
  }
  const std::string& output = arguments.get("output");
  BundleCreateOptions options;
  options.trace_directory = arguments.get_or("trace", "");
  options.debug_files = arguments.has("debug");
  options.allow_missing = arguments.has("allow-missing");
  Progress progress(console, output);
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  const BundleReport report = create_bundle(arguments.positional(), output, options);
  progress.clear();
  if (console.json) {
    console.write_json(report_json(output, report));
    return kExitOk;
  }
  for (const std::string& remark : report.remarks) {
    console.warn(printable(remark));
  }
  show_report(console, output, report);
  return kExitOk;
}

int run_check(int argc, char** argv, Console& console) {
  Command command({"pcp-bundle check", "[OPTION]... BUNDLE",
                   "Reads the whole bundle, compares every digest and validates the checkpoints. "
                   "Writes nothing.",
                   kExitCodes});
  add_limit(command);
  command.add("list", "list the entries");
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "BUNDLE");
  const std::string& file = arguments.positional()[0];
  const BundleReport report = check_bundle(file, limits_from(arguments));
  if (console.json) {
    console.write_json(report_json(file, report));
  } else {
    for (std::size_t i = 0; arguments.has("list") && i < report.entries.size(); ++i) {
      const BundleEntry& entry = report.entries[i];
      console.print("%-10s %12llu  %s\n", std::string(bundle_kind_name(entry.kind)).c_str(),
                    static_cast<unsigned long long>(entry.size), printable(entry.path()).c_str());
    }
    for (const std::string& remark : report.remarks) {
      console.note(printable(remark));
    }
    for (const std::string& invalid : report.invalid) {
      console.warn("not valid: " + printable(invalid));
    }
    show_report(console, file, report);
  }
  return report.invalid.empty() ? kExitOk : kExitNo;
}

int run_extract(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-bundle extract", "[OPTION]... BUNDLE DIR",
       "Checks the bundle and unpacks it: checkpoints to DIR/checkpoints, traces to "
       "DIR/traces, files to DIR/root, or with --root to where they were.",
       "What is there already is kept where it is the same, and never overwritten.\n\n" +
           std::string(kExitCodes)});
  command.add("root", "put files where they were, below ROOT: / or the root of a container",
              "ROOT");
  add_limit(command);
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(2, 2, "BUNDLE and DIR");
  BundleExtractOptions options;
  options.limits = limits_from(arguments);
  options.root = arguments.get_or("root", "");
  const BundleExtractResult result =
      extract_bundle(arguments.positional()[0], arguments.positional()[1], options);
  if (console.json) {
    console.write_json(Json{{"bundle", json_bytes_as_text(arguments.positional()[0])},
                            {"checkpoints", texts(result.checkpoints)},
                            {"written", result.written},
                            {"kept", result.kept},
                            {"remarks", texts(result.remarks)}});
    return kExitOk;
  }
  for (const std::string& remark : result.remarks) {
    console.warn(printable(remark));
  }
  if (!console.quiet) {
    console.print("%s written, %llu were there already\n",
                  human_count(result.written, "file", "files").c_str(),
                  static_cast<unsigned long long>(result.kept));
    for (const std::string& checkpoint : result.checkpoints) {
      console.print("  %s\n", printable(checkpoint).c_str());
    }
  }
  return kExitOk;
}

constexpr Subcommand kSubcommands[] = {
    {"create", run_create, "CHECKPOINT... -o BUNDLE", "put checkpoints and their files into one"},
    {"check", run_check, "BUNDLE", "read all of it and compare every digest"},
    {"extract", run_extract, "BUNDLE DIR", "check it, then unpack it"},
};

int run(int argc, char** argv, Console& console) {
  const Subcommand* subcommand = argc > 1 ? find_subcommand(kSubcommands, argv[1]) : nullptr;
  if (subcommand != nullptr) {
    return subcommand->run(argc - 1, argv + 1, console);
  }
  Command command({"pcp-bundle", "SUBCOMMAND [OPTION]... ARGUMENT...",
                   "Puts checkpoints with everything that they need into one archive, and back.",
                   subcommand_table(kSubcommands) + "\n" + kExitCodes});
  if (argc > 1) {
    command.parse(argc, argv, console);
    const std::string meant = closest_subcommand(kSubcommands, argv[1]);
    throw UsageError("'" + printable(argv[1]) + "' is no subcommand" +
                     (meant.empty() ? "" : "; did you mean '" + meant + "'?"));
  }
  throw UsageError("what should be done? Give a subcommand: create, check or extract");
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-bundle", argc, argv, rrpcp::tools::run,
                                {.fine_exit_codes = true});
}
