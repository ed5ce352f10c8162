#include "process/call_gate.h"

#include "base/bytes.h"
#include "base/page.h"
#include "process/interrupted_call.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <utility>

namespace rrpcp::process {

namespace {

constexpr std::size_t kGateSize = 192;
constexpr std::size_t kDistance = 64;

// Offsets of the entries into the code.
[[maybe_unused]] constexpr std::size_t kPlainCall = 0;
constexpr std::size_t kProcessCall = 4;
constexpr std::size_t kHealing = 25;
// Offsets of what the code loads: nine registers, ten bytes apart, where it jumps to, and the mask.
constexpr std::size_t kFirstLoad = 57;
constexpr std::size_t kLoadDistance = 10;
constexpr std::size_t kJumpTarget = 151;
constexpr std::size_t kMask = 159;

// Assembles machine code byte by byte.
class Code {
public:
  void bytes(std::initializer_list<unsigned> values) {
    for (unsigned value : values) {
      code_.push_back(static_cast<std::byte>(value));
    }
  }
  void word32(std::uint32_t value) { little_endian(value, 4); }
  void word64(std::uint64_t value) { little_endian(value, 8); }
  // mov REGISTER, imm64, by the two bytes of its opcode.
  void load(unsigned prefix, unsigned opcode, std::uint64_t value) {
    bytes({prefix, opcode});
    word64(value);
  }
  std::size_t size() const { return code_.size(); }
  void patch32(std::size_t at, std::uint32_t value) { store_le(std::span(code_), at, value); }
  const std::vector<std::byte>& code() const { return code_; }

private:
  void little_endian(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) {
      code_.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
  }

  std::vector<std::byte> code_;
};

// The code. It uses no stack and changes neither flags nor vector registers; what it clobbers it
// loads again.
std::vector<std::byte> assemble(const user_regs_struct& stopped, std::uint64_t mask) {
  const user_regs_struct to = to_go_on(stopped, false);
  Code code;
  code.bytes({0x0f, 0x05}); //  0 syscall
  code.bytes({0xeb, kHealing - 4});
  code.bytes({0x0f, 0x05});          //  4 syscall: clone
  code.bytes({0x48, 0x89, 0xc1});    //    mov rcx, rax
  code.bytes({0xe3, 2});             //    jrcxz: the new process
  code.bytes({0xeb, kHealing - 13}); //    jmp healing
  code.bytes({0xb8});                // 13 mov eax, exit; its status does not matter
  code.word32(SYS_exit);
  code.bytes({0xbf}); // 18 mov edi, 0
  code.word32(0);
  code.bytes({0x0f, 0x05}); // 23 syscall
  code.bytes({0xb8});       // 25 mov eax, rt_sigprocmask
  code.word32(SYS_rt_sigprocmask);
  code.bytes({0xbf}); //    mov edi, SIG_SETMASK
  code.word32(2);
  code.bytes({0x48, 0x8d, 0x35}); // lea rsi, [rip + mask]
  const std::size_t mask_reference = code.size();
  code.word32(0);
  code.bytes({0xba}); //    mov edx, 0
  code.word32(0);
  code.bytes({0x41, 0xba}); // mov r10d, 8
  code.word32(8);
  code.bytes({0x0f, 0x05}); // syscall
  code.load(0x48, 0xb8, to.rax);
  code.load(0x48, 0xbf, to.rdi);
  code.load(0x48, 0xbe, to.rsi);
  code.load(0x48, 0xba, to.rdx);
  code.load(0x49, 0xba, to.r10);
  code.load(0x49, 0xb8, to.r8);
  code.load(0x49, 0xb9, to.r9);
  code.load(0x48, 0xb9, to.rcx);
  code.load(0x49, 0xbb, to.r11);
  code.bytes({0xff, 0x25}); // jmp [rip]
  code.word32(0);
  code.word64(to.rip);
  code.patch32(mask_reference, static_cast<std::uint32_t>(code.size() - (mask_reference + 4)));
  code.word64(mask);
  return code.code();
}

// Whether these are the bytes of a gate that was not closed, because its owner was killed.
bool is_left_behind(std::span<const std::byte> bytes) {
  std::vector<std::byte> code = assemble(user_regs_struct{}, 0);
  return std::equal(code.begin(), code.begin() + kHealing, bytes.begin());
}

} // namespace

std::optional<CallGate> CallGate::open(pid_t pid, const std::vector<ProcMapping>& mappings) {
  auto vdso = std::find_if(mappings.begin(), mappings.end(), [](const ProcMapping& mapping) {
    constexpr std::uint32_t kReadExecute = PROT_READ | PROT_EXEC;
    return mapping.name == "[vdso]" && mapping.protection == kReadExecute;
  });
  std::array<std::byte, kPage> page;
  if (vdso == mappings.end() || RemoteMemory(pid).read_some(vdso->end - kPage, page) != kPage) {
    return std::nullopt;
  }
  auto gate = std::span(page).last(kGateSize);
  // Keep a distance from the last byte that is not zero: what ends there may end in zeros.
  auto distance = std::span(page).last(kGateSize + kDistance).first(kDistance);
  if (!is_zero(distance) || (!is_zero(gate) && !is_left_behind(gate))) {
    return std::nullopt;
  }
  return CallGate(pid, vdso->end - kGateSize, !is_zero(gate));
}

CallGate::CallGate(CallGate&& other) noexcept
    : memory_(std::move(other.memory_)), address_(std::exchange(other.address_, 0)),
      written_(other.written_) {}

CallGate& CallGate::operator=(CallGate&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(address_, other.address_);
  std::swap(written_, other.written_);
  return *this;
}

CallGate::~CallGate() {
  try {
    close();
  } catch (const Error&) {
    // The process is gone, or the bytes stay: nobody looks at them.
  }
}

void CallGate::arm(const user_regs_struct& registers, std::uint64_t mask) {
  std::vector<std::byte> code = assemble(registers, mask);
  code.resize(kGateSize);
  written_ = true;
  memory_.write(address_, code);
}

bool CallGate::contains(const user_regs_struct& registers) const {
  return registers.rip - address_ < kGateSize;
}

bool CallGate::recover(Tracee& thread) {
  user_regs_struct registers = thread.registers();
  std::array<std::byte, kGateSize> code;
  if (!contains(registers) || memory_.read_some(address_, code) != code.size() ||
      !is_left_behind(code)) {
    return false;
  }
  std::size_t at = kFirstLoad;
  for (auto* loaded :
       {&registers.rax, &registers.rdi, &registers.rsi, &registers.rdx, &registers.r10,
        &registers.r8, &registers.r9, &registers.rcx, &registers.r11}) {
    *loaded = load_le<std::uint64_t>(code, at);
    at += kLoadDistance;
  }
  registers.rip = load_le<std::uint64_t>(code, kJumpTarget);
  registers.orig_rax = ~std::uint64_t{0};
  thread.set_signal_mask(load_le<std::uint64_t>(code, kMask));
  thread.set_registers(registers);
  return true;
}

std::uint64_t CallGate::process_call() const {
  return address_ + kProcessCall;
}

std::uint64_t CallGate::healing() const {
  return address_ + kHealing;
}

void CallGate::close() {
  if (std::uint64_t address = std::exchange(address_, 0); address != 0 && written_) {
    memory_.write(address, std::array<std::byte, kGateSize>{});
  }
}

} // namespace rrpcp::process
