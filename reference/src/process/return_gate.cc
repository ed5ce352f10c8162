#include "process/return_gate.h"

#include "base/bytes.h"
#include "base/page.h"
#include "process/interrupted_call.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cpuid.h>
#include <cstring>
#include <elf.h>
#include <initializer_list>
#include <span>
#include <string>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <utility>

namespace rrpcp::process {

namespace {

constexpr std::uint64_t kNoChild = 0x7fffffff;

// mov $15, %rax; syscall, as the C libraries have it, and the same with %eax.
constexpr std::array<unsigned char, 9> kLongSigreturn = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 5};
constexpr std::array<unsigned char, 7> kShortSigreturn = {0xb8, 0x0f, 0, 0, 0, 0x0f, 5};
constexpr std::array<unsigned char, 3> kCallAndReturn = {0x0f, 5, 0xc3};

// Behind the page of results: what marks the memory as ours, the frames, and vector registers.
constexpr std::array<char, 16> kMark = {'r', 'r', 'p', 'c', 'p', ' ', 'w', 'a',
                                        'y', ' ', 'b', 'a', 'c', 'k', '1', '\n'};
constexpr std::uint64_t kMarkOffset = kPage;
// Of each frame's context; the eight bytes in front of it are its return address.
constexpr std::uint64_t kWayBack = kPage + 0x40;
constexpr std::uint64_t kWayBackByCall = kPage + 0x1c0;
constexpr std::uint64_t kWayOut = kPage + 0x340;
constexpr std::uint64_t kVectorState = kPage + 0x4c0; // 64 bytes aligned, for XRSTOR

// The kernel's struct ucontext of asm/ucontext.h: the C library's begins so too.
constexpr std::size_t kContextSize = offsetof(ucontext_t, uc_sigmask) + sizeof(std::uint64_t);
static_assert(offsetof(ucontext_t, uc_mcontext) == 40 && kContextSize == 304);
static_assert(kWayBack + kContextSize <= kWayBackByCall - 8);
static_assert(kWayOut + kContextSize <= kVectorState);

// uc_flags of asm/ucontext.h.
constexpr std::uint64_t kHasXstate = 1;
constexpr std::uint64_t kHasStackSegment = 2;
constexpr std::uint64_t kStrictStackSegment = 4;

// asm/sigcontext.h: what says that an XSAVE area follows the legacy area.
constexpr std::uint32_t kXstateMagic1 = 0x46505853;
constexpr std::uint32_t kXstateMagic2 = 0x46505845;
constexpr std::size_t kSoftwareBytes = 464;
constexpr std::size_t kXstateBv = 512;
constexpr std::size_t kXsaveHeaderEnd = 576;

// Where each component of an XSAVE area ends. (In a virtual machine the instruction takes long.)
std::array<std::size_t, 63> component_ends() {
  std::array<std::size_t, 63> ends{};
  for (unsigned component = 2; component < ends.size(); ++component) {
    unsigned size = 0;
    unsigned offset = 0;
    unsigned flags = 0;
    unsigned none = 0;
    __cpuid_count(0xd, component, size, offset, flags, none);
    ends[component] = std::size_t{offset} + size;
  }
  return ends;
}

// The size of the part of an XSAVE area in which the components of `features` lie.
std::size_t used_size(std::uint64_t features, std::size_t whole) {
  static const std::array<std::size_t, 63> kEnds = component_ends();
  std::size_t end = kXsaveHeaderEnd;
  for (unsigned component = 2; component < kEnds.size(); ++component) {
    if ((features >> component & 1) != 0) {
      end = std::max(end, kEnds[component]);
    }
  }
  return std::min(end, whole);
}

std::size_t largest_area() {
  unsigned enabled = 0;
  unsigned possible = 0;
  unsigned none = 0;
  __cpuid_count(0xd, 0, none, enabled, possible, none);
  return enabled;
}

ucontext_t make_context(const user_regs_struct& registers, std::uint64_t mask) {
  ucontext_t context;
  std::memset(&context, 0, sizeof context);
  context.uc_flags = kHasStackSegment | kStrictStackSegment;
  context.uc_stack.ss_flags = 7; // no such flags: the alternate stack stays as it is
  gregset_t& to = context.uc_mcontext.gregs;
  auto set = [&](int index, std::uint64_t value) { to[index] = static_cast<greg_t>(value); };
  set(REG_R8, registers.r8);
  set(REG_R9, registers.r9);
  set(REG_R10, registers.r10);
  set(REG_R11, registers.r11);
  set(REG_R12, registers.r12);
  set(REG_R13, registers.r13);
  set(REG_R14, registers.r14);
  set(REG_R15, registers.r15);
  set(REG_RDI, registers.rdi);
  set(REG_RSI, registers.rsi);
  set(REG_RBP, registers.rbp);
  set(REG_RBX, registers.rbx);
  set(REG_RDX, registers.rdx);
  set(REG_RAX, registers.rax);
  set(REG_RCX, registers.rcx);
  set(REG_RSP, registers.rsp);
  set(REG_RIP, registers.rip);
  set(REG_EFL, registers.eflags);
  set(REG_CSGSFS, (registers.cs & 0xffff) | (registers.ss & 0xffff) << 48);
  std::memcpy(&context.uc_sigmask, &mask, sizeof mask);
  return context;
}

void take_context(const ucontext_t& context, user_regs_struct& to) {
  const gregset_t& from = context.uc_mcontext.gregs;
  auto get = [&](int index) { return static_cast<std::uint64_t>(from[index]); };
  to.r8 = get(REG_R8);
  to.r9 = get(REG_R9);
  to.r10 = get(REG_R10);
  to.r11 = get(REG_R11);
  to.r12 = get(REG_R12);
  to.r13 = get(REG_R13);
  to.r14 = get(REG_R14);
  to.r15 = get(REG_R15);
  to.rdi = get(REG_RDI);
  to.rsi = get(REG_RSI);
  to.rbp = get(REG_RBP);
  to.rbx = get(REG_RBX);
  to.rdx = get(REG_RDX);
  to.rax = get(REG_RAX);
  to.rcx = get(REG_RCX);
  to.rsp = get(REG_RSP);
  to.rip = get(REG_RIP);
  to.eflags = get(REG_EFL);
  to.orig_rax = ~std::uint64_t{0};
}

template <typename Pattern>
std::uint64_t find_bytes(std::span<const std::byte> bytes, const Pattern& pattern) {
  auto found = std::search(bytes.begin(), bytes.end(), pattern.begin(), pattern.end(),
                           [](std::byte a, unsigned char b) { return a == std::byte{b}; });
  return found == bytes.end() ? ~std::uint64_t{0}
                              : static_cast<std::uint64_t>(found - bytes.begin());
}

} // namespace

std::optional<ReturnCode> ReturnCode::find(pid_t pid, const std::vector<ProcMapping>& mappings) {
  constexpr std::uint64_t kPiece = 64 << 10;
  constexpr std::uint64_t kOverlap = kLongSigreturn.size() - 1;
  constexpr std::uint32_t kNeeded = PROT_READ | PROT_EXEC;
  std::vector<const ProcMapping*> usable;
  for (const ProcMapping& mapping : mappings) {
    if ((mapping.protection & kNeeded) == kNeeded && mapping.name.starts_with('/')) {
      usable.push_back(&mapping);
    }
  }
  // The dynamic linker is small, and has them.
  std::stable_sort(usable.begin(), usable.end(), [](const ProcMapping* a, const ProcMapping* b) {
    return a->length() < b->length();
  });
  RemoteMemory memory(pid);
  std::vector<std::byte> buffer(kPiece);
  ReturnCode code;
  for (const ProcMapping* mapping : usable) {
    for (std::uint64_t at = mapping->start; at < mapping->end; at += kPiece - kOverlap) {
      auto piece = std::span(buffer).first(std::min<std::uint64_t>(kPiece, mapping->end - at));
      piece = piece.first(memory.read_some(at, piece));
      constexpr std::uint64_t kNone = ~std::uint64_t{0};
      if (code.sigreturn == 0) {
        if (std::uint64_t found = find_bytes(piece, kLongSigreturn); found != kNone) {
          code.sigreturn = at + found;
          code.sigreturn_length = kLongSigreturn.size();
        } else if (found = find_bytes(piece, kShortSigreturn); found != kNone) {
          code.sigreturn = at + found;
          code.sigreturn_length = kShortSigreturn.size();
        }
      }
      if (code.call_and_return == 0) {
        if (std::uint64_t found = find_bytes(piece, kCallAndReturn); found != kNone) {
          code.call_and_return = at + found;
        }
      }
      if (code.sigreturn != 0 && code.call_and_return != 0) {
        return code;
      }
    }
  }
  return std::nullopt;
}

std::optional<ReturnGate> ReturnGate::open(pid_t pid, const std::vector<ProcMapping>& mappings,
                                           const ReturnCode& code, std::uint64_t stack_pointer) {
  constexpr std::uint32_t kUsable = PROT_READ | PROT_WRITE;
  const std::uint64_t size = align_up(kVectorState + largest_area() + 64, kPage);
  auto stack = std::find_if(mappings.begin(), mappings.end(),
                            [](const ProcMapping& mapping) { return mapping.name == "[stack]"; });
  if (stack == mappings.end() || (stack->protection & kUsable) != kUsable || stack->shared ||
      stack->inode != 0 || stack->length() < 2 * size) {
    return std::nullopt;
  }
  RemoteMemory memory(pid);
  std::array<std::byte, kLongSigreturn.size()> bytes;
  auto is_there = [&](std::uint64_t address, auto pattern) {
    auto there = std::span(bytes).first(pattern.size());
    return memory.read_some(address, there) == there.size() && find_bytes(there, pattern) == 0;
  };
  if (!is_there(code.call_and_return, kCallAndReturn) ||
      !(code.sigreturn_length == kLongSigreturn.size()
            ? is_there(code.sigreturn, kLongSigreturn)
            : is_there(code.sigreturn, kShortSigreturn))) {
    return std::nullopt; // another program was executed meanwhile
  }
  ReturnGate gate(pid, code, stack->start, size, true);
  if (gate.is_left_behind()) {
    return gate;
  }
  gate.written_ = false;
  // A stack that reaches down there, or near it, is in use.
  constexpr std::uint64_t kDistance = 16384;
  std::vector<std::byte> content(size);
  if ((stack->contains(stack_pointer) && stack_pointer < stack->start + size + kDistance) ||
      memory.read_some(stack->start, content) != size || !is_zero(content)) {
    gate.start_ = 0;
    return std::nullopt;
  }
  return gate;
}

ReturnGate::ReturnGate(ReturnGate&& other) noexcept
    : memory_(std::move(other.memory_)), code_(other.code_), start_(std::exchange(other.start_, 0)),
      size_(other.size_), written_(other.written_), left_(other.left_),
      left_child_(other.left_child_) {}

ReturnGate& ReturnGate::operator=(ReturnGate&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(code_, other.code_);
  std::swap(start_, other.start_);
  std::swap(size_, other.size_);
  std::swap(written_, other.written_);
  std::swap(left_, other.left_);
  std::swap(left_child_, other.left_child_);
  return *this;
}

ReturnGate::~ReturnGate() {
  try {
    close();
  } catch (const Error&) {
    // The process is gone.
  }
}

bool ReturnGate::is_left_behind() {
  std::array<char, kMark.size()> mark{};
  return memory_.read_some(start_ + kMarkOffset, std::as_writable_bytes(std::span(mark))) ==
             mark.size() &&
         mark == kMark;
}

bool ReturnGate::recover(Tracee& thread) {
  user_regs_struct registers = thread.registers();
  const bool at_return = registers.rip - code_.sigreturn <= code_.sigreturn_length;
  const bool at_call = registers.rip - code_.call_and_return <= kSyscallLength;
  if ((!at_return && !at_call) || registers.rsp - start_ >= size_ || !is_left_behind()) {
    return false;
  }
  ucontext_t context;
  memory_.read(start_ + kWayBack,
               std::as_writable_bytes(std::span(&context, 1)).first(kContextSize));
  std::uint64_t mask = 0;
  std::memcpy(&mask, &context.uc_sigmask, sizeof mask);
  take_context(context, registers);
  ucontext_t call;
  memory_.read(start_ + kWayBackByCall,
               std::as_writable_bytes(std::span(&call, 1)).first(kContextSize));
  const gregset_t& first = call.uc_mcontext.gregs;
  left_ = {};
  left_child_ = 0;
  if (first[REG_RAX] == SYS_munmap) {
    left_ = {static_cast<std::uint64_t>(first[REG_RDI]),
             static_cast<std::uint64_t>(first[REG_RSI])};
  }
  if (first[REG_RAX] == SYS_wait4 && static_cast<std::uint64_t>(first[REG_RDI]) != kNoChild) {
    left_child_ = static_cast<pid_t>(first[REG_RDI]);
  }
  // In this order: as long as the thread stands before its way back, that sets the mask too.
  thread.set_signal_mask(mask);
  thread.set_registers(registers);
  return true;
}

void ReturnGate::arm(const Tracee& thread, const user_regs_struct& registers, std::uint64_t mask) {
  std::optional<std::vector<std::byte>> vectors = thread.register_set(NT_X86_XSTATE);
  if (!vectors || vectors->size() < kXsaveHeaderEnd) {
    throw Error(ErrorCode::kUnsupportedState, "the kernel does not give the XSAVE area of thread " +
                                                  std::to_string(thread.tid()));
  }
  const auto features = load_le<std::uint64_t>(*vectors, kXstateBv);
  const std::size_t used = used_size(features, vectors->size());
  vectors->resize(used + sizeof kXstateMagic2);
  std::fill_n(vectors->begin() + kSoftwareBytes, kXstateBv - kSoftwareBytes, std::byte{0});
  store_le(std::span(*vectors), kSoftwareBytes, kXstateMagic1);
  store_le(std::span(*vectors), kSoftwareBytes + 4, static_cast<std::uint32_t>(vectors->size()));
  store_le(std::span(*vectors), kSoftwareBytes + 8, features);
  store_le(std::span(*vectors), kSoftwareBytes + 16, static_cast<std::uint32_t>(used));
  store_le(std::span(*vectors), used, kXstateMagic2);

  std::vector<std::byte> bytes(kVectorState - kPage + vectors->size());
  if (bytes.size() > size_ - kPage) {
    throw Error(ErrorCode::kInternal, "an XSAVE area is larger than the processor says");
  }
  auto put = [&](std::uint64_t offset, auto value, std::size_t size) {
    std::memcpy(bytes.data() + (offset - kPage), &value, size);
  };
  auto put_context = [&](std::uint64_t offset, ucontext_t context, bool with_vectors) {
    if (with_vectors) {
      context.uc_flags |= kHasXstate;
      const std::uint64_t address = start_ + kVectorState;
      std::memcpy(&context.uc_mcontext.fpregs, &address, sizeof address);
    }
    put(offset - sizeof code_.sigreturn, code_.sigreturn, sizeof code_.sigreturn);
    put(offset, context, kContextSize);
  };
  put(kMarkOffset, kMark, kMark.size());
  put_context(kWayBack, make_context(to_go_on(registers, true), mask), true);

  user_regs_struct waiting = registers;
  waiting.rax = SYS_wait4;
  waiting.rdi = kNoChild; // until the kernel puts one's id there
  waiting.rsi = 0;
  waiting.rdx = __WALL;
  waiting.r10 = 0;
  waiting.rip = code_.call_and_return;
  waiting.rsp = behind_call(start_ + kWayBack);
  put_context(kWayBackByCall, make_context(waiting, kAllSignals), true);

  user_regs_struct ending = registers;
  ending.rax = SYS_exit;
  ending.rdi = 0;
  ending.rip = code_.call_and_return;
  put_context(kWayOut, make_context(ending, kAllSignals), false);
  std::memcpy(bytes.data() + (kVectorState - kPage), vectors->data(), vectors->size());
  written_ = true;
  memory_.write(start_ + kPage, bytes);
}

std::uint64_t ReturnGate::way_back() const {
  return start_ + kWayBack;
}

std::uint64_t ReturnGate::way_back_by_call() const {
  return start_ + kWayBackByCall;
}

void ReturnGate::unmap_first(std::uint64_t address, std::uint64_t length) {
  set_first_call(SYS_munmap, address, length, 0);
}

void ReturnGate::wait_first() {
  set_first_call(SYS_wait4, kNoChild, 0, __WALL);
}

void ReturnGate::set_first_call(std::uint64_t number, std::uint64_t first, std::uint64_t second,
                                std::uint64_t third) {
  const std::pair<int, std::uint64_t> values[] = {
      {REG_RAX, number}, {REG_RDI, first}, {REG_RSI, second}, {REG_RDX, third}};
  for (const auto& [index, value] : values) {
    const std::uint64_t at = start_ + kWayBackByCall + offsetof(ucontext_t, uc_mcontext) +
                             static_cast<std::uint64_t>(index) * sizeof(greg_t);
    memory_.write(at, std::as_bytes(std::span(&value, 1)));
  }
}

std::uint64_t ReturnGate::way_out() const {
  return start_ + kWayOut;
}

std::uint64_t ReturnGate::child_id() const {
  return start_ + kWayBackByCall + offsetof(ucontext_t, uc_mcontext) + REG_RDI * sizeof(greg_t);
}

void ReturnGate::close() {
  if (std::uint64_t start = std::exchange(start_, 0); start != 0 && written_) {
    memory_.write(start, std::vector<std::byte>(size_));
  }
}

} // namespace rrpcp::process
