// Going through a recording once more and looking at registers.
#pragma once

#include "rrpcp/export.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// What a line of a rerun shows of a task: a register, or something like it.
struct RegisterField {
  enum class Kind {
    kEvent,        // number of the event
    kInstructions, // executed since the event before, where instructions are stepped; else 0
    kTid,          // recorded
    kTicks,        // of the task: its events so far
    kGeneral,      // a member of user_regs_struct
    kXmm,          // 16 bytes
    kYmm,          // 32 bytes
    kXinuse,       // XSTATE_BV
    kFip,          // last x87 instruction pointer
    kFop,          // last x87 opcode
    kMxcsr,
  } kind = Kind::kEvent;
  std::string name;
  // Byte in user_regs_struct, or number of the xmm or ymm register.
  unsigned index = 0;
};

// "event,icount,ip,gp_x16,xmm0": a comma-separated list of event, icount, tid, ticks, ip or rip,
// flags or rflags, orig_rax, fsbase, gsbase, the general and segment registers by name, gp_x16,
// xmm_x16, ymm_x16, xinuse, fip, fop, mxcsr. Throws Error(kInvalidArgument) naming what is unknown.
std::vector<RegisterField> parse_register_fields(std::string_view list);

struct RerunOptions {
  // First event to be shown, and the one before which to end; 0: to the end.
  std::int64_t start = 1;
  std::int64_t end = 0;
  // Shown after each event, for its task. An event that ends the task shows what it had before.
  std::vector<RegisterField> event_fields;
  // Shown after each instruction; a repeated string instruction counts as one.
  std::vector<RegisterField> step_fields;
  // Bytes, little-endian, instead of text; records end with a newline either way.
  bool raw = false;
  bool ignore_checkpoints = false;
  std::function<void(const std::string& warning)> warn = {};
};

// Replays a recording and passes what was asked for to `output`, line by line. The same bytes
// whichever checkpoints there are. Throws Error as a replay does. Use from one thread: it traces.
void rerun(const std::string& trace_directory, const RerunOptions& options,
           const std::function<void(std::string_view line)>& output);

} // namespace rrpcp
