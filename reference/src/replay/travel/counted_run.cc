#include "replay/travel/counted_run.h"

#include "replay/engine/injected_calls.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <span>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <utility>

namespace rrpcp::replay {

namespace {

using Layout = CountedLayout;

constexpr std::uint64_t kTrapFlag = 0x100;     // of eflags
constexpr std::uint64_t kNoReplace = 0x100000; // MAP_FIXED_NOREPLACE
// After so many instructions it is looked whether somebody wants to interrupt.
constexpr std::uint64_t kPiece = 50'000'000;
constexpr std::byte kTrapInstruction{0xcc};

using CodeBytes = std::array<std::byte, kLongestInstruction>;

// However long it takes: whoever looks again and again gives the processor to others.
process::TraceeStop await_stop(process::Tracee& tracee) {
  const pid_t tid = tracee.tid();
  const process::TraceeStop stop = tracee.wait();
  if (stop.gone()) {
    throw Error(ErrorCode::kProcessGone,
                "a replayed process was killed by somebody, task " + std::to_string(tid));
  }
  return stop;
}

std::span<const std::byte> code_at(process::RemoteMemory& memory, std::uint64_t address,
                                   CodeBytes& code) {
  return std::span(code).first(memory.read_some(address, code));
}

bool starts_with(std::span<const std::byte> code, std::initializer_list<unsigned> wanted) {
  return code.size() >= wanted.size() &&
         std::equal(wanted.begin(), wanted.end(), code.begin(),
                    [](unsigned a, std::byte b) { return static_cast<std::byte>(a) == b; });
}

bool begins_event(const trace::EventData& event, std::span<const std::byte> code,
                  std::uint64_t address) {
  return starts_with(code, {0x0f, 0x05}) || starts_with(code, {0xcc}) || event.is_step() ||
         (event.kind == trace::EventKind::kTrap && event.registers->rip == address);
}

// Of a string instruction that repeats itself.
std::optional<std::uint64_t> repeating_length(std::span<const std::byte> code) {
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisDecodedInstruction instruction;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, code.data(), code.size(),
                                                  &instruction)) ||
      (instruction.attributes &
       (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) == 0) {
    return std::nullopt;
  }
  return instruction.length;
}

// Where 2 GiB can be addressed absolutely and nobody has anything.
std::uint64_t free_place(const std::vector<process::ProcMapping>& mappings) {
  constexpr std::uint64_t kHighest = 0x7f000000;
  constexpr std::uint64_t kLowest = 0x1000000;
  std::uint64_t end = kHighest;
  for (auto at = mappings.rbegin(); at != mappings.rend(); ++at) {
    if (at->start >= end) {
      continue;
    }
    // Not where the heap or a stack may grow.
    constexpr std::uint64_t kApart = 64 << 20;
    if (at->end + kApart + Layout::kLength <= end) {
      return end - Layout::kLength;
    }
    end = at->start & ~std::uint64_t{0xffff};
  }
  return end >= kLowest + Layout::kLength ? end - Layout::kLength : 0;
}

} // namespace

std::array<std::uint64_t, 16> numbered_registers(const user_regs_struct& registers) {
  std::array<std::uint64_t, 16> values{};
  for (unsigned number = 0; number < values.size(); ++number) {
    values[number] = registers.*general_register(number);
  }
  return values;
}

bool stands_at_repeating(ReplaySession& session) {
  CodeBytes bytes{};
  const pid_t tid = session.runner();
  return repeating_length(code_at(session.memory(tid), session.tracee(tid).registers().rip, bytes))
      .has_value();
}

bool step_natively(ReplaySession& session) {
  const pid_t tid = session.runner();
  process::Tracee& tracee = session.tracee(tid);
  process::RemoteMemory& memory = session.memory(tid);
  const std::uint64_t address = tracee.registers().rip;
  CodeBytes bytes{};
  const std::span<const std::byte> code = code_at(memory, address, bytes);
  if (begins_event(session.current(), code, address)) {
    return false;
  }
  const std::optional<std::uint64_t> repeating = repeating_length(code);
  const bool repeats = repeating.has_value();
  const auto await = [&] {
    for (;;) {
      session.count_stop();
      const process::TraceeStop stop = await_stop(tracee);
      if (stop.signal() == SIGTRAP) {
        return true;
      }
      if (stop.signal() == SIGSEGV || stop.signal() == SIGBUS || stop.signal() == SIGILL ||
          stop.signal() == SIGFPE) {
        if (tracee.signal_info().si_code > 0) {
          return false;
        }
      }
      tracee.resume(repeats ? PTRACE_SYSEMU : PTRACE_SYSEMU_SINGLESTEP);
    }
  };
  if (repeats) {
    // As a whole, not an element at a time: it goes on behind itself.
    const std::uint64_t behind = address + *repeating;
    std::byte before{};
    memory.read(behind, std::span(&before, 1));
    memory.write(behind, std::span(&kTrapInstruction, 1));
    tracee.resume(PTRACE_SYSEMU);
    const bool done = await();
    memory.write(behind, std::span(&before, 1));
    if (done) {
      user_regs_struct registers = tracee.registers();
      registers.rip = behind;
      tracee.set_registers(registers);
    }
    return done;
  }
  // At the end of a system call, PTRACE_SINGLESTEP alone stops before any instruction (Linux,
  // kernel/entry/common.c, report_single_step).
  tracee.resume(PTRACE_SYSEMU_SINGLESTEP);
  if (!await()) {
    return false; // the instruction faulted: it is the event
  }
  if (starts_with(code, {0x9c}) || starts_with(code, {0x66, 0x9c})) {
    // It pushed the flags, and with them the one by which the processor steps.
    const std::uint64_t stack = tracee.registers().rsp;
    auto low = memory.read_value<std::uint16_t>(stack);
    low = static_cast<std::uint16_t>(low & ~kTrapFlag);
    memory.write(stack, std::as_bytes(std::span(&low, 1)));
  }
  return true;
}

CountedRun::CountedRun(ReplaySession& session, CountedSites sites)
    : session_(session), tid_(session.runner()), sites_(std::move(sites)),
      tracee_(&session.tracee(tid_)), memory_(&session.memory(tid_)) {}

CountedRun::~CountedRun() {
  try {
    leave();
  } catch (const Error&) {
    // The process is gone, and what is ours with it.
  }
}

void CountedRun::set_variable(std::uint32_t offset, std::uint64_t value) {
  memory_->write(base_ + offset, std::as_bytes(std::span(&value, 1)));
}

std::uint64_t CountedRun::variable(std::uint32_t offset) {
  return memory_->read_value<std::uint64_t>(base_ + offset);
}

std::uint64_t CountedRun::value_of(const WatchedBytes& watched) {
  std::uint64_t value = 0;
  memory_->read_some(watched.address,
                     std::as_writable_bytes(std::span(&value, 1)).first(watched.length));
  return value;
}

bool CountedRun::at_event_instruction() {
  const std::uint64_t address = tracee_->registers().rip;
  CodeBytes bytes{};
  return begins_event(session_.current(), code_at(*memory_, address, bytes), address);
}

// False where there is no room.
bool CountedRun::enter() {
  if (base_ != 0) {
    return true;
  }
  if (cannot_) {
    return false;
  }
  mappings_ = process::read_mappings(tracee_->tid());
  const std::uint64_t place = free_place(mappings_);
  if (place == 0) {
    cannot_ = true;
    return false;
  }
  const user_regs_struct registers = tracee_->registers();
  {
    InjectedCalls calls(*tracee_, session_.call_site(tid_));
    constexpr std::uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | kNoReplace;
    const std::int64_t data = calls.call(SYS_mmap, place, Layout::kDataLength,
                                         PROT_READ | PROT_WRITE, kFlags, ~std::uint64_t{0}, 0);
    const std::int64_t code = calls.call(SYS_mmap, place + Layout::kDataLength, Layout::kCodeLength,
                                         PROT_READ | PROT_EXEC, kFlags, ~std::uint64_t{0}, 0);
    for (int i = 0; i < 4; ++i) {
      session_.count_stop();
    }
    if (data != static_cast<std::int64_t>(place) ||
        code != static_cast<std::int64_t>(place + Layout::kDataLength)) {
      cannot_ = true;
      calls.call(SYS_munmap, place, Layout::kLength);
    }
  }
  tracee_->set_registers(registers);
  if (cannot_) {
    return false;
  }
  base_ = place;
  reset_code();
  return true;
}

void CountedRun::reset_code() {
  if (code_) {
    // The tables lead to what is written over now.
    const std::vector<std::byte> none(Layout::kValues - Layout::kKeys);
    memory_->write(base_ + Layout::kKeys, none);
    memory_->write(base_ + Layout::kMoreKeys, none);
  }
  code_ = std::make_unique<CountedCode>(base_, *memory_, mappings_, sites_);
}

void CountedRun::leave() {
  if (base_ == 0) {
    return;
  }
  const std::uint64_t base = std::exchange(base_, 0);
  const user_regs_struct registers = tracee_->registers();
  InjectedCalls calls(*tracee_, session_.call_site(tid_));
  calls.require("removing counted code", SYS_munmap, base, Layout::kLength);
  session_.count_stop();
  session_.count_stop();
  // As it was: it may stand at the entry of a call.
  tracee_->set_registers(registers);
}

void CountedRun::go_on() {
  tid_ = session_.runner();
  tracee_ = &session_.tracee(tid_);
  memory_ = &session_.memory(tid_);
  if (code_) {
    code_->set_memory(*memory_);
  }
}

std::optional<std::size_t> CountedRun::accessed_here() {
  if (sites_.accessed.empty()) {
    return std::nullopt;
  }
  const user_regs_struct registers = tracee_->registers();
  CodeBytes bytes{};
  const std::span<const std::byte> code = code_at(*memory_, registers.rip, bytes);
  ZydisDecoder decoder;
  ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  ZydisDecodedInstruction instruction;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), code.size(), &instruction,
                                           operands.data()))) {
    return std::nullopt;
  }
  ZydisRegisterContext context{};
  static constexpr std::pair<ZydisRegister, unsigned long long user_regs_struct::*> kRegisters[] = {
      {ZYDIS_REGISTER_RAX, &user_regs_struct::rax}, {ZYDIS_REGISTER_RCX, &user_regs_struct::rcx},
      {ZYDIS_REGISTER_RDX, &user_regs_struct::rdx}, {ZYDIS_REGISTER_RBX, &user_regs_struct::rbx},
      {ZYDIS_REGISTER_RSP, &user_regs_struct::rsp}, {ZYDIS_REGISTER_RBP, &user_regs_struct::rbp},
      {ZYDIS_REGISTER_RSI, &user_regs_struct::rsi}, {ZYDIS_REGISTER_RDI, &user_regs_struct::rdi},
      {ZYDIS_REGISTER_R8, &user_regs_struct::r8},   {ZYDIS_REGISTER_R9, &user_regs_struct::r9},
      {ZYDIS_REGISTER_R10, &user_regs_struct::r10}, {ZYDIS_REGISTER_R11, &user_regs_struct::r11},
      {ZYDIS_REGISTER_R12, &user_regs_struct::r12}, {ZYDIS_REGISTER_R13, &user_regs_struct::r13},
      {ZYDIS_REGISTER_R14, &user_regs_struct::r14}, {ZYDIS_REGISTER_R15, &user_regs_struct::r15},
      {ZYDIS_REGISTER_EAX, &user_regs_struct::rax}, {ZYDIS_REGISTER_RIP, &user_regs_struct::rip}};
  for (const auto& [reg, member] : kRegisters) {
    context.values[reg] = registers.*member;
  }
  const bool repeats = (instruction.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
                                                  ZYDIS_ATTRIB_HAS_REPNE)) != 0;
  for (std::size_t i = 0; i < instruction.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
      continue;
    }
    ZyanU64 start = 0;
    if (!ZYAN_SUCCESS(
            ZydisCalcAbsoluteAddressEx(&instruction, &operand, registers.rip, &context, &start))) {
      continue;
    }
    start += operand.mem.segment == ZYDIS_REGISTER_FS   ? registers.fs_base
             : operand.mem.segment == ZYDIS_REGISTER_GS ? registers.gs_base
                                                        : 0;
    std::uint64_t length = operand.size / 8;
    const bool writes = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    const bool reads = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    if (operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
        operand.mem.base == ZYDIS_REGISTER_RSP && writes) {
      start = registers.rsp - length; // of a push
    }
    if (repeats && length != 0) {
      const std::uint64_t total = length * registers.rcx;
      constexpr std::uint64_t kDown = 0x400; // the direction flag
      start -= (registers.eflags & kDown) != 0 && total != 0 ? total - length : 0;
      length = total;
    }
    for (std::size_t site = 0; site < sites_.accessed.size(); ++site) {
      const AccessedBytes& wanted = sites_.accessed[site];
      if ((reads || (writes && wanted.writes)) && start < wanted.address + wanted.length &&
          start + length > wanted.address) {
        return site;
      }
    }
  }
  return std::nullopt;
}

CountedRun::Stepped CountedRun::step() {
  return step_natively(session_) ? Stepped::kDone : Stepped::kEvent;
}

bool CountedRun::run_copies(std::uint64_t& left, CountedOutcome& outcome, bool first, bool& ended) {
  using Exit = CountedCode::ExitKind;
  using End = CountedOutcome::End;
  user_regs_struct registers = tracee_->registers();
  std::uint64_t pc = registers.rip;
  const std::uint64_t begun = left;
  set_variable(Layout::kCounter, left);
  std::uint64_t target =
      first ? code_->single(pc, static_cast<std::uint32_t>(
                                    std::min<std::uint64_t>(left, CountedCode::kLongestBlock)))
            : code_->entry(pc);
  const auto leave_at = [&](std::uint64_t address, std::uint64_t counter) {
    registers.rip = address;
    tracee_->set_registers(at_user(registers));
    left = counter;
  };
  const auto findings = [&](std::uint64_t counter) {
    static_cast<void>(counter);
    if (sites_.record) {
      const std::uint64_t found = variable(Layout::kFindings);
      if (found != 0) {
        outcome.findings += found;
        CountedOutcome::Finding last;
        const std::uint64_t id = variable(Layout::kLastId);
        last.executed = outcome.executed + (begun - variable(Layout::kLast));
        const bool watched = id < sites_.watched.size();
        last.what = watched ? End::kWatched : End::kAddress;
        last.site = watched ? id : id - sites_.watched.size();
        outcome.last = last;
        set_variable(Layout::kFindings, 0);
      }
    }
  };
  for (;;) {
    if (code_->is_full()) {
      // pc is known: begin anew.
      reset_code();
      target = code_->entry(pc);
    }
    code_->flush();
    registers.rip = target;
    tracee_->set_registers(at_user(registers));
    tracee_->resume(PTRACE_SYSEMU);
    process::TraceeStop stop;
    for (;;) {
      session_.count_stop();
      stop = await_stop(*tracee_);
      const int signal = stop.signal();
      if (stop.syscall_stop()) {
        throw Error(ErrorCode::kInternal, "a system call was made in counted code");
      }
      if (signal != 0 && tracee_->signal_info().si_code > 0 &&
          (signal == SIGTRAP || signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
           signal == SIGFPE)) {
        break;
      }
      tracee_->resume(PTRACE_SYSEMU); // somebody's signal: nothing of the recording
    }
    registers = tracee_->registers();
    const CountedCode::Exit* exit =
        stop.signal() == SIGTRAP ? code_->exit_at(registers.rip) : nullptr;
    std::uint64_t counter = variable(Layout::kCounter);
    if (exit == nullptr) {
      const CountedCode::Origin* origin = code_->origin_of(registers.rip);
      if (origin == nullptr) {
        throw Error(ErrorCode::kInternal,
                    "counted code went astray at event " + std::to_string(session_.event()));
      }
      // A fault of the program.
      unsigned long long user_regs_struct::*const saved[] = {
          &user_regs_struct::rax, &user_regs_struct::rcx, &user_regs_struct::rdx,
          &user_regs_struct::rbx, &user_regs_struct::rsp, &user_regs_struct::rbp,
          &user_regs_struct::rsi, &user_regs_struct::rdi};
      for (std::uint32_t i = 0; i < 8; ++i) {
        if ((origin->saved & (1u << i)) != 0) {
          registers.*saved[i] = variable(Layout::kScratch + 8 * i);
        }
      }
      counter += origin->uncounted;
      findings(counter);
      leave_at(origin->pc, counter);
      outcome.executed += begun - counter;
      outcome.end = End::kEvent;
      ended = true;
      return true;
    }
    counter += exit->uncounted;
    pc = exit->dynamic ? variable(Layout::kTarget) : exit->pc;
    switch (exit->kind) {
    case Exit::kLink: {
      const CountedCode::Exit copy = *exit;
      target = code_->link(copy);
      continue;
    }
    case Exit::kIndirect:
      target = code_->indirect_entry(pc);
      continue;
    case Exit::kEnd:
    case Exit::kLimit:
      set_variable(Layout::kCounter, counter);
      if (counter == 0) {
        findings(counter);
        leave_at(pc, 0);
        outcome.executed += begun;
        outcome.end = End::kLimit;
        ended = true;
        return true;
      }
      if (exit->kind == Exit::kEnd) {
        target = code_->entry(pc);
      } else {
        target = code_->shortened(pc, static_cast<std::uint32_t>(counter));
      }
      continue;
    case Exit::kMet:
      findings(counter);
      leave_at(pc, counter);
      outcome.executed += begun - counter;
      outcome.end = End::kMet;
      ended = true;
      return true;
    case Exit::kAddress:
    case Exit::kWatched:
      leave_at(pc, counter);
      outcome.executed += begun - counter;
      outcome.end = exit->kind == Exit::kAddress ? End::kAddress : End::kWatched;
      outcome.site = exit->kind == Exit::kAddress
                         ? static_cast<std::size_t>(
                               std::find(sites_.addresses.begin(), sites_.addresses.end(), pc) -
                               sites_.addresses.begin())
                         : exit->id;
      ended = true;
      return true;
    case Exit::kSpecial:
      findings(counter);
      leave_at(pc, counter);
      outcome.executed += begun - counter;
      return false;
    }
  }
}

CountedOutcome CountedRun::run(std::uint64_t limit, const std::atomic<bool>* interrupt) {
  using End = CountedOutcome::End;
  CountedOutcome outcome;
  std::uint64_t left = limit;
  std::vector<std::uint64_t> old;
  for (const WatchedBytes& watched : sites_.watched) {
    old.push_back(value_of(watched));
  }
  bool first = true;
  bool prepared = false;
  std::uint64_t times = sites_.times;
  const bool few = limit <= 4 && base_ == 0;
  while (left > 0) {
    if (at_event_instruction()) {
      outcome.end = End::kEvent;
      return outcome;
    }
    if (interrupt != nullptr && interrupt->load(std::memory_order_relaxed)) {
      outcome.end = End::kInterrupted;
      return outcome;
    }
    // A few steps cost less than the copies of code.
    if (!few && enter()) {
      if (!prepared) {
        for (std::size_t i = 0; i < old.size(); ++i) {
          set_variable(static_cast<std::uint32_t>(Layout::kOld + 8 * i), old[i]);
        }
        for (std::size_t i = 0; sites_.met && i < sites_.met->registers.size(); ++i) {
          set_variable(static_cast<std::uint32_t>(Layout::kMet + 8 * i), sites_.met->registers[i]);
        }
        set_variable(Layout::kTimes, times);
        set_variable(Layout::kFindings, 0);
        prepared = true;
      }
      std::uint64_t piece = std::min(left, kPiece);
      const std::uint64_t before = piece;
      bool ended = false;
      const bool ran = run_copies(piece, outcome, first, ended);
      left -= before - piece;
      first = false;
      if (ran && !(outcome.end == End::kLimit && left > 0)) {
        return outcome;
      }
      if (ran) {
        continue;
      }
      if (left == 0) {
        break;
      }
      if (at_event_instruction()) {
        outcome.end = End::kEvent;
        return outcome;
      }
      times = variable(Layout::kTimes);
    } else if (!first) {
      const user_regs_struct registers = tracee_->registers();
      const std::uint64_t address = registers.rip;
      if (sites_.met && sites_.met->address == address &&
          sites_.met->registers == numbered_registers(registers)) {
        outcome.end = End::kMet;
        return outcome;
      }
      const auto found = std::find(sites_.addresses.begin(), sites_.addresses.end(), address);
      if (found != sites_.addresses.end()) {
        const auto site = static_cast<std::size_t>(found - sites_.addresses.begin());
        if (sites_.record) {
          ++outcome.findings;
          outcome.last = {outcome.executed, End::kAddress, site};
        } else if (site != 0 || --times == 0) {
          outcome.end = End::kAddress;
          outcome.site = site;
          return outcome;
        }
      }
    }
    first = false;
    const std::optional<std::size_t> accessed = accessed_here();
    if (step() == Stepped::kEvent) {
      outcome.end = End::kEvent;
      return outcome;
    }
    --left;
    ++outcome.executed;
    if (accessed) {
      ++outcome.findings;
      outcome.last = {outcome.executed, End::kAccessed, *accessed};
      if (!sites_.record) {
        outcome.end = End::kAccessed;
        outcome.site = *accessed;
        return outcome;
      }
    }
    for (std::size_t i = 0; i < sites_.watched.size(); ++i) {
      const std::uint64_t now = value_of(sites_.watched[i]);
      const std::uint64_t before = prepared && base_ != 0
                                       ? variable(static_cast<std::uint32_t>(Layout::kOld + 8 * i))
                                       : old[i];
      if (now == before) {
        continue;
      }
      if (!sites_.record) {
        outcome.end = End::kWatched;
        outcome.site = i;
        return outcome;
      }
      ++outcome.findings;
      outcome.last = {outcome.executed, End::kWatched, i};
      old[i] = now;
      if (prepared && base_ != 0) {
        set_variable(static_cast<std::uint32_t>(Layout::kOld + 8 * i), now);
      }
    }
  }
  outcome.end = End::kLimit;
  return outcome;
}

} // namespace rrpcp::replay
