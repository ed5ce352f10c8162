#include "replay/travel/meeting.h"

#include "process/page_scan.h"
#include "process/proc_maps.h"
#include "replay/travel/counted_run.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <sys/mman.h>

namespace rrpcp::replay {

namespace {

constexpr std::uint32_t kNoteXstate = 0x202; // NT_X86_XSTATE
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kRedZone = 128;
constexpr std::uint64_t kComparedAtOnce = 256 << 10;

// Without what a debugger leaves in the flags (TF, RF) and what tells of system calls.
user_regs_struct own_registers(user_regs_struct registers) {
  constexpr unsigned long long kDebuggerFlags = (1u << 8) | (1u << 16);
  registers.eflags &= ~kDebuggerFlags;
  registers.orig_rax = 0;
  return registers;
}

// But for its word about which components are in use (XSTATE_BV): one that has its initial value
// may be taken for used.
std::optional<std::vector<std::byte>> extended_registers(process::Tracee& tracee) {
  constexpr std::size_t kInUse = 512;
  std::optional<std::vector<std::byte>> area = tracee.register_set(kNoteXstate);
  if (area && area->size() >= kInUse + 8) {
    std::fill_n(area->begin() + kInUse, 8, std::byte{});
  }
  return area;
}

} // namespace

Meeting::Meeting(ReplaySession& session)
    : event_(session.event()), task_(session.runner()),
      registers_(own_registers(session.tracee(task_).registers())),
      extended_(extended_registers(session.tracee(task_))),
      copy_(std::make_unique<SessionCopy>(session)) {}

MetState Meeting::met_state() const {
  return {registers_.rip, numbered_registers(registers_)};
}

bool Meeting::is_here(ReplaySession& session) const {
  return session.event() == event_ && session.runner() == task_ && same_registers(session) &&
         same_memory(session);
}

bool Meeting::same_registers(ReplaySession& session) const {
  process::Tracee& tracee = session.tracee(task_);
  const user_regs_struct registers = own_registers(tracee.registers());
  return std::memcmp(&registers, &registers_, sizeof registers) == 0 &&
         extended_registers(tracee) == extended_;
}

bool Meeting::same_bytes(process::RemoteMemory& other, std::uint64_t start,
                         std::uint64_t end) const {
  process::RemoteMemory own(copy_->task(task_).pid, process::RemoteMemory::Pages::kShared);
  std::vector<std::byte> a(std::min(kComparedAtOnce, end - start));
  std::vector<std::byte> b(a.size());
  for (std::uint64_t at = start; at < end; at += kComparedAtOnce) {
    const std::size_t size = std::min(kComparedAtOnce, end - at);
    const std::size_t read = own.read_some(at, std::span(a).first(size));
    if (other.read_some(at, std::span(b).first(size)) != read) {
      differed_ = at & ~(kPage - 1);
      return false;
    }
    const auto difference = std::mismatch(a.begin(), a.begin() + read, b.begin());
    if (difference.first != a.begin() + read) {
      differed_ = (at + static_cast<std::uint64_t>(difference.first - a.begin())) & ~(kPage - 1);
      return false;
    }
  }
  return true;
}

bool Meeting::same_memory(ReplaySession& session) const {
  const pid_t own = copy_->task(task_).pid;
  const pid_t real = session.real_process(task_);
  process::RemoteMemory other(real, process::RemoteMemory::Pages::kShared);
  const std::uint64_t dead = registers_.rsp - kRedZone; // what lies below, on this stack
  if (differed_ != 0 && !same_bytes(other, differed_, differed_ + kPage)) {
    // (Its first bytes may be dead ones.)
    if (dead < differed_ || dead >= differed_ + kPage ||
        !same_bytes(other, dead, differed_ + kPage)) {
      return false;
    }
  }
  for (const process::ProcMapping& mapping : process::read_mappings(own)) {
    if ((mapping.protection & PROT_WRITE) == 0) {
      continue;
    }
    const std::uint64_t from = mapping.contains(dead) ? dead : mapping.start;
    std::vector<process::TouchedRange> touched;
    for (pid_t pid : {own, real}) {
      process::PageScanner(pid).scan(
          from & ~(kPage - 1), mapping.end,
          [&](const process::TouchedRange& range) { touched.push_back(range); });
    }
    std::sort(touched.begin(), touched.end(),
              [](const process::TouchedRange& a, const process::TouchedRange& b) {
                return a.start < b.start;
              });
    std::uint64_t done = from;
    for (const process::TouchedRange& range : touched) {
      const std::uint64_t start = std::max(range.start, done);
      if (start < range.end && !same_bytes(other, start, range.end)) {
        return false;
      }
      done = std::max(done, range.end);
    }
  }
  return true;
}

} // namespace rrpcp::replay
