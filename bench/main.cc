// The benchmarks of the cost targets: bench/README.md.

#include "bench.h"
#include "common/command.h"
#include "common/exit_code.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace rrpcp::bench {

bool Bench::wants(const std::string& part) const {
  return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end();
}

namespace {

using namespace rrpcp::tools;

constexpr const char* kDetails =
    R"(Every row is measured beside what the same machine can do at all, in the same run and in turn;
medians are shown. The ratio is the baseline's time by the measured one: 100 % is as fast.

Exit codes:
  0  measured, whatever the figures are
  1  measured, and --check was given, and a target was missed
  2  wrong usage, or a failure)";

const std::vector<std::string> kParts = {"save", "series", "restore", "validate",
                                         "open", "memory", "list"};

// Removed with everything in it.
class Directory {
public:
  explicit Directory(const std::string& parent) {
    path_ = parent + "/rrpcp-bench-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) {
      throw system_error(errno, "cannot make a directory").in_file(parent);
    }
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

int run(int argc, char** argv, Console& console) {
  Command command({"rrpcp_bench", "[OPTION]...",
                   "Measures saving, restoring, validating, opening and listing checkpoints.",
                   kDetails});
  command.add("size", "size of the process, as 64M; several with commas", "BYTES", "64M,1G");
  command.add("all", "64 MiB, 1 GiB and 4 GiB");
  command.add("only", "save, series, restore, validate, open, memory or list; several with commas",
              "PART");
  command.add("rounds", "timed runs of each", "N", "5");
  command.add("checkpoints", "files in the directory that is listed", "N", "10000");
  command.add("criu", "CRIU's program, whose dump is measured beside a full save", "PROGRAM", "");
  command.add("dir", "where the files go", "DIR", std::filesystem::temp_directory_path().string());
  command.add("check", "exit with 1 where a target was missed");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 0, "arguments");

  Bench bench;
  bench.rounds = static_cast<unsigned>(parse_number(arguments.get("rounds"), "--rounds", 1000));
  if (bench.rounds == 0) {
    throw UsageError("--rounds: at least 1");
  }
  bench.criu = arguments.get_or("criu", "");
  bench.parts = split_list(arguments.get_or("only", ""));
  for (const std::string& part : bench.parts) {
    if (std::find(kParts.begin(), kParts.end(), part) == kParts.end()) {
      throw UsageError("--only: there is no part '" + printable(part) + "'");
    }
  }
  bench.note = [&](const std::string& text) { console.note(text); };
  const Directory directory(arguments.get("dir"));
  bench.directory = directory.path();

  const std::string sizes = arguments.has("all") ? "64M,1G,4G" : arguments.get("size");
  const bool only_list = bench.parts == std::vector<std::string>{"list"};
  for (const std::string& text : only_list ? std::vector<std::string>{} : split_list(sizes)) {
    const std::uint64_t bytes = parse_size(text, "--size");
    series_rows(bench, bytes);
    if (bench.parts == std::vector<std::string>{"series"}) {
      continue;
    }
    SavedFiles files;
    save_rows(bench, bytes, files);
    validate_rows(bench, files);
    open_rows(bench, files);
    restore_rows(bench, files);
    memory_rows(bench, files);
    std::filesystem::remove(files.raw);
    std::filesystem::remove(files.compressed);
  }
  list_rows(bench, static_cast<unsigned>(
                       parse_number(arguments.get("checkpoints"), "--checkpoints", 1'000'000)));

  if (console.json) {
    bench.report.write_json(console, bench.rounds);
  } else {
    bench.report.print(console);
  }
  const std::vector<Row>& rows = bench.report.rows();
  const bool all_met =
      std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.met(); });
  return arguments.has("check") && !all_met ? 1 : 0;
}

} // namespace
} // namespace rrpcp::bench

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "probe") == 0) {
    try {
      return rrpcp::bench::memory_probe(std::vector<std::string>(argv + 2, argv + argc));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rrpcp_bench: %s\n", error.what());
      return 2;
    }
  }
  return rrpcp::tools::run_tool("rrpcp_bench", argc, argv, rrpcp::bench::run);
}
