// Registers and memory.

#include "gdbserver/server.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <sys/mman.h>
#include <sys/user.h>

namespace rrpcp::gdbserver {

namespace {} // namespace

std::optional<std::vector<std::byte>> Server::register_bytes(std::int32_t tid,
                                                             const RegisterInfo& info) {
  const std::optional<std::vector<std::byte>> set = debuggee_.registers(tid, info.note);
  return set ? RegisterTable::value(info, *set) : std::nullopt;
}

std::string Server::read_registers(const ThreadId& thread) {
  const std::int32_t tid = task_of(thread);
  if (tid == 0) {
    throw BadPacket();
  }
  std::map<std::uint32_t, std::optional<std::vector<std::byte>>> sets;
  std::string text;
  for (const RegisterInfo& info : registers_.registers()) {
    auto set = sets.find(info.note);
    if (set == sets.end()) {
      set = sets.emplace(info.note, debuggee_.registers(tid, info.note)).first;
    }
    const auto bytes = set->second ? RegisterTable::value(info, *set->second) : std::nullopt;
    text += bytes ? to_hex(*bytes) : std::string(2 * info.bytes(), 'x');
  }
  return text;
}

std::string Server::read_register(Words words, const ThreadId& thread) {
  const RegisterInfo* info = registers_.find(words.hexadecimal());
  words.expect_end();
  const std::int32_t tid = task_of(thread);
  if (info == nullptr || tid == 0) {
    throw BadPacket();
  }
  const auto bytes = register_bytes(tid, *info);
  return bytes ? to_hex(*bytes) : std::string(2 * info->bytes(), 'x');
}

// What changes nothing needs no diversion: debuggers write back what they have read.
void Server::change_register(std::int32_t tid, const RegisterInfo& info,
                             std::span<const std::byte> bytes) {
  const auto before = register_bytes(tid, info);
  if (!before) {
    throw BadPacket();
  }
  if (std::equal(before->begin(), before->end(), bytes.begin(), bytes.end())) {
    return;
  }
  if (!debuggee_.diverted() && info.name == "orig_rax") {
    return; // gdb forbids restarts of a system call so; here none is made
  }
  enter_diversion();
  address_changed_ = address_changed_ || info.name == "rip";
  std::optional<std::vector<std::byte>> set = debuggee_.registers(tid, info.note);
  if (!set || !RegisterTable::put(info, bytes, *set)) {
    throw BadPacket();
  }
  debuggee_.set_registers(tid, info.note, *set);
}

std::string Server::write_register(Words words, const ThreadId& thread) {
  const RegisterInfo* info = registers_.find(words.hexadecimal());
  words.expect("=");
  const std::int32_t tid = task_of(thread);
  const std::string bytes = words.hexadecimal_bytes();
  if (info == nullptr || tid == 0 || bytes.size() != info->bytes()) {
    throw BadPacket();
  }
  change_register(tid, *info, std::as_bytes(std::span(bytes)));
  return "OK";
}

std::string Server::write_registers(Words words, const ThreadId& thread) {
  const std::int32_t tid = task_of(thread);
  std::string_view digits = words.rest();
  if (tid == 0) {
    throw BadPacket();
  }
  for (const RegisterInfo& info : registers_.registers()) {
    const std::string_view mine = digits.substr(0, 2 * info.bytes());
    if (mine.size() != 2 * info.bytes()) {
      break; // a debugger that knows fewer
    }
    digits.remove_prefix(mine.size());
    if (mine.find_first_not_of('x') == mine.npos) {
      continue;
    }
    const std::optional<std::string> bytes = from_hex(mine);
    if (!bytes) {
      throw BadPacket();
    }
    change_register(tid, info, std::as_bytes(std::span(*bytes)));
  }
  return "OK";
}

std::string Server::read_memory(Words words, bool binary) {
  const std::uint64_t address = words.hexadecimal();
  words.expect(",");
  const std::uint64_t length = words.hexadecimal();
  words.expect_end();
  const std::string prefix = binary && !thread_suffix_ ? "b" : "";
  if (length == 0) {
    return binary && thread_suffix_ ? "OK" : prefix;
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(length, kMostRead)));
  bytes.resize(debuggee_.read_memory(settings_.process, address, bytes));
  if (bytes.empty()) {
    return error(0x0e, "no memory is mapped there");
  }
  if (!binary) {
    return to_hex(bytes);
  }
  return prefix +
         escaped(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::string Server::write_memory(Words words, bool binary) {
  const std::uint64_t address = words.hexadecimal();
  words.expect(",");
  const std::uint64_t length = words.hexadecimal();
  words.expect(":");
  const std::string text = binary ? words.binary_bytes() : words.hexadecimal_bytes();
  if (text.size() != length) {
    throw BadPacket();
  }
  if (text.empty()) {
    return "OK"; // a question whether the packet is known
  }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  std::vector<std::byte> before(bytes.size());
  if (debuggee_.read_memory(settings_.process, address, before) == before.size() &&
      std::equal(before.begin(), before.end(), bytes.begin())) {
    return "OK";
  }
  enter_diversion();
  debuggee_.write_memory(settings_.process, address, bytes);
  return "OK";
}

std::string Server::search_memory(Words words) {
  std::uint64_t address = words.hexadecimal();
  words.expect(";");
  std::uint64_t left = words.hexadecimal();
  words.expect(";");
  const std::string pattern = words.binary_bytes();
  if (pattern.empty()) {
    throw BadPacket();
  }
  constexpr std::size_t kPiece = 1 << 20;
  // Pieces overlap by the pattern's length less one.
  std::vector<std::byte> piece;
  while (left >= pattern.size()) {
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, kPiece + pattern.size())));
    const std::size_t got = debuggee_.read_memory(settings_.process, address, piece);
    const std::string_view text(reinterpret_cast<const char*>(piece.data()), got);
    if (const std::size_t at = text.find(pattern); at != text.npos) {
      return "1," + hex_number(address + at);
    }
    if (got < piece.size() || got == left) {
      return got < piece.size() && got == 0 ? error(0x0e, "no memory is mapped there") : "0";
    }
    const std::size_t step = got - (pattern.size() - 1);
    address += step;
    left -= step;
  }
  return "0";
}

// Makes a system call in the diversion and returns its result: a `syscall` instruction is looked
// for in the code that is mapped and stepped over.
std::uint64_t Server::call_diverted(std::int32_t tid, std::uint64_t number,
                                    std::span<const std::uint64_t> arguments) {
  std::uint64_t site = 0;
  std::vector<std::byte> code;
  for (const TimelineMapping& mapping : debuggee_.mappings(settings_.process)) {
    if ((mapping.protection & PROT_EXEC) == 0 || mapping.name == "[vsyscall]") {
      continue;
    }
    code.resize(static_cast<std::size_t>(
        std::min<std::uint64_t>(mapping.end - mapping.start, std::uint64_t{4} << 20)));
    code.resize(debuggee_.read_memory(settings_.process, mapping.start, code));
    static constexpr std::array<std::byte, 2> kSyscall{std::byte(0x0f), std::byte(0x05)};
    const auto found = std::search(code.begin(), code.end(), kSyscall.begin(), kSyscall.end());
    if (found != code.end()) {
      site = mapping.start + static_cast<std::uint64_t>(found - code.begin());
      break;
    }
  }
  const std::optional<std::vector<std::byte>> before = debuggee_.registers(tid, kNoteGeneral);
  if (site == 0 || !before || before->size() != sizeof(user_regs_struct)) {
    throw BadPacket();
  }
  user_regs_struct registers;
  std::memcpy(&registers, before->data(), sizeof registers);
  registers.rax = number;
  registers.orig_rax = ~0ULL;
  registers.rip = site;
  unsigned long long* const places[] = {&registers.rdi, &registers.rsi, &registers.rdx,
                                        &registers.r10, &registers.r8,  &registers.r9};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    *places[i] = arguments[i];
  }
  debuggee_.set_registers(tid, kNoteGeneral, std::as_bytes(std::span(&registers, 1)));
  debuggee_.run_diverted(tid, true, nullptr);
  const std::optional<std::vector<std::byte>> after = debuggee_.registers(tid, kNoteGeneral);
  debuggee_.set_registers(tid, kNoteGeneral, *before);
  if (!after || after->size() != sizeof registers) {
    throw BadPacket();
  }
  std::memcpy(&registers, after->data(), sizeof registers);
  return registers.rax;
}

// _MSIZE,PERMISSIONS and _mADDRESS: lldb puts the code of expressions there.
std::string Server::allocate(Words words) {
  constexpr std::uint64_t kMmap = 9;
  constexpr std::uint64_t kMunmap = 11;
  constexpr std::uint64_t kMostAllocated = std::uint64_t{1} << 30;
  if (!thread_suffix_) {
    return {}; // gdb has no use for it; Delve would write there what it runs much later
  }
  if (words.take("m")) {
    const std::uint64_t address = words.hexadecimal();
    words.expect_end();
    const auto found = allocations_.find(address);
    if (found == allocations_.end()) {
      throw BadPacket();
    }
    if (debuggee_.diverted()) {
      const std::uint64_t arguments[] = {address, found->second.size};
      call_diverted(task_for_questions(), kMunmap, arguments);
    }
    allocations_.erase(found);
    return "OK";
  }
  if (!words.take("M")) {
    return {};
  }
  const std::uint64_t size = (words.hexadecimal() + 4095) & ~std::uint64_t{4095};
  words.expect(",");
  std::uint64_t protection = 0;
  protection |= words.take("r") ? PROT_READ : 0;
  protection |= words.take("w") ? PROT_WRITE : 0;
  protection |= words.take("x") ? PROT_EXEC : 0;
  words.expect_end();
  const std::int32_t tid = task_for_questions();
  if (size == 0 || size > kMostAllocated || tid == 0) {
    throw BadPacket();
  }
  enter_diversion();
  const std::uint64_t arguments[] = {
      0, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0};
  const std::uint64_t address = call_diverted(tid, kMmap, arguments);
  if (address > ~std::uint64_t{4095}) {
    return error(0x0c, "the memory cannot be had");
  }
  allocations_[address] = {size, protection};
  return hex_number(address);
}

std::string Server::save_registers(const ThreadId& thread) {
  const std::int32_t tid = task_of(thread);
  if (tid == 0) {
    throw BadPacket();
  }
  auto& saved = saved_registers_[++last_saved_];
  for (const std::uint32_t note : {kNoteGeneral, kNoteXsave}) {
    if (auto set = debuggee_.registers(tid, note)) {
      saved[note] = *std::move(set);
    }
  }
  ++calls_announced_;
  return std::to_string(last_saved_);
}

std::string Server::restore_registers(Words words, const ThreadId& thread) {
  // The number is decimal in what save_registers() answers; lldb gives it back as it prints it.
  const std::optional<std::int64_t> number = decimal(words.rest());
  const std::int32_t tid = task_of(thread);
  const auto saved = saved_registers_.find(static_cast<std::uint64_t>(number.value_or(0)));
  if (saved == saved_registers_.end() || tid == 0) {
    throw BadPacket();
  }
  if (debuggee_.diverted()) {
    for (const auto& [note, set] : saved->second) {
      debuggee_.set_registers(tid, note, set);
    }
  }
  saved_registers_.erase(saved);
  call_ends();
  return "OK";
}

} // namespace rrpcp::gdbserver
