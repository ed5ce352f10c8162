#include "replay/buffer/call_buffer.h"

#include "base/bytes.h"
#include "replay/buffer/call_shapes.h"
#include "replay/buffer/plain_instruction.h"
#include "rrpcp/error.h"
#include "trace/system_call.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <sys/auxv.h>

extern const char __start_rrpcp_calls[] __attribute__((visibility("hidden")));
extern const char __stop_rrpcp_calls[] __attribute__((visibility("hidden")));
extern "C" {
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_begin[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_enter[];
[[gnu::visibility("hidden")]] extern const char rrpcp_saves_enter[];
[[gnu::visibility("hidden")]] extern const char rrpcp_cpuid_enter[];
[[gnu::visibility("hidden")]] extern const char rrpcp_saves_store[];
[[gnu::visibility("hidden")]] extern const char rrpcp_saves_refused[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_made[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_left[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_returning[];
[[gnu::visibility("hidden")]] extern const char rrpcp_calls_returned[];
}

namespace rrpcp::replay::buffer {

namespace {

constexpr std::uint64_t kBridgeSize = 64; // of a site
constexpr std::uint64_t kMoreBridges = 0x10000;
constexpr std::size_t kJumpSize = 5;     // jmp rel32
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

void add_store_rax(Code& code, std::size_t field) { // mov %rax, field
  code.add({0x48, 0xa3});
  code.add_word(kControl + field);
}

// What the program has changed last is rax. What this changes, the area's code puts back.
void add_entry(Code& code, std::uint64_t behind, std::size_t entry) {
  code.add({0x48, 0xb8}); // mov $control, %rax
  code.add_word(kControl);
  code.add({0x48, 0x89, 0x48, offsetof(Control, rcx)}); // mov %rcx, rcx(%rax)
  code.add({0x48, 0xb9});                               // mov $behind, %rcx
  code.add_word(behind);
  code.add({0xff, 0x60, static_cast<unsigned>(entry)}); // jmp *entry(%rax)
}

// Sets the number as the program does, and goes to the area's code.
std::vector<std::byte> bridge(std::span<const std::byte> replaced, std::uint64_t behind,
                              std::size_t entry = offsetof(Control, entry)) {
  Code code;
  code.add(replaced);
  add_store_rax(code, offsetof(Control, number));
  add_entry(code, behind, entry);
  return code.bytes();
}

// The operand of an XSAVEC: the bytes of ModRM and what follows, and REX.X and REX.B. Nothing where
// it depends on where the instruction is, or on more than general registers.
struct Operand {
  unsigned rex = 0;
  std::span<const std::byte> bytes;
};

std::optional<Operand> plain_operand(std::span<const std::byte> code) {
  Operand operand;
  std::size_t at = 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned>(code[i]); };
  if (code.size() < kJumpSize) {
    return std::nullopt;
  }
  if ((byte(0) & ~7u) == 0x40) { // without REX.W
    operand.rex = byte(0) & 3;
    at = 1;
  }
  if (byte(at) != 0x0f || byte(at + 1) != 0xc7 || (byte(at + 2) & 0xc7) == 5) { // rip
    return std::nullopt;
  }
  operand.bytes = code.subspan(at + 2);
  return operand;
}

// The same for an XSAVEC.
std::vector<std::byte> saving_bridge(const Operand& operand, std::uint64_t behind) {
  Code code;
  add_store_rax(code, offsetof(Control, number));
  code.add({0x48 | operand.rex, 0x8d}); // lea operand, %rax
  const unsigned mode = static_cast<unsigned>(operand.bytes[0]);
  code.add({mode & ~0x38u});
  code.add(operand.bytes.subspan(1));
  add_store_rax(code, offsetof(Control, stored_at));
  add_entry(code, behind, offsetof(Control, saving_entry));
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

std::uint64_t address_of_refusal() {
  return address_of(rrpcp_saves_refused);
}

std::uint64_t address_of_saving() {
  return address_of(rrpcp_saves_store);
}

void CallBuffer::fill(process::RemoteMemory& memory, pid_t owner, const StateLayout& layout,
                      bool maps) {
  const std::span<const char> code(__start_rrpcp_calls, __stop_rrpcp_calls);
  if (code.size() > kCodeSize || address_of(rrpcp_calls_begin) != kArea) {
    throw Error(ErrorCode::kInternal, "the code that makes calls is not laid out as it says");
  }
  memory.write(kArea, std::as_bytes(code));
  // (The stack and the entries, which the most of it is, are zeros in the new mapping.)
  const std::unique_ptr<Control, decltype(&std::free)> control(
      static_cast<Control*>(std::calloc(1, sizeof(Control))), &std::free);
  if (!control) {
    throw std::bad_alloc();
  }
  Control& head = *control;
  head.entry = address_of(rrpcp_calls_enter);
  head.saving_entry = address_of(rrpcp_saves_enter);
  head.cpuid_entry = address_of(rrpcp_cpuid_enter);
  head.saved_size = layout.size;
  std::copy(layout.components.begin(), layout.components.end(), std::begin(head.components));
  head.stack_top = kStackTop;
  head.learns = 1;
  head.maps = maps ? 1 : 0;
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

namespace {

// What sites have in memory, `syscall` included, one after the other. False where not all of it can
// be read.
bool read_sites(process::RemoteMemory& memory, const std::vector<iovec>& places,
                std::vector<std::byte>& bytes) {
  constexpr std::size_t kAtOnce = 512; // below IOV_MAX
  std::size_t done = 0;
  try {
    for (std::size_t i = 0; i < places.size(); i += kAtOnce) {
      const std::span<const iovec> some =
          std::span(places).subspan(i, std::min(kAtOnce, places.size() - i));
      std::size_t size = 0;
      for (const iovec& place : some) {
        size += place.iov_len;
      }
      bytes.resize(done + size);
      memory.read_ranges(some, std::span(bytes).subspan(done));
      done += size;
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kProcessGone) {
      throw;
    }
    return false;
  }
  return true;
}

// Code that is written to a process in as few pieces as it lies in.
class PendingCode {
public:
  explicit PendingCode(process::RemoteMemory& memory) : memory_(memory) {}

  void add(std::uint64_t address, std::vector<std::byte> code, std::size_t room) {
    code.resize(room);
    if (address != start_ + bytes_.size()) {
      write();
      start_ = address;
    }
    bytes_.insert(bytes_.end(), code.begin(), code.end());
  }
  void write() {
    memory_.write(start_, bytes_);
    bytes_.clear();
  }

private:
  process::RemoteMemory& memory_;
  std::uint64_t start_ = 0;
  std::vector<std::byte> bytes_;
};

} // namespace

void CallBuffer::lead(
    process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end, std::uint64_t offset,
    const std::vector<CallSite>& sites,
    const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more) {
  std::vector<const CallSite*> there;
  std::vector<iovec> places;
  for (const CallSite& site : sites) {
    const std::uint64_t address = start + (site.offset - offset);
    const std::uint64_t filling =
        site.filling == CallSite::kNowhere ? address : start + (site.filling - offset);
    if (site.to == CallSite::To::kCall && site.offset >= offset &&
        address + site.length + trace::kSyscallLength <= end && filling >= start &&
        filling + kJumpSize <= end && leads_.count(address) == 0) {
      there.push_back(&site);
      places.push_back(
          {reinterpret_cast<void*>(address), std::size_t{site.length} + trace::kSyscallLength});
    }
  }
  std::vector<std::byte> found;
  if (there.empty() || !read_sites(memory, places, found)) {
    return;
  }
  PendingCode bridging(memory);
  std::vector<std::uint64_t> led;
  std::span<const std::byte> rest(found);
  for (const CallSite* site : there) {
    const std::uint64_t address = start + (site->offset - offset);
    const std::span<const std::byte> original = rest.first(site->length);
    const std::span<const std::byte> call = rest.subspan(site->length, trace::kSyscallLength);
    rest = rest.subspan(site->length + trace::kSyscallLength);
    std::uint32_t number = 0;
    if (call[0] != std::byte{0x0f} || call[1] != std::byte{0x05} ||
        (site->length > kJumpSize && !is_plain(original, &number))) {
      continue; // the program has changed it
    }
    Bridges* bridges = bridges_near(address, more);
    if (bridges == nullptr) {
      break;
    }
    Lead lead;
    lead.original.assign(original.begin(), original.end());
    lead.call = address + site->length;
    const std::uint64_t to = bridges->start + bridges->used;
    bridges->used += kBridgeSize;
    lead.bridge = to;
    bridging.add(to, bridge(original, lead.call + trace::kSyscallLength), kBridgeSize);
    std::uint64_t next = to;
    if (site->filling != CallSite::kNowhere) {
      const std::uint64_t filling = start + (site->filling - offset);
      Lead pad;
      pad.original.resize(kJumpSize);
      memory.read(filling, pad.original);
      pad.bridge = to;
      pad.written = jump(filling, to, kJumpSize);
      leads_[filling] = std::move(pad);
      led.push_back(filling);
      next = filling;
    }
    lead.written = jump(address, next, std::min<std::size_t>(site->length, kJumpSize));
    leads_[address] = std::move(lead);
    led.push_back(address);
  }
  bridging.write();
  for (const std::uint64_t address : led) {
    memory.write(address, leads_[address].written);
  }
}

void CallBuffer::lead_saving(
    process::RemoteMemory& memory, std::uint64_t address, std::span<const std::byte> code,
    const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more) {
  const std::optional<Operand> operand = plain_operand(code);
  if (!active_ || !operand || leads_.count(address) != 0) {
    return;
  }
  Bridges* bridges = bridges_near(address, more);
  if (bridges == nullptr) {
    return;
  }
  Lead lead;
  lead.original.resize(kJumpSize);
  memory.read(address, lead.original);
  lead.saving.assign(code.begin(), code.end());
  const std::uint64_t to = bridges->start + bridges->used;
  lead.bridge = to;
  bridges->used += kBridgeSize;
  instead_[address + code.size()] = address;
  memory.write(to, saving_bridge(*operand, address + code.size()));
  lead.written = jump(address, to, kJumpSize);
  memory.write(address, lead.written);
  leads_[address] = std::move(lead);
}

void CallBuffer::lead_cpuid(
    process::RemoteMemory& memory, std::uint64_t address, std::span<const std::byte> code,
    const std::function<std::uint64_t(std::uint64_t near, std::uint64_t size)>& more) {
  if (!active_ || leads_.count(address) != 0) {
    return;
  }
  Bridges* bridges = bridges_near(address, more);
  if (bridges == nullptr) {
    return;
  }
  constexpr std::size_t kCpuidLength = 2;
  const std::uint64_t cpuid = address + code.size();
  Lead lead;
  lead.original.assign(code.begin(), code.end());
  lead.cpuid = true;
  lead.bridge = bridges->start + bridges->used;
  bridges->used += kBridgeSize;
  instead_[cpuid + kCpuidLength] = cpuid;
  memory.write(lead.bridge, bridge(code, cpuid + kCpuidLength, offsetof(Control, cpuid_entry)));
  lead.written = jump(address, lead.bridge, kJumpSize);
  memory.write(address, lead.written);
  leads_[address] = std::move(lead);
}

std::uint64_t CallBuffer::instead_before(std::uint64_t behind) const {
  if (const auto at = instead_.find(behind); at != instead_.end()) {
    return at->second;
  }
  throw Error(ErrorCode::kInternal, "the program was led from an instruction that is not known");
}

void CallBuffer::show_saving(process::RemoteMemory& memory, std::uint64_t address, bool led) {
  const auto at = leads_.find(address);
  if (active_ && at != leads_.end() && !at->second.saving.empty()) {
    memory.write(address, led ? std::span<const std::byte>(at->second.written) : at->second.saving);
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
  const bool fills = filling != leads_.end() && filling->second.fills();
  if (!fills && !executes(rip)) {
    return 0;
  }
  for (const auto& [address, lead] : leads_) {
    if (lead.fills()) {
      continue;
    }
    if (fills) {
      if (lead.bridge == filling->second.bridge) {
        return address;
      }
    } else if (!lead.saving.empty()) {
      if (rip == lead.bridge || rip == lead.bridge + lead.original.size()) {
        return address;
      }
    } else if (rip - lead.bridge <= lead.original.size()) {
      return address + (rip - lead.bridge);
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

void CallBuffer::enable_saving(process::RemoteMemory& memory, bool on) {
  if (active_ && on != saves_) {
    put<std::uint32_t>(memory, offsetof(Control, saves), on ? 1 : 0);
    saves_ = on;
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
    call.file = nullptr;
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
      if (piece->kind == kPieceFile) {
        if (piece->length != sizeof(FileFacts)) {
          throw damaged();
        }
        call.file = reinterpret_cast<const FileFacts*>(rest.data() + next);
      } else {
        call.pieces.push_back(
            {piece->address, piece->kind == kPieceWritten, rest.subspan(next, piece->length)});
      }
      next += align_up(piece->length, 8);
    }
    if (next != call.entry->size) {
      throw damaged();
    }
    note_call(memory, call);
    sink(call);
    at += next;
  }
}

// What a call has changed of what is known in the area, too.
void CallBuffer::note_call(process::RemoteMemory& memory, const BufferedCall& call) {
  if (call.entry->number >= kNumbers || call.entry->result < 0) {
    return;
  }
  const CallCheck check = call_shapes()[call.entry->number].check;
  if (check == CallCheck::kClose) {
    descriptors_[call.entry->registers.rdi % kDescriptors] = 0;
    writable_.erase(call.entry->registers.rdi % kDescriptors);
  } else if (check == CallCheck::kNoTruncation && call.file != nullptr) {
    const std::uint64_t fd = static_cast<std::uint64_t>(call.entry->result) % kDescriptors;
    descriptors_[fd] = static_cast<std::uint8_t>(call.file->bits);
    if ((call.file->bits & kWritable) != 0) {
      writable_[fd] = {call.file->device, call.file->inode};
    }
  } else if (check == CallCheck::kPrivate && call.file != nullptr) {
    put<std::uint32_t>(memory, offsetof(Control, has_mapped), 0);
  }
}

void CallBuffer::want_leaving(process::RemoteMemory& memory, bool on) {
  put<std::uint32_t>(memory, offsetof(Control, leave), on ? 1 : 0);
}

bool CallBuffer::returns(std::uint64_t rip) {
  return rip >= address_of(rrpcp_calls_returning) && rip < address_of(rrpcp_calls_returned);
}

user_regs_struct CallBuffer::program_registers(process::RemoteMemory& memory,
                                               const user_regs_struct& registers,
                                               bool& made) const {
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
  made = registers.rip == address_of_saving()                 ? false
         : registers.rip != address_of(rrpcp_calls_returning) ? control.done != 0
                                                              : (registers.rax & 0xffffffff) != 0;
  if (control.led_from != kFromCall) {
    program.rax = control.number;
    program.rcx = control.rcx;
    program.r11 = control.r11;
    program.rip = made ? saved.rip : instead_before(saved.rip);
  } else if (made) {
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
    put<std::uint32_t>(memory, offsetof(Control, learns), 0);
  }
}

void CallBuffer::forget_mappings(process::RemoteMemory& memory) {
  if (active_) {
    put<std::uint32_t>(memory, offsetof(Control, keeps_mappings), 0);
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
