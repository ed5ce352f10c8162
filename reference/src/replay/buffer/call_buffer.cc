#include "replay/buffer/call_buffer.h"

#include "base/bytes.h"
#include "replay/buffer/call_shapes.h"
#include "rrpcp/error.h"
#include "trace/system_call.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <sys/auxv.h>

extern const char __start_rrpcp_calls[] __attribute__((visibility("hidden")));
extern const char __stop_rrpcp_calls[] __attribute__((visibility("hidden")));
extern "C" {
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_enter[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_made[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_left[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_returning[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_returned[];
}

namespace rrpcp::replay::buffer {

namespace {

constexpr std::uint64_t kBridgeSize = 48; // of a call site
constexpr std::uint64_t kMoreBridges = 0x10000;
constexpr unsigned long kReadsBases = 2; // HWCAP2_FSGSBASE of asm/hwcap2.h
constexpr std::uint64_t kStackTop = kControl + offsetof(Control, stack) + kStackSize;

std::uint64_t address_of(const char* in_library) {
  return kArea + static_cast<std::uint64_t>(in_library - __start_rrpcp_calls);
}

template <typename T> void put(process::RemoteMemory& memory, std::size_t field, const T& value) {
  memory.write(kControl + field, std::as_bytes(std::span(&value, 1)));
}

class Code {
public:
  void add(std::initializer_list<unsigned> bytes) {
    for (const unsigned byte : bytes) {
      bytes_.push_back(static_cast<std::byte>(byte));
    }
  }
  void add(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void add_word(std::uint64_t value) { add(std::as_bytes(std::span(&value, 1))); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

private:
  std::vector<std::byte> bytes_;
};

// Sets the number as the program does, and goes to the area's code. What it changes, that puts
// back.
std::vector<std::byte> bridge(std::span<const std::byte> replaced, std::uint64_t behind) {
  Code code;
  code.add(replaced);
  code.add({0x48, 0xa3}); // mov %rax, number
  code.add_word(kControl + offsetof(Control, number));
  code.add({0x48, 0xb8}); // mov $control, %rax
  code.add_word(kControl);
  code.add({0x48, 0x89, 0x48, offsetof(Control, rcx)}); // mov %rcx, rcx(%rax)
  code.add({0x48, 0xb9});                               // mov $behind, %rcx
  code.add_word(behind);
  code.add({0xff, 0x60, offsetof(Control, entry)}); // jmp *entry(%rax)
  return code.bytes();
}

// jmp rel32, or rel8 where `length` is 2.
std::vector<std::byte> jump(std::uint64_t from, std::uint64_t to, std::size_t length) {
  Code code;
  const auto distance = static_cast<std::int64_t>(to - from - length);
  if (length == 2) {
    code.add({0xeb, static_cast<unsigned>(distance & 0xff)});
    return code.bytes();
  }
  code.add({0xe9});
  const auto relative = static_cast<std::int32_t>(distance);
  code.add(std::as_bytes(std::span(&relative, 1)));
  return code.bytes();
}

bool reaches(std::uint64_t from, std::uint64_t to) {
  const auto distance = static_cast<std::int64_t>(to - from);
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max() - 0x20000;
  return distance > -kMost && distance < kMost;
}

} // namespace

std::uint64_t address_of_made_call() {
  return address_of(rrpcp_calls_made);
}

std::uint64_t address_of_leaving() {
  return address_of(rrpcp_calls_left);
}

void CallBuffer::fill(process::RemoteMemory& memory, pid_t owner) {
  const std::span<const char> code(__start_rrpcp_calls, __stop_rrpcp_calls);
  if (code.size() > kCodeSize) {
    throw Error(ErrorCode::kInternal, "the code that makes calls has no room");
  }
  memory.write(kArea, std::as_bytes(code));
  Control head{};
  head.entry = address_of(rrpcp_calls_enter);
  head.stack_top = kStackTop;
  head.reads_bases = (::getauxval(AT_HWCAP2) & kReadsBases) != 0 ? 1 : 0;
  const auto& shapes = call_shapes();
  std::copy(shapes.begin(), shapes.end(), std::begin(head.shapes));
  memory.write(kControl, std::as_bytes(std::span(&head, 1)).first(offsetof(Control, stack)));
  *this = CallBuffer();
  owner_ = owner;
  active_ = true;
  bridges_.push_back({kArea + kCodeSize, kBridgesSize, 0});
}

CallBuffer::Bridges*
CallBuffer::bridges_near(std::uint64_t address,
                         const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more) {
  for (Bridges& bridges : bridges_) {
    if (bridges.size - bridges.used >= kBridgeSize && reaches(address, bridges.start)) {
      return &bridges;
    }
  }
  const std::uint64_t start = more(address, kMoreBridges);
  if (start == 0 || !reaches(address, start)) {
    return nullptr;
  }
  bridges_.push_back({start, kMoreBridges, 0});
  return &bridges_.back();
}

void CallBuffer::lead(
    process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end, std::uint64_t offset,
    const std::vector<CallSite>& sites,
    const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more) {
  for (const CallSite& site : sites) {
    const std::uint64_t address = start + (site.offset - offset);
    const std::uint64_t filling =
        site.filling == CallSite::kNowhere ? address : start + (site.filling - offset);
    constexpr std::uint64_t kLong = 5;
    if (site.offset < offset || address + site.length + trace::kSyscallLength > end ||
        filling < start || filling + kLong > end || leads_.count(address) != 0) {
      continue;
    }
    Bridges* bridges = bridges_near(address, more);
    if (bridges == nullptr) {
      return;
    }
    Lead lead;
    lead.original.resize(site.length);
    std::array<std::byte, trace::kSyscallLength> call{};
    lead.call = address + site.length;
    if (memory.read_some(address, lead.original) != lead.original.size() ||
        memory.read_some(lead.call, call) != call.size() || call[0] != std::byte{0x0f} ||
        call[1] != std::byte{0x05}) {
      continue; // the program has changed it
    }
    const std::uint64_t to = bridges->start + bridges->used;
    bridges->used += kBridgeSize;
    lead.bridge = to;
    memory.write(to, bridge(lead.original, lead.call + trace::kSyscallLength));
    if (filling != address) {
      Lead pad;
      pad.original.resize(kLong);
      memory.read(filling, pad.original);
      pad.bridge = to;
      pad.written = jump(filling, to, kLong);
      memory.write(filling, pad.written);
      leads_[filling] = std::move(pad);
    }
    lead.written = jump(address, filling != address ? filling : to, site.length);
    memory.write(address, lead.written);
    leads_[address] = std::move(lead);
  }
}

void CallBuffer::put_back(process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end) {
  // (From above: a short jump before the filling that it goes to, or the other way round, is the
  // same here: no task of the program runs.)
  for (auto at = leads_.lower_bound(start); at != leads_.end() && at->first < end; ++at) {
    std::vector<std::byte> found(at->second.written.size());
    if (memory.read_some(at->first, found) == found.size() && found == at->second.written) {
      memory.write(at->first, at->second.original);
    }
  }
  forget(start, end);
}

void CallBuffer::forget(std::uint64_t start, std::uint64_t end) {
  leads_.erase(leads_.lower_bound(start), leads_.lower_bound(end));
}

bool CallBuffer::leads_from(std::uint64_t start, std::uint64_t end) const {
  const auto at = leads_.lower_bound(start);
  return at != leads_.end() && at->first < end;
}

void CallBuffer::abandon(process::RemoteMemory& memory) {
  if (active_) {
    put_back(memory, 0, ~std::uint64_t{0});
    active_ = false;
  }
}

bool CallBuffer::meets(std::uint64_t start, std::uint64_t end) const {
  const auto overlaps = [&](std::uint64_t first, std::uint64_t size) {
    return first < end && start < first + size;
  };
  return overlaps(kArea, kAreaSize) ||
         std::any_of(bridges_.begin(), bridges_.end(),
                     [&](const Bridges& bridges) { return overlaps(bridges.start, bridges.size); });
}

bool CallBuffer::executes(std::uint64_t rip) const {
  return active_ && ((rip >= kArea && rip < kArea + kExecutableSize) || meets(rip, rip + 1));
}

std::uint64_t CallBuffer::led_from(std::uint64_t rip) const {
  if (!active_) {
    return 0;
  }
  const auto filling = leads_.find(rip);
  const bool fills = filling != leads_.end() && filling->second.call == 0;
  if (!fills && !executes(rip)) {
    return 0;
  }
  for (const auto& [address, lead] : leads_) {
    if (lead.call != 0 &&
        (fills ? lead.bridge == filling->second.bridge
               : rip == lead.bridge || rip == lead.bridge + lead.original.size())) {
      return address;
    }
  }
  return 0;
}

bool CallBuffer::goes_on_to(std::uint64_t rip) const {
  auto at = leads_.lower_bound(rip);
  return active_ && at != leads_.begin() && (--at)->second.call == rip;
}

void CallBuffer::enable(process::RemoteMemory& memory, bool on) {
  if (active_ && on != enabled_) {
    put<std::uint32_t>(memory, offsetof(Control, enabled), on ? 1 : 0);
    enabled_ = on;
  }
}

void CallBuffer::drain(process::RemoteMemory& memory, bool inside,
                       const std::function<void(const BufferedCall&)>& sink) {
  if (!active_) {
    return;
  }
  const auto damaged = [] {
    return Error(ErrorCode::kUnsupportedState,
                 "the program has overwritten memory that the recorder keeps in it")
        .with_hint("record with --no-syscall-buffer");
  };
  const auto used = memory.read_value<std::uint64_t>(kControl + offsetof(Control, used));
  if (used > kEntriesSize || used < read_from_) {
    throw damaged();
  }
  std::vector<std::uint64_t> words((used - read_from_) / sizeof(std::uint64_t));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(words));
  if (!bytes.empty()) {
    memory.read(kControl + offsetof(Control, entries) + read_from_, bytes);
  }
  read_from_ = inside ? used : 0;
  if (used != 0 && !inside) {
    put<std::uint64_t>(memory, offsetof(Control, used), 0);
  }
  BufferedCall call;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::span<std::byte> rest = bytes.subspan(at);
    if (rest.size() < sizeof(CallEntry)) {
      throw damaged();
    }
    call.entry = reinterpret_cast<const CallEntry*>(rest.data());
    call.pieces.clear();
    std::size_t next = sizeof(CallEntry);
    for (unsigned i = 0; i < call.entry->pieces; ++i) {
      if (rest.size() - next < sizeof(CallPiece)) {
        throw damaged();
      }
      const auto* piece = reinterpret_cast<const CallPiece*>(rest.data() + next);
      next += sizeof(CallPiece);
      if (rest.size() - next < align_up(piece->length, 8)) {
        throw damaged();
      }
      call.pieces.push_back(
          {piece->address, piece->written != 0, rest.subspan(next, piece->length)});
      next += align_up(piece->length, 8);
    }
    if (next != call.entry->size) {
      throw damaged();
    }
    const CallShape& shape = call_shapes()[call.entry->number % kNumbers];
    if (shape.check == CallCheck::kClose && call.entry->result == 0) {
      descriptors_[call.entry->registers.rdi % kDescriptors] = 0;
      writable_.erase(call.entry->registers.rdi % kDescriptors);
    }
    sink(call);
    at += next;
  }
}

void CallBuffer::want_leaving(process::RemoteMemory& memory, bool on) {
  put<std::uint32_t>(memory, offsetof(Control, leave), on ? 1 : 0);
}

bool CallBuffer::returns(std::uint64_t rip) {
  return rip >= address_of(rrpcp_calls_returning) && rip < address_of(rrpcp_calls_returned);
}

user_regs_struct CallBuffer::program_registers(process::RemoteMemory& memory,
                                               const user_regs_struct& registers) {
  std::array<std::byte, offsetof(Control, descriptors)> head{};
  memory.read(kControl, head);
  Control control{};
  std::memcpy(static_cast<void*>(&control), head.data(), head.size());
  const auto saved = memory.read_value<SavedRegisters>(kStackTop - sizeof(SavedRegisters));
  user_regs_struct program = registers;
  program.r15 = saved.r15;
  program.r14 = saved.r14;
  program.r13 = saved.r13;
  program.r12 = saved.r12;
  program.rbp = saved.rbp;
  program.rbx = saved.rbx;
  program.r10 = saved.r10;
  program.r9 = saved.r9;
  program.r8 = saved.r8;
  program.rdx = saved.rdx;
  program.rsi = saved.rsi;
  program.rdi = saved.rdi;
  program.eflags = saved.flags;
  program.rsp = control.rsp;
  program.orig_rax = ~std::uint64_t{0};
  const bool noted = registers.rip != address_of(rrpcp_calls_returning);
  if (noted ? control.done != 0 : (registers.rax & 0xffffffff) != 0) {
    program.rax = static_cast<std::uint64_t>(control.result);
    program.rcx = saved.rip;
    program.r11 = saved.flags;
    program.rip = saved.rip;
  } else {
    program.rax = control.number;
    program.rcx = control.rcx;
    program.r11 = control.r11;
    program.rip = saved.rip - trace::kSyscallLength;
  }
  return program;
}

std::uint64_t CallBuffer::former_rcx(process::RemoteMemory& memory) {
  return memory.read_value<std::uint64_t>(kControl + offsetof(Control, rcx));
}

void CallBuffer::set_descriptor(process::RemoteMemory& memory, std::uint64_t fd, std::uint8_t bits,
                                std::uint64_t device, std::uint64_t inode) {
  if (!active_ || fd >= kDescriptors || (bits != 0 && !keeps_descriptors_) ||
      descriptors_[fd] == bits) {
    return;
  }
  put<std::uint8_t>(memory, offsetof(Control, descriptors) + fd, bits);
  descriptors_[fd] = bits;
  writable_.erase(fd);
  if ((bits & kWritable) != 0) {
    writable_[fd] = {device, inode};
  }
}

void CallBuffer::clear_descriptors(process::RemoteMemory& memory) {
  if (active_) {
    descriptors_.fill(0);
    writable_.clear();
    put(memory, offsetof(Control, descriptors), descriptors_);
  }
}

void CallBuffer::give_up_descriptors(process::RemoteMemory& memory) {
  if (active_ && keeps_descriptors_) {
    clear_descriptors(memory);
    keeps_descriptors_ = false;
  }
}

void CallBuffer::forbid_writing(process::RemoteMemory& memory, std::uint64_t device,
                                std::uint64_t inode) {
  std::vector<std::uint64_t> found;
  for (const auto& [fd, file] : writable_) {
    if (file == std::pair(device, inode)) {
      found.push_back(fd);
    }
  }
  for (const std::uint64_t fd : found) {
    set_descriptor(memory, fd, descriptors_[fd] & ~kWritable & 0xff, 0, 0);
  }
}

} // namespace rrpcp::replay::buffer
