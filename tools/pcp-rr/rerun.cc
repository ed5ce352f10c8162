// pcp-rr rerun: prints registers at every event, and instruction, of a part of a recording.

#include "rrpcp/replay/rerun.h"

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/trace/trace_directory.h"

#include <cstdint>
#include <cstdio>
#include <string>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(REGS is a comma-separated list of event, icount (instructions since the event before), tid,
ticks, ip, flags, orig_rax, fsbase, gsbase, general and segment registers by name, gp_x16, xmm_x16,
ymm_x16, xinuse, fip, fop, mxcsr. gp_x16 is in the processor's order: rax, rcx, rdx, rbx, rsp, rbp,
rsi, rdi, r8 to r15. A repeated string instruction counts as one.

Without -r and --singlestep: -r event,tid,ticks,ip,gp_x16. The output is the same whichever
checkpoints the trace has.

Exit codes: 0 done, others as pcp-rr(1) lists them.)";

} // namespace

int rr_rerun(int argc, char** argv, Console& console) {
  Command command({"pcp-rr rerun", "[OPTION]... [TRACE]",
                   "Prints registers along a part of a recording.", kDetails});
  command.add("s,trace-start", "begin at event EVT", "EVT");
  command.add("e,trace-end", "end before event EVT", "EVT");
  command.add("r,event-regs", "print REGS after each event", "REGS");
  command.add("singlestep", "print REGS after each instruction", "REGS");
  command.add("raw", "print bytes, little-endian, instead of text");
  command.add("ignore-pcp", "use no checkpoint: replay from the start of the trace");
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  RerunOptions options;
  if (arguments.has("trace-start")) {
    options.start =
        static_cast<std::int64_t>(parse_number(arguments.get("trace-start"), "an event"));
  }
  if (arguments.has("trace-end")) {
    options.end = static_cast<std::int64_t>(parse_number(arguments.get("trace-end"), "an event"));
  }
  if (arguments.has("event-regs") || !arguments.has("singlestep")) {
    options.event_fields =
        parse_register_fields(arguments.get_or("event-regs", "event,tid,ticks,ip,gp_x16"));
  }
  if (arguments.has("singlestep")) {
    options.step_fields = parse_register_fields(arguments.get("singlestep"));
  }
  options.raw = arguments.has("raw");
  options.ignore_checkpoints = arguments.has("ignore-pcp");
  options.warn = [&](const std::string& text) { console.warn(text); };
  rerun(find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]), options,
        [&](std::string_view line) { console.write(line); });
  return kExitOk;
}

} // namespace rrpcp::tools
