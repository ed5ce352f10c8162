// Code that programs make in memory that is writable and executable at once, where the processor
// traps nothing: as long as the program writes a page it cannot execute it, and the other way
// round. The faults in between are the recorder's, and no events.

#include "base/bytes.h"
#include "base/page.h"
#include "process/proc_maps.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/interlude.h"
#include "replay/engine/recorder.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

constexpr std::uint64_t kWritable = PROT_READ | PROT_WRITE;
constexpr std::uint64_t kExecutable = PROT_READ | PROT_EXEC;
constexpr const char* kNotRecorded = "the program has memory that is writable and executable at "
                                     "once: RDTSC, CPUID and their like in "
                                     "code that it makes there are not recorded";

// Leaves the program's memory as the program has made it.
void give_back(Interlude& interlude, MadeCode& made) {
  for (const auto& [start, end] : made.within(0, ~std::uint64_t{0})) {
    interlude.protect(start, end, kWritable | PROT_EXEC);
  }
  made.remove(0, ~std::uint64_t{0});
}

} // namespace

// Whether code that comes into being unseen can have instructions that are not recorded.
bool Recorder::must_see_code() const {
  return !traps_.processor_traps(schema::TrappedInstruction::RDTSC) ||
         (!model_.native() && !traps_.processor_traps(schema::TrappedInstruction::CPUID));
}

// Takes the right to execute from private memory that a call has just made writable and executable.
void Recorder::watch_made_code(RecordedTask& task, std::uint64_t start, std::uint64_t length) {
  if (!must_see_code()) {
    return;
  }
  const std::uint64_t end = start + align_up(length, kPage);
  std::vector<MadeCode::Range> ranges;
  for (const process::ProcMapping& mapping : process::read_mappings(task.tid)) {
    const MadeCode::Range part(std::max(mapping.start, start), std::min(mapping.end, end));
    constexpr int kBoth = PROT_WRITE | PROT_EXEC;
    if (part.first < part.second && (mapping.protection & kBoth) == kBoth && !mapping.shared &&
        mapping.name != "[stack]") {
      ranges.push_back(part);
    }
  }
  if (ranges.empty()) {
    return;
  }
  Interlude interlude(task);
  for (const auto& [first, last] : ranges) {
    if (interlude.protect(first, last, kWritable)) {
      task.made_code->add(first, last);
    } else {
      notice_once(kNotRecorded);
    }
  }
}

// Lets the program, and the kernel for it, write again what may be executed now.
void Recorder::open_made_code(RecordedTask& task) {
  const std::vector<MadeCode::Range> ranges = task.made_code->executable_ranges();
  if (ranges.empty()) {
    return;
  }
  Interlude interlude(task);
  for (const auto& [first, last] : ranges) {
    if (interlude.protect(first, last, kWritable)) {
      task.made_code->set_writable(first, last);
    }
  }
}

// What was replaced since the task's event before: a replay has it from the current one on.
void Recorder::tell_made_code(RecordedTask& task) {
  trace::EventData& event = writer_->event();
  for (const std::uint64_t address : task.made_code->untold()) {
    std::array<std::byte, kUndefinedInstruction.size()> bytes{};
    if (task.memory.read_some(address, bytes) == bytes.size()) {
      event.memory.push_back({address, event.append(bytes)});
    }
  }
  task.made_code->untold().clear();
}

// Looks through a page that is about to be executed, from `at` or from its beginning.
void Recorder::look_through_made_code(RecordedTask& task, std::uint64_t page, std::uint64_t at) {
  code_.replace_made(task.memory, page, page + kPage, at, *task.replaced,
                     [&](std::uint64_t address) { task.made_code->untold().insert(address); });
}

// Before the call that the task is at the entry of: the kernel is to find memory that the call may
// write to writable, and mappings as the program has made them. True where the task has to come to
// its call anew.
bool Recorder::open_for_call(RecordedTask& task) {
  const MadeCode& made = *task.made_code;
  if (made.empty() || task.came_anew) {
    return false;
  }
  bool any = task.call.number == SYS_mremap &&
             made.executable_within(task.call[0], task.call[0] + align_up(task.call[1], kPage));
  for (const std::uint64_t argument : task.call.arguments) {
    any = any || made.executable(argument & ~(kPage - 1));
  }
  if (any) {
    come_anew(task);
  }
  return any;
}

// The same after a call that has found memory which it could not write to, and has done nothing.
bool Recorder::open_after_call(RecordedTask& task, std::int64_t result) {
  const bool anew = std::exchange(task.came_anew, false);
  if (result != -EFAULT || anew || task.begun ||
      !task.made_code->executable_within(0, ~std::uint64_t{0})) {
    return false;
  }
  come_anew(task);
  return true;
}

void Recorder::come_anew(RecordedTask& task) {
  user_regs_struct registers = task.entry;
  registers.rip -= trace::kSyscallLength;
  registers.rax = task.entry.orig_rax;
  registers.orig_rax = ~std::uint64_t{0};
  open_made_code(task);
  task.tracee.set_registers(registers);
  task.boundary = task.tracee.registers();
  task.called_off = task.entry;
  task.came_anew = true;
  end_call(task);
}

// A fault at a page that the program may both write and execute. False where it is another one;
// else the task stands where it was, or behind the instruction, or has ended.
bool Recorder::on_made_code(RecordedTask& task, const user_regs_struct& registers,
                            const siginfo_t& info) {
  MadeCode& made = *task.made_code;
  const auto address = reinterpret_cast<std::uint64_t>(info.si_addr);
  if (info.si_signo != SIGSEGV || info.si_code != SEGV_ACCERR || !made.contains(address)) {
    return false;
  }
  const std::uint64_t page = address & ~(kPage - 1);
  const bool own = registers.rip < page + kPage && registers.rip + kLongestInstruction > page;
  bool done = false;
  {
    Interlude interlude(task);
    if (!made.executable(page)) {
      look_through_made_code(task, page, registers.rip);
      done = interlude.protect(page, page + kPage, kExecutable);
      made.set_executable(page);
    } else if (!own) {
      done = interlude.protect(page, page + kPage, kWritable);
      made.set_writable(page, page + kPage);
    } else {
      // The instruction writes to its own page.
      done = interlude.protect(page, page + kPage, kWritable | PROT_EXEC) &&
             step_over_write(task, registers);
      if (!task.tracee.attached()) {
        return true;
      }
      if (done) {
        const user_regs_struct after = task.tracee.registers();
        interlude.set_registers(after);
        look_through_made_code(task, page, after.rip);
        done = interlude.protect(page, page + kPage, kExecutable);
      }
    }
    if (!done) { // too many mappings, or it faults for another reason too, which is the program's
      notice_once(kNotRecorded);
      give_back(interlude, made);
    }
  }
  task.interrupting = false;
  if (task.shuns_faults()) {
    keep_fault_action(task, SIGSEGV);
  }
  return true;
}

// Executes one instruction. False where it faults.
bool Recorder::step_over_write(RecordedTask& task, const user_regs_struct& registers) {
  task.tracee.set_registers(registers);
  const process::TraceeStop stop = step(task);
  if (stop.gone() || stop.signal() != SIGTRAP) {
    return false;
  }
  const user_regs_struct after = task.tracee.registers();
  return std::memcmp(&after, &registers, sizeof after) != 0;
}

} // namespace rrpcp::replay
