// pcp-rr: records programs, replays them, and shows what was recorded.

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"

#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::tools {
namespace {

struct Subcommand {
  const char* name;
  int (*run)(int, char**, Console&);
  const char* synopsis;
  const char* summary;
};

constexpr Subcommand kSubcommands[] = {
    {"record", rr_record, "[--] PROGRAM...", "run a program and record it"},
    {"replay", rr_replay, "[TRACE]", "run a recorded program again"},
    {"create-checkpoints", rr_create_checkpoints, "[TRACE]",
     "make checkpoints on the way of a replay"},
    {"rerun", rr_rerun, "[TRACE]", "print the registers at events or instructions"},
    {"dump", rr_dump, "[TRACE] [EVENTS...]", "the events of a trace, as text or JSON"},
    {"ps", rr_ps, "[TRACE]", "the processes of a trace"},
    {"ls", rr_ls, "", "the traces, with -l their sizes and commands"},
    {"traceinfo", rr_traceinfo, "[TRACE]", "what a trace says about itself, as JSON"},
    {"pack", rr_pack, "[TRACE...]", "make traces independent of other files, and smaller"},
};

std::string subcommand_table() {
  std::string text = "Subcommands (each has its own --help):\n";
  for (const Subcommand& subcommand : kSubcommands) {
    text +=
        format_text("  %-18s %-20s %s\n", subcommand.name, subcommand.synopsis, subcommand.summary);
  }
  return text;
}

std::vector<std::string> subcommand_names() {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : kSubcommands) {
    names.emplace_back(subcommand.name);
  }
  return names;
}

int run(int argc, char** argv, Console& console) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  for (const Subcommand& subcommand : kSubcommands) {
    if (first == subcommand.name) {
      return subcommand.run(argc - 1, argv + 1, console);
    }
  }
  Command command(
      {"pcp-rr", "SUBCOMMAND [ARGUMENT]...",
       "Records a run of a program, and replays it exactly, from checkpoints too.",
       subcommand_table() +
           "\nTRACE is a directory, or the name of one in $_PCP_RR_TRACE_DIR (else\n"
           "$XDG_DATA_HOME/pcp-rr, else ~/.local/share/pcp-rr); without it, the latest one.\n\n"
           "Exit codes: pcp-rr(1) lists those of each subcommand."});
  if (first.starts_with("-")) {
    command.parse(argc, argv, console); // --help, --version, or a complaint
    throw UsageError("options follow the subcommand");
  }
  if (first.empty()) {
    throw UsageError("which subcommand? 'pcp-rr --help' lists them");
  }
  const std::string meant = closest(std::string(first), subcommand_names());
  throw UsageError("there is no subcommand '" + printable(first) + "'" +
                   (meant.empty() ? std::string() : "; did you mean '" + meant + "'?"));
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-rr", argc, argv, rrpcp::tools::run, {.fine_exit_codes = true});
}
