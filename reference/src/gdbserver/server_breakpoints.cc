// Z and z: breakpoints and watchpoints.

#include "gdbserver/agent_expression.h"
#include "gdbserver/server.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <sys/mman.h>

namespace rrpcp::gdbserver {

namespace {

// By the number in the packet.
constexpr Breakpoint::Kind kKinds[] = {Breakpoint::Kind::kSoftware, Breakpoint::Kind::kHardware,
                                       Breakpoint::Kind::kWrite, Breakpoint::Kind::kRead,
                                       Breakpoint::Kind::kAccess};
constexpr std::uint64_t kMostWatched = 64;
constexpr std::size_t kMostConditions = 64;

} // namespace

// ";XLENGTH,CODE" for each: the run stops where one of them holds, or cannot be evaluated.
std::function<bool(std::int32_t)> Server::condition_of(Words& words) {
  std::vector<std::string> codes;
  if (!words.take(";")) {
    words.expect_end();
    return {};
  }
  while (words.take("X")) {
    const std::uint64_t length = words.hexadecimal();
    words.expect(",");
    if (length > kMostPacketBytes || words.rest().size() < 2 * length ||
        codes.size() == kMostConditions) {
      throw BadPacket();
    }
    const std::string_view digits = words.rest().substr(0, static_cast<std::size_t>(2 * length));
    words = Words(words.rest().substr(digits.size()));
    std::optional<std::string> code = from_hex(digits);
    if (!code) {
      throw BadPacket();
    }
    codes.push_back(*std::move(code));
    words.take(";");
  }
  // What follows are commands to be executed here ("cmds:"), which were not offered.
  words.expect_end();
  if (codes.empty()) {
    return {};
  }
  return [this, codes = std::move(codes)](std::int32_t tid) {
    std::int32_t pid = 0;
    AgentContext context;
    context.register_value = [&](unsigned number) -> std::optional<std::uint64_t> {
      const RegisterInfo* info = registers_.find(number);
      const auto bytes = info == nullptr ? std::nullopt : register_bytes(tid, *info);
      if (!bytes) {
        return std::nullopt;
      }
      std::uint64_t value = 0;
      std::memcpy(&value, bytes->data(), std::min(bytes->size(), sizeof value));
      return value;
    };
    context.read_memory = [&](std::uint64_t address, std::span<std::byte> out) {
      if (pid == 0) {
        pid = pid_of(tid);
      }
      return debuggee_.read_memory(pid, address, out) == out.size();
    };
    for (const std::string& code : codes) {
      const std::optional<std::uint64_t> value = evaluate_agent_expression(code, context);
      if (!value || *value != 0) {
        return true;
      }
    }
    return false;
  };
}

std::string Server::breakpoint(Words words, bool set) {
  const std::uint64_t number = words.hexadecimal();
  words.expect(",");
  if (number >= std::size(kKinds)) {
    return {};
  }
  Breakpoint breakpoint;
  breakpoint.kind = kKinds[number];
  breakpoint.pid = settings_.process;
  breakpoint.address = words.hexadecimal();
  words.expect(",");
  const std::uint64_t length = words.hexadecimal();
  // The length of a breakpoint is that of an instruction which is put there.
  breakpoint.length = number >= 2 ? length : 1;
  if (breakpoint.length == 0 || breakpoint.length > kMostWatched) {
    return error(1, "at most 64 bytes can be watched at once");
  }
  // In a child that it lets go, a debugger takes its breakpoints out.
  if (general_.pid > 0 && general_.pid != settings_.process) {
    return "OK";
  }
  const EntryKey key{breakpoint.kind, breakpoint.address, breakpoint.length};
  if (set) {
    breakpoint.condition = condition_of(words);
  }
  // One that is set again replaces that before: its condition may be another.
  if (const auto found = breakpoints_.find(key); found != breakpoints_.end()) {
    Entry& entry = found->second;
    if (entry.in_diversion && debuggee_.diverted()) {
      debuggee_.remove(*entry.in_diversion, true);
    } else if (entry.on_timeline) {
      debuggee_.remove(*entry.on_timeline, false);
    }
    breakpoints_.erase(found);
  }
  if (!set) {
    return "OK";
  }
  Entry entry{.on_timeline = {}, .in_diversion = {}, .breakpoint = breakpoint};
  if (debuggee_.diverted()) {
    entry.in_diversion = debuggee_.add(breakpoint, true);
  } else if (number >= 2 || is_code(breakpoint.address, true)) {
    entry.on_timeline = debuggee_.add(breakpoint, false);
  }
  breakpoints_.emplace(key, std::move(entry));
  return "OK";
}

// Elsewhere nothing is executed; debuggers set all breakpoints anew when the program is to run, and
// code may be there by then.
bool Server::is_code(std::uint64_t address, bool must_be_mapped) {
  for (const TimelineMapping& mapping : debuggee_.mappings(settings_.process)) {
    if (address >= mapping.start && address < mapping.end) {
      return (mapping.protection & PROT_EXEC) != 0;
    }
  }
  if (must_be_mapped) {
    throw BadPacket(0x0e);
  }
  return false;
}

// Breakpoints that were set while a diversion was open are wanted from now on too.
void Server::after_diversion() {
  for (auto& [key, entry] : breakpoints_) {
    entry.in_diversion.reset();
    const bool executed = entry.breakpoint.kind == Breakpoint::Kind::kSoftware ||
                          entry.breakpoint.kind == Breakpoint::Kind::kHardware;
    if (!entry.on_timeline && (!executed || is_code(entry.breakpoint.address, false))) {
      entry.on_timeline = debuggee_.add(entry.breakpoint, false);
    }
  }
}

} // namespace rrpcp::gdbserver
