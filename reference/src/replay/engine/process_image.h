// The checkpoint of a process that is about to execute its first instruction.
#pragma once

#include "base/background.h"
#include "process/tracee.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/instruction_traps.h"
#include "trace/file_cache.h"
#include "trace/stand_ins.h"

#include <future>
#include <map>
#include <string>

namespace rrpcp::replay {

// What the trace has kept of the files that a process has mapped: paths of the copies relative to
// the trace directory, by the names that /proc/PID/maps has, with and without what it adds to the
// name of a file that was removed.
using KeptFiles = std::map<std::string, std::string>;

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

// Writes the checkpoint `path` of the process whose only thread `task` is, in an event stop at the
// end of its execve(2), and whose files are `kept`; `told`: what the program is told of the
// processor. Throws Error. Paths in `kept` may have stand-ins. The task may go on afterwards; the
// checkpoint is there when the future is ready, which has what else fails, and which needs nothing
// but `background` and `cache`, which has the digests of files.
std::future<void> write_image(process::Tracee& task, const std::string& path,
                              schema::Cpu::Reader told, KeptFiles kept, Background& background,
                              const trace::StandIns& stand_ins, const trace::FileCache& cache);

} // namespace rrpcp::replay
