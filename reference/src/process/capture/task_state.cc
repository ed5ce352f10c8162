#include "process/capture/task_state.h"

#include "model/signal_info.h"
#include "process/capture/credentials.h"
#include "process/capture/data_bytes.h"
#include "process/capture/task_attributes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <elf.h>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

constexpr std::uint32_t kShadowStackNote = 0x204; // NT_X86_SHSTK, newer than some headers

// Every register set that the kernel has for a 64-bit x86 thread, by number.
constexpr std::array<std::uint32_t, 5> kNoteTypes = {NT_PRSTATUS, NT_PRFPREG, NT_386_IOPERM,
                                                     NT_X86_XSTATE, kShadowStackNote};

// The GDT's slots for set_thread_area(2) on x86-64 (asm/segment.h: GDT_ENTRY_TLS_MIN and MAX).
constexpr int kFirstThreadArea = 12;
constexpr int kLastThreadArea = 14;

void collect_registers(const Tracee& thread, schema::Task::Builder task) {
  std::vector<std::pair<std::uint32_t, std::vector<std::byte>>> sets;
  for (std::uint32_t type : kNoteTypes) {
    if (std::optional<std::vector<std::byte>> set = thread.register_set(type)) {
      sets.emplace_back(type, std::move(*set));
    }
  }
  auto out = task.initRegisters(static_cast<unsigned>(sets.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setNoteType(sets[i].first);
    out[i].setData(as_data(sets[i].second));
  }
}

void collect_thread_areas(const Tracee& thread, schema::Task::Builder task) {
  std::vector<std::array<std::uint32_t, 4>> used;
  for (int entry = kFirstThreadArea; entry <= kLastThreadArea; ++entry) {
    std::optional<std::array<std::uint32_t, 4>> area = thread.thread_area(entry);
    if (!area) {
      return;
    }
    // An empty slot shows as base 0, limit 0, read-execute-only and segment-not-present.
    constexpr std::uint32_t kEmptyFlags = 0x28;
    if ((*area)[1] != 0 || (*area)[2] != 0 || (*area)[3] != kEmptyFlags) {
      used.push_back(*area);
    }
  }
  if (used.empty()) {
    return;
  }
  // struct user_desc of asm/ldt.h: entry_number, base_addr, limit, and bit fields.
  auto out = task.initThreadAreas(static_cast<unsigned>(used.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    const std::uint32_t flags = used[i][3];
    out[i].setEntryNumber(used[i][0]);
    out[i].setBaseAddress(used[i][1]);
    out[i].setLimit(used[i][2]);
    out[i].setSegment32Bit((flags & 1) != 0);
    out[i].setContents(static_cast<std::uint8_t>(flags >> 1 & 3));
    out[i].setReadExecuteOnly((flags & 8) != 0);
    out[i].setLimitInPages((flags & 0x10) != 0);
    out[i].setSegmentNotPresent((flags & 0x20) != 0);
    out[i].setUseable((flags & 0x40) != 0);
    out[i].setLongMode((flags & 0x80) != 0);
    out[i].setReservedBits(flags & 0xffffff00);
  }
}

void collect_rseq(const Tracee& thread, schema::Task::Builder task) {
  if (std::optional<RseqConfiguration> rseq = thread.rseq()) {
    auto out = task.initRseq();
    out.setAddress(rseq->address);
    out.setLength(rseq->length);
    out.setSignature(rseq->signature);
    out.setFlags(rseq->flags);
  }
}

void collect_robust_list(const Tracee& thread, schema::Task::Builder task) {
  std::uint64_t head = 0;
  std::uint64_t length = 0;
  if (::syscall(SYS_get_robust_list, thread.tid(), &head, &length) != 0) {
    throw system_error(errno,
                       "cannot get the robust list of thread " + std::to_string(thread.tid()));
  }
  if (head != 0) {
    task.setRobustListHead(head);
    task.setRobustListLength(length);
  }
}

// What only the thread itself can ask.
void collect_by_calls(RemoteCalls& calls, ScratchMemory& scratch, schema::Task::Builder task) {
  // struct stack_t of sigaltstack(2).
  struct Stack {
    std::uint64_t address;
    std::uint32_t flags;
    std::uint32_t padding;
    std::uint64_t size;
  };
  scratch.map(calls);
  calls.require("asking for the alternate signal stack", SYS_sigaltstack, 0, scratch.address());
  Stack stack = scratch.read<Stack>();
  if ((stack.flags & SS_DISABLE) == 0) {
    auto out = task.initAlternateStack();
    out.setAddress(stack.address);
    // SS_ONSTACK says where the thread is now; that follows from its stack pointer.
    out.setFlags(stack.flags);
    out.setSize(stack.size);
  }
  calls.require("asking for clear_child_tid", SYS_prctl, PR_GET_TID_ADDRESS, scratch.address(), 0,
                0, 0);
  task.setClearChildTid(scratch.read<std::uint64_t>());
}

} // namespace

std::vector<SignalInfoBytes> complete_queue(std::vector<SignalInfoBytes> queued,
                                            std::uint64_t pending) {
  for (int signal = 1; signal <= 64; ++signal) {
    if ((pending >> (signal - 1) & 1) == 0) {
      continue;
    }
    bool present = std::any_of(queued.begin(), queued.end(), [&](const SignalInfoBytes& info) {
      return info.si_signo == signal;
    });
    if (!present) {
      SignalInfoBytes info{};
      info.si_signo = signal;
      info.si_code = SI_USER; // what the kernel will say of it too
      queued.push_back(info);
    }
  }
  return queued;
}

void set_signals(capnp::List<schema::SignalInfo>::Builder out,
                 const std::vector<SignalInfoBytes>& signals) {
  for (unsigned i = 0; i < out.size(); ++i) {
    static_assert(sizeof(SignalInfoBytes) == kSiginfoSize);
    decode_siginfo(std::span<const std::byte, kSiginfoSize>(
                       reinterpret_cast<const std::byte*>(&signals[i]), kSiginfoSize),
                   out[i]);
  }
}

namespace {

// What is seen of all kinds of tasks.
void collect_seen(Tracee& thread, const ProcStatus& status, schema::Task::Builder task) {
  task.setTid(status.thread_in_namespace);
  task.setName(as_data(std::as_bytes(std::span(status.name))));
  collect_registers(thread, task);
  task.setSignalMask(thread.signal_mask());
  collect_rseq(thread, task);
  collect_robust_list(thread, task);
  collect_thread_areas(thread, task);
}

// What those have that make calls. `more` is asked meanwhile.
void collect_common(Tracee& thread, const ProcStatus& status, const CallSite& site,
                    ScratchMemory& scratch, schema::Task::Builder task,
                    const std::function<void(RemoteCalls&)>& more) {
  collect_seen(thread, status, task);
  RemoteCalls calls = site.begin(thread);
  collect_by_calls(calls, scratch, task);
  more(calls);
  calls.finish();
}

} // namespace

void collect_supervised_task(Tracee& thread, const ProcStatus& status, const CallSite& site,
                             ScratchMemory& scratch, schema::Task::Builder task) {
  collect_common(thread, status, site, scratch, task, [](RemoteCalls&) {});
}

void collect_executed_task(Tracee& thread, const ProcStatus& status, schema::Task::Builder task) {
  collect_seen(thread, status, task);
}

void collect_task(Tracee& thread, const ProcStatus& status, const CallSite& site,
                  ScratchMemory& scratch, schema::Task::Builder task,
                  const std::function<void(RemoteCalls&)>& more) {
  std::vector<SignalInfoBytes> pending =
      complete_queue(thread.queued_signals(SignalQueue::kThread), status.pending);
  if (!pending.empty()) {
    set_signals(task.initPendingSignals(static_cast<unsigned>(pending.size())), pending);
  }
  schema::TaskAttributes::Builder attributes = task.initAttributes();
  collect_seen_attributes(thread, status, attributes);
  if (status.thread_ids.size() > 1) {
    auto ids = task.initNamespaceTids(static_cast<unsigned>(status.thread_ids.size()));
    for (unsigned i = 0; i < ids.size(); ++i) {
      ids.set(i, status.thread_ids[i]);
    }
  }
  collect_common(thread, status, site, scratch, task, [&](RemoteCalls& calls) {
    collect_asked_attributes(calls, scratch, status, attributes);
    collect_credentials(status, ask_securebits(calls), task.initCredentials());
    more(calls);
    calls.require("asking for the parent-death signal", SYS_prctl, PR_GET_PDEATHSIG,
                  scratch.address(), 0, 0, 0);
    task.setParentDeathSignal(scratch.read<std::int32_t>());
  });
}

} // namespace rrpcp::process::capture
