// pcp-rr: records programs, replays them, and shows what was recorded.

#include "pcp-rr/pcp_rr.h"

#include <string_view>

namespace rrpcp::tools {
namespace {

int run(int argc, char** argv, Console& console) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "record") {
    return rr_record(argc - 1, argv + 1, console);
  }
  if (first == "replay") {
    return rr_replay(argc - 1, argv + 1, console);
  }
  if (first == "create-checkpoints") {
    return rr_create_checkpoints(argc - 1, argv + 1, console);
  }
  if (first == "rerun") {
    return rr_rerun(argc - 1, argv + 1, console);
  }
  throw UsageError("which subcommand? record or replay");
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-rr", argc, argv, rrpcp::tools::run, {.fine_exit_codes = true});
}
