// pcp-rr rerun: prints registers at every event, and instruction, of a part of a recording.

#include "rrpcp/replay/rerun.h"

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_segments.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kRerunDetails =
    R"(REGS is a comma-separated list of event, icount (instructions since the event before), tid,
ticks, ip, flags, orig_rax, fsbase, gsbase, general and segment registers by name, gp_x16, xmm_x16,
ymm_x16, xinuse, fip, fop, mxcsr. gp_x16 is in the processor's order: rax, rcx, rdx, rbx, rsp, rbp,
rsi, rdi, r8 to r15. A repeated string instruction counts as one.

Without -r and --singlestep: -r event,tid,ticks,ip,gp_x16. The output is the same whichever
checkpoints the trace has.

--segment I/N is the I-th of N parts of the recording, cut at its checkpoints ('pcp-rr segments'
lists them): N commands, each of which starts from a checkpoint, print side by side what one prints,
if the trace gets and loses no checkpoints meanwhile. With more parts than segments some print
nothing.

Exit codes: 0 done, others as pcp-rr(1) lists them.)";

} // namespace

int rr_rerun(int argc, char** argv, Console& console) {
  Command command({"pcp-rr rerun", "[OPTION]... [TRACE]",
                   "Prints registers along a part of a recording.", kRerunDetails});
  command.add("s,trace-start", "begin at event EVT", "EVT");
  command.add("e,trace-end", "end before event EVT", "EVT");
  command.add("segment", "the I-th of N parts of the recording", "I/N");
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
  const std::string trace =
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]);
  if (arguments.has("segment")) {
    if (arguments.has("trace-start") || arguments.has("trace-end")) {
      throw UsageError("give either --segment or -s and -e");
    }
    const std::vector<TraceSegment> segments =
        segments_of_share(trace_segments(trace), parse_segment_share(arguments.get("segment")));
    if (segments.empty() || segments.front().first == segments.back().end) {
      return kExitOk; // nothing is in this part
    }
    options.start = segments.front().first;
    options.end = segments.back().end;
  }
  rerun(trace, options, [&](std::string_view line) { console.write(line); });
  return kExitOk;
}

} // namespace rrpcp::tools
