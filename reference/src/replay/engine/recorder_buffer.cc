// Calls that the program makes without a stop, and what has to be true for that: replay/buffer.

#include "base/bytes.h"
#include "base/page.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "replay/buffer/call_shapes.h"
#include "replay/buffer/plain_instruction.h"
#include "replay/engine/interlude.h"
#include "replay/engine/recorder.h"
#include "replay/engine/saved_state.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/event.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <optional>
#include <sched.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

constexpr std::uint64_t kFixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
constexpr std::uint64_t kLowest = 0x10000; // vm.mmap_min_addr as a rule
constexpr long kLastError = -4095;

// Whether the call has written to what it has read, which is not what it was then any more.
bool overlaps_written(const buffer::BufferedCall& call, const buffer::BufferedCall::Piece& read) {
  return std::any_of(call.pieces.begin(), call.pieces.end(),
                     [&](const buffer::BufferedCall::Piece& other) {
                       return other.written && other.address < read.address + read.bytes.size() &&
                              read.address < other.address + other.bytes.size();
                     });
}

// Whether the stack cannot grow down to the area.
bool leaves_room(pid_t pid) {
  constexpr rlim_t kMostStack = 256 << 20;
  rlimit limit{};
  return ::prlimit(pid, RLIMIT_STACK, nullptr, &limit) == 0 && limit.rlim_cur <= kMostStack;
}

// A free place for `size` bytes below `near`; 0: none.
std::uint64_t free_below(pid_t tid, std::uint64_t near, std::uint64_t size) {
  const std::vector<process::ProcMapping> mappings = process::read_mappings(tid);
  std::uint64_t start = (near & ~(size - 1)) - size;
  for (auto mapping = mappings.rbegin(); mapping != mappings.rend(); ++mapping) {
    // (A page more, for a stack that grows.)
    if (mapping->start < start + size + kPage && mapping->end + kPage > start) {
      start = (mapping->start & ~(size - 1)) - size;
    }
    if (start < kLowest || start > near) {
      return 0;
    }
  }
  return start;
}

} // namespace

// Of a program that has executed nothing yet.
void Recorder::make_buffer(RecordedTask& task) {
  if (!filtered_ || task.has_filter || task.traced || !leaves_room(task.pid)) {
    return;
  }
  {
    Interlude interlude(task);
    InjectedCalls& calls = interlude.calls();
    if (calls.call(SYS_mmap, buffer::kArea, buffer::kAreaSize, PROT_READ | PROT_WRITE, kFixed,
                   ~std::uint64_t{0}, 0) != static_cast<std::int64_t>(buffer::kArea)) {
      return;
    }
    if (calls.call(SYS_mprotect, buffer::kArea, buffer::kExecutableSize, PROT_READ | PROT_EXEC) !=
        0) { // a security module, or PR_SET_MDWE
      calls.require("unmapping memory", SYS_munmap, buffer::kArea, buffer::kAreaSize);
      return;
    }
  }
  // (Digests of memory are to find nothing that a replay has otherwise.)
  task.buffer->fill(task.memory, task.pid, state_layout(), options_.checksum_interval == 0);
  task.made_code->set_hidden(buffer::kControl, buffer::kArea + buffer::kAreaSize);
  lead_calls(task, 0, std::uint64_t{1} << 47);
}

// Code that has become executable.
void Recorder::lead_calls(RecordedTask& task, std::uint64_t start, std::uint64_t length) {
  buffer::CallBuffer& buffer = *task.buffer;
  if (!buffer.active()) {
    return;
  }
  const std::uint64_t end = start + align_up(length, kPage);
  std::optional<Interlude> interlude;
  const auto more = [&](std::uint64_t near, std::uint64_t size) -> std::uint64_t {
    const std::uint64_t place = free_below(task.tid, near, size);
    if (place == 0) {
      return 0;
    }
    if (!interlude) {
      interlude.emplace(task);
    }
    return interlude->calls().call(SYS_mmap, place, size, PROT_READ | PROT_EXEC, kFixed,
                                   ~std::uint64_t{0}, 0) == static_cast<std::int64_t>(place)
               ? place
               : 0;
  };
  for (const process::ProcMapping& mapping : process::read_mappings(task.tid, start, end)) {
    if (mapping.inode == 0 || mapping.shared || (mapping.protection & PROT_EXEC) == 0 ||
        (mapping.protection & PROT_WRITE) != 0) {
      continue;
    }
    if (const ScopedFd file = open_mapped(task, mapping)) {
      const std::vector<buffer::CallSite>& sites = code_.call_sites(file.get());
      buffer.lead(task.memory, mapping.start, mapping.end, mapping.offset, sites, more);
      lead_cpuid(task, mapping, sites, more);
    }
    lead_saving(task, mapping, more);
  }
}

// Leads the program from where it sets what it asks CPUID for. Where the processor traps CPUID it
// would do so in the area, too, and a modest processor's is another.
void Recorder::lead_cpuid(RecordedTask& task, const process::ProcMapping& mapping,
                          const std::vector<buffer::CallSite>& sites,
                          const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more) {
  if (!model_.native() || traps_.cpuid) {
    return;
  }
  for (const buffer::CallSite& site : sites) {
    if (site.to != buffer::CallSite::To::kCpuid || site.offset < mapping.offset ||
        site.offset - mapping.offset >= mapping.length()) {
      continue;
    }
    const std::uint64_t address = mapping.start + (site.offset - mapping.offset);
    const ReplacedInstructions::Entry* replaced = task.replaced->find(address + site.length);
    std::array<std::byte, UINT8_MAX> room{};
    const std::span<std::byte> code = std::span(room).first(site.length);
    if (replaced != nullptr && replaced->code.kind == schema::TrappedInstruction::CPUID &&
        replaced->code.length == replaced->original.size() &&
        task.memory.read_some(address, code) == code.size() && buffer::is_plain(code)) {
      task.buffer->lead_cpuid(task.memory, address, code, more);
    }
  }
}

// The program may look at its code, or at how it gets from one instruction to the next.
void Recorder::keep_code_as_built(RecordedTask& task) {
  task.buffer->abandon(task.memory);
}

// Lets the task execute its program up to the next thing that the recorder has to see.
void Recorder::let_run(RecordedTask& task, int signal) {
  if (task.buffer->active()) {
    const bool on = !task.has_filter && !task.strict && !task.traced &&
                    task.pid == task.buffer->owner() && !task.signal_due() && !task.passing &&
                    task.made_code->empty() && !serves_files_ && !digests_due(task);
    task.buffer->enable(task.memory, on);
    // (Where a fault does more than to stop it, a replay has to know.)
    task.buffer->enable_saving(task.memory, on && !task.shuns_faults());
  }
  task.tracee.resume(way_to_run(task), signal);
}

// The same after a stop that was no event, in the middle of its program.
void Recorder::run_on(RecordedTask& task, int signal) {
  task.state = State::kRunning;
  task.went_on = true;
  let_run(task, signal);
}

// A fault on the way into the code: the program steps itself, has its stack nowhere, or has taken
// its own right to write away. It is at the jump again then, with its own instruction there.
bool Recorder::led_back(RecordedTask& task) {
  user_regs_struct registers = task.tracee.registers();
  const std::uint64_t from = task.buffer->led_from(registers.rip);
  if (from == 0) {
    return false;
  }
  registers.rip = from;
  task.tracee.set_registers(registers);
  keep_code_as_built(task);
  return true;
}

// A stop of a task that ran: what it has done without one comes first.
void Recorder::empty_buffer(RecordedTask& task, const process::TraceeStop& stop) {
  if (!task.buffer->active() || task.state != State::kRunning || task.in_call || stop.gone() ||
      task.pid != task.buffer->owner()) {
    return;
  }
  // (At the entry of a call it stands at the program's own.)
  const user_regs_struct registers = task.tracee.registers();
  bool inside = stop.event() != PTRACE_EVENT_SECCOMP && task.buffer->executes(registers.rip) &&
                !wants_saving(task, stop);
  if (inside && stop.signal() != 0 && is_synchronous(task.tracee.signal_info())) {
    if (task.buffer->led_from(registers.rip) == 0) {
      throw Error(ErrorCode::kUnsupportedState,
                  "a system call that the recorder had the program make without a stop has faulted")
          .with_hint("record with --no-syscall-buffer");
    }
    inside = false;
  }
  task.buffer->drain(task.memory, inside,
                     [&](const buffer::BufferedCall& call) { record_buffered(task, call); });
  note_small_mappings(task);
}

// A call through the vsyscall page, which the kernel carries out in place of the page's code: it
// has an entry to our filter, and no end. Without the filter nobody would notice.
bool Recorder::calls_vsyscall(RecordedTask& task) {
  constexpr std::uint64_t kPageOfCalls = 0xffffffffff600000; // VSYSCALL_ADDR of asm/vsyscall.h
  if (task.tracee.registers().rip - kPageOfCalls >= kPage) {
    return false;
  }
  run_on(task);
  return true;
}

// Fills `registers` with those that the program had at an entry of the buffer; of a call, behind
// it.
void Recorder::take_buffered(const buffer::CallEntry& entry, user_regs_struct& registers) {
  const buffer::SavedRegisters& saved = entry.registers;
  registers.r15 = saved.r15;
  registers.r14 = saved.r14;
  registers.r13 = saved.r13;
  registers.r12 = saved.r12;
  registers.rbp = saved.rbp;
  registers.rbx = saved.rbx;
  registers.r11 = saved.flags;
  registers.r10 = saved.r10;
  registers.r9 = saved.r9;
  registers.r8 = saved.r8;
  registers.rax = static_cast<std::uint64_t>(-ENOSYS); // as at every entry
  registers.rcx = saved.rip;
  registers.rdx = saved.rdx;
  registers.rsi = saved.rsi;
  registers.rdi = saved.rdi;
  registers.orig_rax = entry.number;
  registers.rip = saved.rip;
  registers.eflags = saved.flags;
  registers.rsp = entry.rsp;
  registers.ds = entry.ds;
  registers.es = entry.es;
  registers.fs = entry.fs;
  registers.gs = entry.gs;
  if (entry.fs_base != 0 || entry.gs_base != 0) {
    registers.fs_base = entry.fs_base;
    registers.gs_base = entry.gs_base;
  }
}

void Recorder::record_buffered(RecordedTask& task, const buffer::BufferedCall& call) {
  const buffer::CallEntry& entry = *call.entry;
  if (entry.number == buffer::kSavedState) {
    record_saved_state(task, call);
    return;
  }
  if (entry.number == buffer::kIdentified) {
    record_cpuid(task, call);
    return;
  }
  trace::EventData& event = writer_->begin(trace::EventKind::kSystemCall, task);
  user_regs_struct& registers = task.boundary;
  take_buffered(entry, registers);
  event.registers = registers;
  event.result = entry.result;
  buffered_digest_.reset();
  const bool shown = call.file != nullptr && show_object(call);
  for (const buffer::BufferedCall::Piece& piece : call.pieces) {
    if (shown) { // which has what is behind its end already
      const std::uint64_t size = std::min<std::uint64_t>(piece.bytes.size(), call.file->size);
      event.shared.back().data = event.append(piece.bytes.first(size));
    } else if (piece.written) {
      event.memory.push_back({piece.address, event.append(piece.bytes)});
    } else if (!overlaps_written(call, piece)) {
      event.inputs.push_back({piece.address, piece.bytes.size()});
      buffered_digest_.update(piece.bytes);
    }
  }
  if (!event.inputs.empty()) {
    event.input_digest = buffered_digest_.digest();
  }
  writer_->write();
  registers.rax = static_cast<std::uint64_t>(entry.result);
  if (entry.number == SYS_mmap || entry.number == SYS_munmap) {
    note_small_mapping(call, shown);
  }
  if (entry.number == SYS_set_tid_address) {
    task.clear_tid = entry.registers.rdi;
  }
  if (entry.number == SYS_set_robust_list && entry.result == 0) {
    task.robust_list = entry.registers.rdi;
  }
  if ((entry.number == SYS_openat || entry.number == SYS_open) && entry.result >= 0 &&
      !call.pieces.empty()) {
    const std::span<const std::byte> path = call.pieces.front().bytes;
    const std::string_view text(reinterpret_cast<const char*>(path.data()), path.size() - 1);
    serves_files_ = serves_files_ || text == "/dev/fuse";
    if (text.ends_with("mem")) {
      note_memory_opened(task, entry.result);
    }
  }
}

void Recorder::record_cpuid(RecordedTask& task, const buffer::BufferedCall& call) {
  buffer::CpuidFacts facts;
  if (call.pieces.size() != 1 || call.pieces[0].bytes.size() != sizeof facts) {
    throw Error(ErrorCode::kInternal, "an entry of the buffer is not what its code writes");
  }
  std::memcpy(&facts, call.pieces[0].bytes.data(), sizeof facts);
  trace::EventData& event = writer_->begin(trace::EventKind::kTrap, task);
  event.instruction = schema::TrappedInstruction::CPUID;
  user_regs_struct& registers = task.boundary;
  take_buffered(*call.entry, registers);
  registers.rax = static_cast<std::uint64_t>(call.entry->result);
  registers.rcx = facts.rcx;
  registers.r11 = facts.r11;
  registers.orig_rax = ~std::uint64_t{0};
  registers.rip = task.buffer->instead_before(call.entry->registers.rip);
  event.registers = registers;
  registers.rip = call.entry->registers.rip;
  registers.rax = facts.eax;
  registers.rbx = facts.ebx;
  registers.rcx = facts.ecx;
  registers.rdx = facts.edx;
  event.registers_after = registers;
  writer_->write();
}

// Has a task that stands in the code of the area go back to its program, in a stop between two
// instructions; in a signal-delivery stop, the signal is discarded. With `group_stop` it is in one
// afterwards, too. Returns whether it has made a call meanwhile, behind which it stands now.
bool Recorder::leave_buffer(RecordedTask& task, bool group_stop) {
  buffer::CallBuffer& buffer = *task.buffer;
  user_regs_struct registers = task.tracee.registers();
  if (const std::uint64_t from = buffer.led_from(registers.rip); from != 0) {
    registers.rip = from;
    task.tracee.set_registers(registers);
    return false;
  }
  if (!buffer.executes(registers.rip)) {
    if (buffer.goes_on_to(registers.rip) && registers.rcx == registers.rip) {
      registers.rcx = buffer::CallBuffer::former_rcx(task.memory);
      task.tracee.set_registers(registers);
    }
    return false;
  }
  const std::uint64_t mask = task.tracee.signal_mask();
  bool stop_discarded = false;
  const bool runs = !buffer::CallBuffer::returns(registers.rip);
  if (runs) {
    buffer.want_leaving(task.memory, true);
    if (registers.rip == buffer::address_of_made_call() &&
        trace::is_restart(static_cast<std::int64_t>(registers.rax))) {
      registers.orig_rax = ~std::uint64_t{0}; // the program is to make it
      task.tracee.set_registers(registers);
    }
    task.tracee.set_signal_mask(process::kAllSignals);
    const auto ended = [&] {
      return Error(ErrorCode::kProcessGone,
                   "process " + std::to_string(task.pid) + " ended meanwhile");
    };
    for (;;) {
      task.tracee.resume(PTRACE_CONT);
      const process::TraceeStop now = task.tracee.wait();
      if (now.gone()) {
        throw ended();
      }
      if (now.event() == PTRACE_EVENT_SECCOMP) {
        break;
      }
      stop_discarded = stop_discarded || now.signal() == SIGSTOP;
    }
    registers = task.tracee.registers();
    if (registers.rip != buffer::address_of_leaving()) {
      throw Error(ErrorCode::kInternal,
                  "the code that makes calls was not left where it should be");
    }
    buffer.want_leaving(task.memory, false);
    if (group_stop) {
      // From the entry of a call that is not made into the stop that all of its process are in.
      registers.orig_rax = ~std::uint64_t{0};
      task.tracee.set_registers(registers);
      task.tracee.interrupt();
      task.tracee.resume(PTRACE_CONT);
      if (task.tracee.wait().gone()) {
        throw ended();
      }
    }
  }
  buffer.drain(task.memory, false,
               [&](const buffer::BufferedCall& call) { record_buffered(task, call); });
  note_small_mappings(task);
  bool made = false;
  registers = buffer.program_registers(task.memory, registers, made);
  task.tracee.set_registers(registers);
  if (runs) {
    task.tracee.set_signal_mask(mask);
  }
  if (stop_discarded) {
    ::syscall(SYS_tkill, task.tid, SIGSTOP);
  }
  return made;
}

// Whoever reads /proc/PID/mem may find code that it knows.
void Recorder::note_memory_opened(const RecordedTask& task, std::int64_t fd) {
  if (RecordedTask* owner =
          owner_of_memory(process::proc_path(task.tid, "fd/" + std::to_string(fd)))) {
    keep_code_as_built(*owner);
  }
}

// What becomes known, or untrue, of descriptors by a call that has ended.
void Recorder::note_descriptors(RecordedTask& task, std::int64_t result) {
  if (!filtered_ || (result < 0 && result >= kLastError)) {
    return;
  }
  if (task.call.number == SYS_open || task.call.number == SYS_openat ||
      task.call.number == SYS_openat2) {
    note_memory_opened(task, result);
    return;
  }
  buffer::CallBuffer& buffer = *task.buffer;
  if (!buffer.active()) {
    return;
  }
  if (task.pid != buffer.owner()) {
    return;
  }
  const trace::SystemCall& call = task.call;
  switch (call.number) {
  case SYS_close:
    buffer.set_descriptor(task.memory, call[0] & 0xffffffff, 0, 0, 0);
    return;
  case SYS_dup2:
  case SYS_dup3:
    buffer.set_descriptor(task.memory, static_cast<std::uint64_t>(result), 0, 0, 0);
    return;
  case SYS_close_range:
    buffer.clear_descriptors(task.memory);
    if ((call[2] & 2) != 0) { // CLOSE_RANGE_UNSHARE
      buffer.give_up_descriptors(task.memory);
    }
    return;
  case SYS_unshare:
    if ((call[0] & CLONE_FILES) != 0) {
      buffer.give_up_descriptors(task.memory);
    }
    return;
  default:
    break;
  }
  const int fd = buffer::descriptor_of(call);
  if (fd < 0 || buffer.descriptor(static_cast<std::uint64_t>(fd)) != 0) {
    return;
  }
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  const std::uint8_t kind = kind_of_descriptor(task, static_cast<std::uint64_t>(fd), device, inode);
  buffer.set_descriptor(task.memory, static_cast<std::uint64_t>(fd), kind, device, inode);
}

std::uint8_t Recorder::kind_of_descriptor(const RecordedTask& task, std::uint64_t fd,
                                          std::uint64_t& device, std::uint64_t& inode) {
  const std::string path = process::proc_path(task.tid, "fd/" + std::to_string(fd));
  struct stat status;
  struct statfs system;
  if (::stat(path.c_str(), &status) != 0 ||
      (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) ||
      ::statfs(path.c_str(), &system) != 0 ||
      !buffer::is_plain_file_system(static_cast<std::uint64_t>(system.f_type))) {
    return buffer::kOther;
  }
  device = status.st_dev;
  inode = status.st_ino;
  std::uint8_t kind = buffer::kRegular;
  if (S_ISREG(status.st_mode) && files_.find(status) == nullptr) {
    // What goes to the recorder's own output is recorded as such.
    bool own = false;
    for (const int output : {1, 2}) {
      own = own || ::syscall(SYS_kcmp, task.tid, ::getpid(), KCMP_FILE, fd, output) == 0;
    }
    kind = own ? kind : static_cast<std::uint8_t>(kind | buffer::kWritable);
  }
  return kind;
}

void Recorder::forbid_buffered_writes(std::uint64_t device, std::uint64_t inode) {
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (task->tracee.attached() && task->buffer->active()) {
      task->buffer->forbid_writing(task->memory, device, inode);
    }
  }
}

// Before a call. The program is not to see our filter, which also keeps the kernel from its strict
// mode (seccomp(2): a mode cannot be changed); and what the area or the ways to it would be in the
// way of has its own way.
void Recorder::prepare_confinement(RecordedTask& task) {
  if (!filtered_) {
    return;
  }
  const trace::SystemCall& call = task.call;
  if (task.strict && call.number != SYS_read && call.number != SYS_write &&
      call.number != SYS_exit && call.number != SYS_rt_sigreturn) {
    ::syscall(SYS_tgkill, task.pid, task.tid, SIGKILL);
    return;
  }
  if (!task.has_filter) {
    const bool strict =
        call.number == SYS_prctl
            ? call[0] == PR_SET_SECCOMP && call[1] == SECCOMP_MODE_STRICT
            : call.number == SYS_seccomp && (call[0] & 0xffffffff) == SECCOMP_SET_MODE_STRICT;
    if (strict) {
      const bool valid = call.number == SYS_prctl || (call[1] == 0 && call[2] == 0);
      task.strict = valid;
      answer(task, valid ? 0 : -EINVAL, "");
      return;
    }
    if (call.number == SYS_prctl && call[0] == PR_GET_SECCOMP) {
      answer(task, 0, "");
      return;
    }
  }
  if (call.number == SYS_process_vm_readv) {
    if (RecordedTask* other = scheduler_.find(static_cast<pid_t>(call[0]))) {
      keep_code_as_built(*other);
    }
    return;
  }
  if (took_privileges_ && !task.forgoes_privileges && call.number == SYS_prctl &&
      call[0] == PR_GET_NO_NEW_PRIVS && (call[1] | call[2] | call[3] | call[4]) == 0) {
    answer(task, 0, "");
    return;
  }
  buffer::CallBuffer& buffer = *task.buffer;
  if (!buffer.active()) {
    return;
  }
  std::uint64_t start = call[0];
  std::uint64_t length = align_up(call[1], kPage);
  if (trace::call_row(call).made != trace::Made::kNothing) {
    buffer.forget_mappings(task.memory);
  }
  switch (call.number) {
  case SYS_mmap:
    if ((call[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == 0) {
      return;
    }
    break;
  case SYS_mremap:
    if ((call[3] & MREMAP_FIXED) != 0 &&
        buffer.meets(call[4], call[4] + align_up(call[2], kPage))) {
      keep_code_as_built(task);
      return;
    }
    buffer.put_back(task.memory, start, start + length);
    break;
  case SYS_mprotect:
  case SYS_pkey_mprotect:
    buffer.put_back(task.memory, start, start + length); // what stays code is led again
    break;
  case SYS_munmap:
  case SYS_madvise:
    break;
  case SYS_shmat: {
    if ((call[2] & SHM_REMAP) == 0) {
      return;
    }
    shmid_ds segment{};
    if (::shmctl(static_cast<int>(call[0]), IPC_STAT, &segment) != 0) {
      return; // whoever may attach it may read
    }
    start = call[1];
    length = align_up(segment.shm_segsz, kPage);
    break;
  }
  default:
    return;
  }
  if (length != 0 && buffer.meets(start, start + length)) {
    keep_code_as_built(task);
  }
}

// After it.
void Recorder::note_confinement(RecordedTask& task, std::int64_t result) {
  const trace::SystemCall& call = task.call;
  if (call.number == SYS_prctl && call[0] == PR_SET_NO_NEW_PRIVS && result == 0) {
    task.forgoes_privileges = true;
  }
  const bool filter =
      call.number == SYS_prctl
          ? call[0] == PR_SET_SECCOMP && call[1] == SECCOMP_MODE_FILTER
          : call.number == SYS_seccomp && (call[0] & 0xffffffff) == SECCOMP_SET_MODE_FILTER;
  if (!filter || result < 0) {
    return;
  }
  keep_code_as_built(task);
  task.has_filter = true;
  if (call.number == SYS_seccomp && (call[1] & SECCOMP_FILTER_FLAG_TSYNC) != 0) {
    for (const auto& [tid, other] : scheduler_.tasks()) {
      other->has_filter = other->has_filter || other->pid == task.pid;
    }
  }
}

} // namespace rrpcp::replay
