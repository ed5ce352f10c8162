// pcp-rr: records programs, replays them, and shows what was recorded.

#include "common/subcommand.h"
#include "common/text.h"
#include "pcp-rr/pcp_rr.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr Subcommand kSubcommands[] = {
#ifdef RRPCP_LIVE
    {"record", rr_record, "[--] PROGRAM...", "run a program and record it"},
    {"replay", rr_replay, "[TRACE]", "run a recorded program again, in a debugger"},
    {"gdbinit", rr_gdbinit, "", "the commands that gdb needs for it"},
    {"create-checkpoints", rr_create_checkpoints, "[TRACE]",
     "make checkpoints on the way of a replay"},
    {"rerun", rr_rerun, "[TRACE]", "print the registers at events or instructions"},
#endif
    {"dump", rr_dump, "[TRACE] [EVENTS...]", "the events of a trace, as text or JSON"},
    {"ps", rr_ps, "[TRACE]", "the processes of a trace"},
    {"ls", rr_ls, "[DIR]", "the traces, with -l their sizes and commands"},
    {"traceinfo", rr_traceinfo, "[TRACE]", "what a trace says about itself, as JSON"},
    {"segments", rr_segments, "[TRACE]", "the pieces into which checkpoints cut a recording"},
    {"doctor", rr_doctor, "", "what this machine can do, and what is used instead"},
    {"pack", rr_pack, "[TRACE...]", "make traces independent of other files, and smaller"},
};

// The rr that front ends may take this command for, when it is called by that name.
constexpr std::string_view kLikeRr = "5.9.0";

int run(int argc, char** argv, Console& console) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (const Subcommand* subcommand = find_subcommand(kSubcommands, first)) {
    return subcommand->run(argc - 1, argv + 1, console);
  }
  Command command(
      {"pcp-rr", "SUBCOMMAND [ARGUMENT]...",
       "Records a run of a program, and replays it exactly, from checkpoints too.",
       subcommand_table(kSubcommands) +
           "\nTRACE is a directory, or the name of one in $_PCP_RR_TRACE_DIR (else\n"
           "$XDG_DATA_HOME/pcp-rr, else ~/.local/share/pcp-rr); without it, the latest one.\n\n"
           "Exit codes: pcp-rr(1) lists those of each subcommand."});
  if (first == "--version" && called_as_rr()) {
    // Front ends ask which rr it is, whose command line and packets these are.
    console.write("rr version " + std::string(kLikeRr) + "\n");
    return kExitOk;
  }
  if (first.starts_with("-")) {
    command.parse(argc, argv, console); // --help, --version, or a complaint
    throw UsageError("options follow the subcommand");
  }
  if (first.empty()) {
    throw UsageError("which subcommand? 'pcp-rr --help' lists them");
  }
  const std::string meant = closest_subcommand(kSubcommands, std::string(first));
  throw UsageError("there is no subcommand '" + printable(first) + "'" +
                   (meant.empty() ? std::string() : "; did you mean '" + meant + "'?"));
}

} // namespace

bool called_as_rr() {
  return std::string_view(::program_invocation_short_name) == "rr";
}

} // namespace rrpcp::tools

int main(int argc, char** argv) {
#ifdef RRPCP_LIVE
  rrpcp::tools::note_inherited_signals();
#endif
  return rrpcp::tools::run_tool("pcp-rr", argc, argv, rrpcp::tools::run, {.fine_exit_codes = true});
}
