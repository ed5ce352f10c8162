// Instructions that no replay can foresee: replacing them, and carrying them out.

#include "base/bytes.h"
#include "base/page.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/instruction_results.h"
#include "replay/engine/recorder.h"
#include "replay/engine/suspended_filters.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;
using Kind = schema::TrappedInstruction;

constexpr std::uint64_t kAddressSpace = std::uint64_t{1} << 47;

bool reads_counter(Kind kind) {
  return kind == Kind::RDTSC || kind == Kind::RDTSCP;
}

// What mremap(2) has moved or made longer: open_for_call() has seen to it that it is writable.
void move_made_code(MadeCode& made, const trace::SystemCall& call, std::uint64_t to) {
  const std::uint64_t end = call[0] + align_up(call[1], kPage);
  const bool there = !made.within(call[0], end).empty();
  if (to != call[0] || call[2] < call[1]) {
    made.remove(call[0], end);
    made.remove(to, to + align_up(call[2], kPage));
  }
  if (there) {
    made.add(to, to + align_up(call[2], kPage));
    if ((call[3] & MREMAP_DONTUNMAP) != 0) {
      made.add(call[0], end);
    }
  }
}

// Whether a new program is a tool of Valgrind: it reads the code of another, and executes what it
// makes of it, in which its own code stands for the instructions that no replay can foresee.
bool is_translator(const RecordedTask& task) {
  const std::string path = process::try_read_link(process::proc_path(task.pid, "exe")).value_or("");
  constexpr std::string_view kMark = "VALGRIND_LAUNCHER=";
  if (!path.ends_with("-amd64-linux")) {
    return false;
  }
  const std::string words =
      process::try_read_file(process::proc_path(task.pid, "environ")).value_or("");
  return words.starts_with(kMark) || words.find('\0' + std::string(kMark)) != std::string::npos;
}

} // namespace

// All code of a new program. Its image is not written yet and has the replacements.
void Recorder::replace_in_program(RecordedTask& task) {
  task.replaced->set_translates(is_translator(task));
  replace_in_range(task, 0, kAddressSpace, false);
}

void Recorder::prepare_new_code(RecordedTask& task, std::uint64_t start, std::uint64_t length,
                                bool writable) {
  if (task.replaced->translates()) {
    return;
  }
  if (writable) {
    watch_made_code(task, start, length);
  }
  replace_in_range(task, start, length, true);
  lead_calls(task, start, length);
}

// Code that a system call has made executable or has put in another place.
void Recorder::replace_in_new_code(RecordedTask& task, std::int64_t result) {
  if (result < 0 && result >= -4095) {
    return;
  }
  const trace::SystemCall& call = task.call;
  const auto address = static_cast<std::uint64_t>(result);
  switch (call.number) {
  case SYS_mmap:
    task.replaced->forget(address, address + align_up(call[1], kPage));
    task.made_code->remove(address, address + align_up(call[1], kPage));
    task.buffer->forget(address, address + align_up(call[1], kPage));
    if ((call[2] & PROT_EXEC) != 0) {
      prepare_new_code(task, address, call[1], (call[2] & PROT_WRITE) != 0);
    }
    return;
  case SYS_mprotect:
  case SYS_pkey_mprotect:
    task.made_code->remove(call[0], call[0] + align_up(call[1], kPage));
    if ((call[2] & PROT_EXEC) != 0) {
      prepare_new_code(task, call[0], call[1], (call[2] & PROT_WRITE) != 0);
    } else {
      put_back(task, call[0], call[1]);
    }
    return;
  case SYS_munmap:
    task.replaced->forget(call[0], call[0] + align_up(call[1], kPage));
    task.made_code->remove(call[0], call[0] + align_up(call[1], kPage));
    task.buffer->forget(call[0], call[0] + align_up(call[1], kPage));
    return;
  case SYS_mremap: {
    std::vector<std::pair<std::uint64_t, ReplacedInstructions::Entry>> moved;
    task.replaced->visit(call[0], call[0] + call[1],
                         [&](std::uint64_t at, const ReplacedInstructions::Entry& entry) {
                           moved.emplace_back(address + (at - call[0]), entry);
                         });
    task.replaced->forget(call[0], call[0] + align_up(call[1], kPage));
    task.replaced->forget(address, address + align_up(call[2], kPage));
    move_made_code(*task.made_code, call, address);
    for (const auto& [at, entry] : moved) {
      if (at < address + call[2]) {
        task.replaced->add(at, entry);
      }
    }
    if (!moved.empty() || call[2] > call[1]) {
      replace_in_range(task, address, call[2], true);
    }
    if (!moved.empty() && (call[3] & MREMAP_DONTUNMAP) != 0) {
      replace_in_range(task, call[0], call[1], true);
    }
    return;
  }
  case SYS_madvise: {
    // Private copies of a file's pages, which have the replacements, may be gone.
    bool any = false;
    task.replaced->visit(call[0], call[0] + align_up(call[1], kPage),
                         [&](std::uint64_t, const ReplacedInstructions::Entry&) { any = true; });
    if (any) {
      replace_in_range(task, call[0], call[1], true);
    }
    return;
  }
  case SYS_shmat:
    if ((call[2] & 0100000) != 0) { // SHM_EXEC
      replace_in_range(task, address, kPage, true);
    }
    return;
  default:
    return;
  }
}

// What is not executable is data, which the program may look at, copy and change.
void Recorder::put_back(RecordedTask& task, std::uint64_t start, std::uint64_t length) {
  const std::uint64_t end = start + align_up(length, kPage);
  task.replaced->visit(
      start, end, [&](std::uint64_t address, const ReplacedInstructions::Entry& entry) {
        std::array<std::byte, 2> bytes{};
        if (task.memory.read_some(address, bytes) == bytes.size() &&
            bytes == kUndefinedInstruction) {
          task.memory.write(address, entry.original);
          writer_->event().memory.push_back({address, writer_->event().append(entry.original)});
        }
      });
  task.replaced->forget(start, end);
}

// `noted`: the current event has what is overwritten.
void Recorder::replace_in_range(RecordedTask& task, std::uint64_t start, std::uint64_t length,
                                bool noted) {
  code_.replace(
      task.tid, task.memory, start & ~(kPage - 1), align_up(start + length, kPage), *task.replaced,
      [&](const process::ProcMapping& mapping) { return open_mapped(task, mapping); },
      [&](std::uint64_t address) {
        if (noted) {
          writer_->event().memory.push_back(
              {address, writer_->event().append(kUndefinedInstruction)});
        }
      });
}

// Executes an instruction in place of the task that has faulted at it. False where the fault is the
// program's own: `info` is of the signal that it gets.
bool Recorder::emulate(RecordedTask& task, const user_regs_struct& registers, siginfo_t& info) {
  std::optional<TrappedCode> code;
  const int raised = info.si_signo;
  if (raised == SIGILL) {
    const ReplacedInstructions::Entry* entry = task.replaced->find(registers.rip);
    std::array<std::byte, 2> bytes{};
    if (entry != nullptr && task.memory.read_some(registers.rip, bytes) == bytes.size() &&
        bytes == kUndefinedInstruction) {
      code = entry->code;
    }
  } else if (raised == SIGSEGV && info.si_code == SI_KERNEL) {
    std::array<std::byte, kLongestInstruction> bytes{};
    const std::size_t length = task.memory.read_some(registers.rip, bytes);
    code = decode_trapped(std::span(bytes).first(length));
    if (code && !traps_.processor_traps(code->kind)) {
      code.reset();
    }
  }
  if (!code) {
    return false;
  }
  if (saves_state(code->kind)) {
    return save_state(task, registers, *task.replaced->find(registers.rip));
  }
  std::optional<user_regs_struct> after;
  const bool denied = task.forgoes_counter && reads_counter(code->kind);
  if (!denied) {
    after = carry_out(*code, registers, task.tracee, model_);
  }
  if (!after) {
    if (raised == SIGILL && (denied || code->kind == Kind::XGETBV)) {
      // The processor's answer would be a general protection fault.
      info = {};
      info.si_signo = SIGSEGV;
      info.si_code = SI_KERNEL;
      task.tracee.set_signal_info(info);
      require_fault(task);
    }
    return false;
  }
  task.tracee.set_registers(*after);
  trace::EventData& event = writer_->begin(trace::EventKind::kTrap, task);
  event.instruction = code->kind;
  event.registers = registers;
  event.registers_after = after;
  if (task.shuns_faults()) {
    keep_fault_action(task, raised);
    event.signal_mask = task.mask; // says so to a replay
  }
  tell_made_code(task);
  writer_->write();
  task.boundary = *after;
  task.state = State::kReady;
  return true;
}

// A fault cannot be blocked or ignored: one that we raise would come again and again.
void Recorder::require_fault(RecordedTask& task) {
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGSEGV - 1);
  if ((task.mask & kBit) == 0 && !ignores(task.fault_actions->segv)) {
    return;
  }
  task.mask &= ~kBit;
  task.fault_actions->segv = {};
  keep_fault_action(task, SIGSEGV);
}

// Executes one instruction. The trap behind it would unblock SIGTRAP, and reset its action where
// the program has it blocked or ignored.
process::TraceeStop Recorder::step(RecordedTask& task) {
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGTRAP - 1);
  const std::uint64_t mask = task.tracee.signal_mask(); // the recorder may have blocked all
  const bool shuns = (mask & kBit) != 0 || ignores(task.fault_actions->trap);
  task.tracee.resume(PTRACE_SINGLESTEP);
  const process::TraceeStop stop = task.tracee.wait();
  if (shuns && stop.signal() == SIGTRAP) {
    keep_fault_action(task, SIGTRAP);
    task.tracee.set_signal_mask(mask);
  }
  return stop;
}

// The fault may have unblocked its signal and reset its action.
void Recorder::keep_fault_action(RecordedTask& task, int signal) {
  task.tracee.set_signal_mask(task.mask);
  const SuspendedFilters suspended(task);
  const FaultAction& action = *task.fault_actions->of(signal);
  if (task.site != 0) {
    set_fault_action(task.tracee, task.memory, task.site, signal, action);
  } else {
    SyscallSite site(task.tracee, process::read_mappings(task.tid));
    set_fault_action(task.tracee, task.memory, site.address(), signal, action);
  }
}

} // namespace rrpcp::replay
