// pcp-inspect: shows what is in a checkpoint.

#include "common/subcommand.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"

#include <filesystem>
#include <string_view>

namespace rrpcp::tools {
namespace {

constexpr Subcommand kSubcommands[] = {
    {"info", inspect_info, "FILE...", "where it was taken, of what, and what it costs"},
    {"maps", inspect_maps, "FILE...", "mappings, as /proc/PID/maps, and where their bytes are"},
    {"tasks", inspect_tasks, "FILE...", "processes and threads with their signals"},
    {"bt", inspect_bt, "FILE...", "the chain of calls of every thread"},
    {"regs", inspect_regs, "FILE...", "register sets"},
    {"mem", inspect_mem, "ADDR LEN FILE", "memory, as hexdump -C or raw"},
    {"files", inspect_files, "FILE...", "descriptors, open files, locks, monitors"},
    {"chunks", inspect_chunks, "FILE...", "how the page data is stored"},
    {"list", inspect_list, "DIR", "the checkpoints of a directory, by position"},
    {"trace", inspect_trace, "DIR", "an rr trace: identity, events, tasks"},
    {"diff", inspect_diff, "A B", "what differs, in words"},
    {"report", inspect_report, "FILE... -o HTML", "all of that as one page to look at"},
};

// The argument that may name a subcommand: the first one that is no option shared by all.
int subcommand_place(int argc, char** argv) {
  int place = 1;
  while (place < argc) {
    const std::string_view argument = argv[place];
    if (argument != "--json" && argument != "-q" && argument != "--quiet") {
      break;
    }
    ++place;
  }
  return place;
}

// Without a subcommand: "FILE..." is short for "info FILE...", with --json for the whole document.
int run_without_subcommand(int argc, char** argv, Console& console) {
  bool whole = false;
  bool help = argc == 1;
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view argument = argv[i];
    whole = whole || argument == "--json";
    help = help || argument == "--help" || argument == "-h" || argument == "--version";
  }
  if (help) {
    Command command(
        {"pcp-inspect", "SUBCOMMAND [OPTION]... FILE...\n  pcp-inspect [OPTION]... FILE",
         "Shows what is in checkpoint files.",
         subcommand_table(kSubcommands) +
             "\nWithout a subcommand: as 'info'; with --json the whole checkpoint as one "
             "document.\n\n" +
             "Exit codes: 0 done, 1 'diff' found differences or 'mem' could not read "
             "all, 2 a file could\nnot be read or wrong usage."});
    command.add("json", "write one JSON document").add_quiet();
    command.add("contents", "with --json FILE: add digests of the page data");
    command.add("max-decoded", "with --contents: how much may be decoded", "SIZE");
    if (argc == 1) {
      throw UsageError("what should be shown? Give a subcommand and a FILE");
    }
    command.parse(argc, argv, console);
    return kExitOk;
  }
  const std::string first =
      argv[subcommand_place(argc, argv) < argc ? subcommand_place(argc, argv) : 0];
  const std::string meant = closest_subcommand(kSubcommands, first);
  if (!meant.empty() && !std::filesystem::exists(first)) {
    throw UsageError("'" + printable(first) +
                     "' is neither a subcommand nor a file; did you mean '" + meant + "'?");
  }
  return whole ? inspect_document(argc, argv, console) : inspect_info(argc, argv, console);
}

int run(int argc, char** argv, Console& console) {
  const int place = subcommand_place(argc, argv);
  const Subcommand* subcommand =
      place < argc ? find_subcommand(kSubcommands, argv[place]) : nullptr;
  if (subcommand == nullptr) {
    return run_without_subcommand(argc, argv, console);
  }
  // The shared options before the name become options of the subcommand.
  std::vector<char*> arguments(argv, argv + argc);
  arguments.erase(arguments.begin() + place);
  arguments[0] = argv[place];
  return subcommand->run(argc - 1, arguments.data(), console);
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-inspect", argc, argv, rrpcp::tools::run);
}
