// The checkpoint of a process that is about to execute its first instruction.
#pragma once

#include "process/tracee.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/instruction_traps.h"

#include <functional>
#include <string>

namespace rrpcp::replay {

// What the trace has kept of a file that the process has mapped: path of the copy relative to the
// trace directory.
using KeepFile = std::function<std::string(const std::string& path, pid_t pid)>;

// Makes a process that has just been given a new program recordable: hides the functions of the
// vDSO, so that the program makes real system calls, and has the processor trap what it can of
// `traps`. The auxiliary vector says of the processor what `model`
// does. `task` is in the system-call stop at the end of
// execve(2); afterwards it is in an event stop with its registers unchanged. Throws Error:
// kUnsupportedState for a 32-bit program.
void prepare_program(process::Tracee& task, const InstructionTraps& traps, const CpuidModel& model);

// How far the stack of the real process `pid` may grow is decided by the kernel while the program
// runs: stores that limit, unless the process is gone.
void store_stack_limit(pid_t pid, schema::Process::Builder process);

// Writes the checkpoint `path` of the process whose only thread `task` is, in an event stop. Files
// that it has mapped are named as `keep` says; `told`: what the program is told of the processor.
// Throws Error.
void write_image(process::Tracee& task, const std::string& path, schema::Cpu::Reader told,
                 const KeepFile& keep);

} // namespace rrpcp::replay
