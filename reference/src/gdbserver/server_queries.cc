// Questions (q) and settings (Q).

#include "base/markup.h"
#include "gdbserver/server.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <sys/mman.h>

namespace rrpcp::gdbserver {

namespace {

constexpr std::string_view kTriple = "x86_64-pc-linux-gnu";

// What libthread_db asks of glibc, which tells where it keeps thread-local storage. Each is three
// words of 32 bits: size in bits, number of elements, offset.
// Source: nptl_db/structs.def and db_info.c of glibc.
constexpr std::array<const char*, 6> kSymbols = {
    "_thread_db_link_map_l_tls_modid", "_thread_db_link_map_l_tls_offset",
    "_thread_db_pthread_dtvp",         "_thread_db_dtv_dtv",
    "_thread_db_dtv_t_pointer_val",    "_thread_db_dtv_t_counter",
};

} // namespace

std::string Server::query(Words words) {
  if (words.take("RRCmd:")) {
    return rr_command(words);
  }
  if (words.take("Rcmd,")) {
    return monitor(words);
  }
  if (words.take("Supported")) {
    return supported(words);
  }
  if (words.take("Xfer:")) {
    return transfer(words);
  }
  if (words.take("fThreadInfo")) {
    return threads();
  }
  if (words.take("sThreadInfo")) {
    return "l";
  }
  if (words.take("ThreadExtraInfo,")) {
    return extra_info(words);
  }
  // This is lldb's: Delve asks for it too, and does without where rr has nothing to say.
  if (words.take("ThreadStopInfo")) {
    if (!thread_suffix_) {
      return {};
    }
    const std::int32_t tid = thread_id(words).tid;
    if (tid == stopped_ || task_of({settings_.process, tid}) != tid) {
      return last_stop();
    }
    return "T00thread:" + thread_text(settings_.process, tid) + ";";
  }
  if (words.take("Search:memory:")) {
    return search_memory(words);
  }
  if (words.take("GetTLSAddr:")) {
    return thread_local_address(words);
  }
  if (words.take("Symbol:")) {
    return symbol(words);
  }
  if (words.take("MemoryRegionInfo:")) {
    return memory_region(words);
  }
  if (words.take("HostInfo")) {
    return "triple:" + to_hex(kTriple) +
           ";ptrsize:8;endian:little;watchpoint_exceptions_received:after;ostype:linux;";
  }
  if (words.take("ProcessInfo")) {
    return words.at_end() ? process_info() : std::string();
  }
  if (words.take("WatchpointSupportInfo")) {
    return "num:16;";
  }
  if (words.take("Attached")) {
    return "1"; // what ends the debugger is not to end the process
  }
  if (words.take("Offsets")) {
    return {}; // gdb computes them from the program's entry
  }
  if (words.rest() == "C") {
    const std::int32_t tid = task_for_questions();
    return tid == 0 ? std::string("QC0") : "QC" + thread_text(settings_.process, tid);
  }
  return {};
}

std::string Server::setting(Words words, std::string_view whole) {
  if (words.take("StartNoAckMode")) {
    return "OK";
  }
  if (words.take("ThreadSuffixSupported")) {
    // lldb says first what it supports. Delve asks this before anything else, and cannot run
    // backward where the answer is yes.
    if (!features_asked_) {
      return {};
    }
    thread_suffix_ = true;
    multiprocess_ = false;
    return "OK";
  }
  if (words.take("ListThreadsInStopReply")) {
    list_threads_ = thread_suffix_; // as for qThreadStopInfo
    return list_threads_ ? "OK" : "";
  }
  if (words.take("EnableErrorStrings")) {
    error_strings_ = true;
    return "OK";
  }
  if (words.take("PassSignals:")) {
    return pass_signals(words);
  }
  if (words.take("CatchSyscalls:")) {
    return catch_calls(words);
  }
  const ThreadId thread = take_thread_suffix(whole);
  Words rest(whole.substr(1));
  if (rest.take("SaveRegisterState")) {
    return save_registers(thread);
  }
  if (rest.take("RestoreRegisterState:")) {
    return restore_registers(rest, thread);
  }
  return {};
}

std::string Server::supported(Words words) {
  features_asked_ = true;
  words.take(":");
  while (!words.at_end()) {
    const std::string_view feature = words.until(';');
    multiprocess_ = multiprocess_ || (feature == "multiprocess+" && !thread_suffix_);
    swbreak_ = swbreak_ || feature == "swbreak+";
    hwbreak_ = hwbreak_ || feature == "hwbreak+";
    fork_events_ = fork_events_ || feature == "fork-events+";
    vfork_events_ = vfork_events_ || feature == "vfork-events+";
    exec_events_ = exec_events_ || feature == "exec-events+";
    error_messages_ = error_messages_ || feature == "error-message+";
  }
  // lldb's handling of forks is for processes that it can let go.
  fork_events_ = fork_events_ && swbreak_;
  vfork_events_ = vfork_events_ && swbreak_;
  return "PacketSize=" + hex_number(kMostPacketBytes) +
         ";QStartNoAckMode+;qXfer:features:read+;qXfer:auxv:read+;qXfer:exec-file:read+"
         ";qXfer:siginfo:read+;qXfer:siginfo:write+;qXfer:libraries-svr4:read+"
         ";qXfer:memory-map:read+;multiprocess+;hwbreak+;swbreak+;ConditionalBreakpoints+"
         ";vContSupported+;QPassSignals+;QCatchSyscalls+;fork-events+;vfork-events+;exec-events+;"
         "error-message+"
         ";binary-upload+;ReverseContinue+;ReverseStep+";
}

// "OBJECT:read:ANNEX:OFFSET,LENGTH" and "OBJECT:write:ANNEX:OFFSET:DATA".
std::string Server::transfer(Words words) {
  const std::string_view object = words.until(':');
  const std::string_view way = words.until(':');
  const std::string_view annex = words.until(':');
  if (way == "write" && object == "siginfo") {
    words.hexadecimal();
    words.expect(":");
    const std::size_t length = words.binary_bytes().size();
    call_ends();
    return hex_number(length);
  }
  if (way != "read") {
    return {};
  }
  const auto text_of = [](const std::vector<std::byte>& bytes) {
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (object == "features") {
    const std::optional<std::string> document = target_description(registers_, annex);
    return document ? transfer_part(words, *document) : error(0);
  }
  if (object == "auxv") {
    return transfer_part(words, text_of(debuggee_.auxiliary_vector(settings_.process)));
  }
  if (object == "exec-file") {
    std::int32_t pid = settings_.process;
    if (!annex.empty()) {
      Words number(annex);
      pid = static_cast<std::int32_t>(number.hexadecimal());
      number.expect_end();
    }
    for (const TimelineProcess& process : debuggee_.processes()) {
      if (process.pid == pid) {
        return transfer_part(words, process.executable);
      }
    }
    return error(1, "there is no such process here");
  }
  if (object == "siginfo") {
    const std::int32_t tid = task_for_questions();
    if (tid == 0) {
      throw BadPacket();
    }
    ++calls_announced_;
    return transfer_part(words, text_of(debuggee_.signal_info(tid)));
  }
  if (object == "libraries-svr4") {
    return transfer_part(words, libraries());
  }
  if (object == "memory-map") {
    // What is mapped changes from place to place, and gdb would keep it.
    return transfer_part(words,
                         "<?xml version=\"1.0\"?>\n<!DOCTYPE memory-map PUBLIC \"+//IDN "
                         "gnu.org//DTD GDB Memory Map V1.0//EN\" "
                         "\"http://sourceware.org/gdb/gdb-memory-map.dtd\">\n<memory-map>\n"
                         "<memory type=\"ram\" start=\"0x0\" length=\"0xffffffffffffffff\"/>\n"
                         "</memory-map>\n");
  }
  return {};
}

std::string Server::transfer_part(Words words, std::string_view document) {
  const std::uint64_t offset = words.hexadecimal();
  words.expect(",");
  const std::uint64_t length = std::min(words.hexadecimal(), kMostRead);
  words.expect_end();
  if (offset > document.size()) {
    throw BadPacket();
  }
  const std::string_view part =
      document.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
  return (offset + part.size() < document.size() ? "m" : "l") + escaped(part);
}

std::string Server::threads() {
  std::string text;
  for (const TimelineTask& task : debuggee_.tasks()) {
    if (task.pid == settings_.process) {
      text += (text.empty() ? "m" : ",") + thread_text(task.pid, task.tid);
    }
  }
  return exited_ || text.empty() ? "l" : text;
}

std::string Server::extra_info(Words words) {
  const ThreadId thread = thread_id(words);
  words.expect_end();
  for (const TimelineTask& task : debuggee_.tasks()) {
    if (task.tid == thread.tid && task.pid == settings_.process) {
      return to_hex(task.name + (task.in_call ? " (in a system call)" : ""));
    }
  }
  return error(1, "there is no such thread here");
}

std::string Server::memory_region(Words words) {
  const std::uint64_t address = words.hexadecimal();
  words.expect_end();
  for (const TimelineMapping& mapping : debuggee_.mappings(settings_.process)) {
    if (address < mapping.start) { // nothing is mapped from there up to the next mapping
      return "start:" + hex_number(address) + ";size:" + hex_number(mapping.start - address) + ";";
    }
    if (address < mapping.end) {
      std::string text = "start:" + hex_number(mapping.start) +
                         ";size:" + hex_number(mapping.end - mapping.start) + ";permissions:";
      text += (mapping.protection & PROT_READ) != 0 ? "r" : "";
      text += (mapping.protection & PROT_WRITE) != 0 ? "w" : "";
      text += (mapping.protection & PROT_EXEC) != 0 ? "x" : "";
      text += ";";
      if (!mapping.name.empty()) {
        text += "name:" + to_hex(mapping.name) + ";";
      }
      return text;
    }
  }
  return "start:" + hex_number(address) + ";size:" + hex_number(~std::uint64_t{0} - address) + ";";
}

std::string Server::process_info() {
  std::int32_t parent = 0;
  for (const TimelineProcess& process : debuggee_.processes()) {
    parent = process.pid == settings_.process ? process.parent : parent;
  }
  return "pid:" + hex_number(static_cast<std::uint32_t>(settings_.process)) +
         ";parent-pid:" + hex_number(static_cast<std::uint32_t>(parent)) +
         ";triple:" + to_hex(kTriple) + ";ostype:linux;endian:little;ptrsize:8;";
}

// The dynamic linker's list (struct r_debug and struct link_map of link.h), which DT_DEBUG of the
// program names.
std::string Server::libraries() {
  const auto word = [&](std::uint64_t address) {
    std::uint64_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    return debuggee_.read_memory(settings_.process, address, bytes) == bytes.size() ? value : 0;
  };
  std::uint64_t headers = 0;
  std::uint64_t count = 0;
  const std::vector<std::byte> auxv = debuggee_.auxiliary_vector(settings_.process);
  for (std::size_t at = 0; at + 16 <= auxv.size(); at += 16) {
    std::uint64_t pair[2];
    std::memcpy(pair, auxv.data() + at, sizeof pair);
    headers = pair[0] == 3 ? pair[1] : headers; // AT_PHDR
    count = pair[0] == 5 ? pair[1] : count;     // AT_PHNUM
  }
  std::uint64_t bias = 0;
  std::uint64_t dynamic = 0;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, 1000); ++i) {
    const std::uint64_t header = headers + 56 * i; // Elf64_Phdr
    const std::uint32_t type = static_cast<std::uint32_t>(word(header));
    if (type == 6) { // PT_PHDR
      bias = headers - word(header + 16);
    } else if (type == 2) { // PT_DYNAMIC
      dynamic = word(header + 16);
    }
  }
  std::uint64_t debug = 0;
  for (std::uint64_t at = dynamic + bias; dynamic != 0 && at < dynamic + bias + 16 * 1000;
       at += 16) {
    const std::uint64_t tag = word(at);
    if (tag == 0) {
      break;
    }
    if (tag == 21) { // DT_DEBUG
      debug = word(at + 8);
      break;
    }
  }
  std::string list;
  const std::uint64_t first = debug == 0 ? 0 : word(debug + 8);
  std::uint64_t map = first;
  for (int i = 0; map != 0 && i < 10'000; ++i) {
    std::string name;
    const std::uint64_t text = word(map + 8);
    for (std::byte c{}; text != 0 && name.size() < 4096; name.push_back(static_cast<char>(c))) {
      if (debuggee_.read_memory(settings_.process, text + name.size(), std::span(&c, 1)) != 1 ||
          c == std::byte{}) {
        break;
      }
    }
    if (map != first && !name.empty()) { // the first one is the program
      list += "<library name=\"" + escape_markup(name) + "\" lm=\"0x" + hex_number(map) +
              "\" l_addr=\"0x" + hex_number(word(map)) + "\" l_ld=\"0x" +
              hex_number(word(map + 16)) + "\" lmid=\"0x0\"/>\n";
    }
    map = word(map + 24);
  }
  return "<library-list-svr4 version=\"1.0\"" +
         (first == 0 ? "" : " main-lm=\"0x" + hex_number(first) + "\"") + ">\n" + list +
         "</library-list-svr4>\n";
}

// Asks gdb for the addresses of kSymbols, one after the other: the answer to an answer is the next
// question. "qSymbol:VALUE:HEXNAME", and "qSymbol::" to begin.
std::string Server::symbol(Words words) {
  if (words.take(":")) {
    if (words.at_end()) {
      next_symbol_ = 0; // it offers to be asked, anew with each library
    } else {
      words.hexadecimal_bytes(); // not known
      ++next_symbol_;
    }
  } else {
    const std::uint64_t value = words.hexadecimal();
    words.expect(":");
    symbols_[words.hexadecimal_bytes()] = value;
    ++next_symbol_;
  }
  return next_symbol_ < kSymbols.size()
             ? "qSymbol:" + to_hex(std::string_view(kSymbols[next_symbol_]))
             : "OK";
}

// "THREAD,OFFSET,LINKMAP": the address of a thread-local variable.
std::string Server::thread_local_address(Words words) {
  const ThreadId thread = thread_id(words);
  words.expect(",");
  const std::uint64_t offset = words.hexadecimal();
  words.expect(",");
  const std::uint64_t map = words.hexadecimal();
  words.expect_end();
  const std::int32_t tid = task_of(thread);
  const auto number = registers_.number_of("fs_base");
  const RegisterInfo* info = number ? registers_.find(*number) : nullptr;
  const auto bytes = tid == 0 || info == nullptr ? std::nullopt : register_bytes(tid, *info);
  if (!bytes) {
    throw BadPacket();
  }
  std::uint64_t pointer = 0;
  std::memcpy(&pointer, bytes->data(), sizeof pointer);
  struct Described {
    std::uint32_t bits = 0;
    std::uint32_t elements = 0;
    std::uint32_t offset = 0;
  };
  const auto described = [&](const char* name) {
    const auto found = symbols_.find(name);
    Described value;
    const auto out = std::as_writable_bytes(std::span(&value, 1));
    if (found == symbols_.end() ||
        debuggee_.read_memory(settings_.process, found->second, out) != out.size()) {
      throw BadPacket();
    }
    return value;
  };
  const auto word = [&](std::uint64_t address) {
    std::uint64_t value = 0;
    const auto out = std::as_writable_bytes(std::span(&value, 1));
    if (debuggee_.read_memory(settings_.process, address, out) != out.size()) {
      throw BadPacket();
    }
    return value;
  };
  const std::uint64_t module = word(map + described(kSymbols[0]).offset);
  if (module == 0) {
    throw BadPacket();
  }
  const std::uint64_t vector = word(pointer + described(kSymbols[2]).offset);
  const Described slots = described(kSymbols[3]);
  const std::uint64_t slot = vector + slots.offset + module * (slots.bits / 8);
  const std::uint64_t block = word(slot + described(kSymbols[4]).offset);
  if ((block & 1) == 0) {
    return hex_number(block + offset);
  }
  // It was not used yet; one that is in the static block lies below the thread pointer.
  const std::uint64_t below = word(map + described(kSymbols[1]).offset);
  if (below + 2 <= 2) { // NO_TLS_OFFSET, FORCED_DYNAMIC_TLS_OFFSET
    return error(1, "the thread has not used that variable's storage yet");
  }
  return hex_number(pointer - below + offset);
}

std::string Server::pass_signals(Words words) {
  passed_signals_.clear();
  while (!words.at_end()) {
    passed_signals_.insert(static_cast<int>(words.hexadecimal() & 0xff));
    if (!words.at_end()) {
      words.expect(";");
    }
  }
  return "OK";
}

std::string Server::catch_calls(Words words) {
  constexpr std::size_t kMostCalls = 10'000;
  const bool on = words.take("1");
  if (!on) {
    words.expect("0");
    words.expect_end();
    calls_.reset();
    return "OK";
  }
  std::vector<std::int64_t> calls;
  while (!words.at_end()) {
    words.expect(";");
    calls.push_back(static_cast<std::int64_t>(words.hexadecimal()));
    if (calls.size() > kMostCalls) {
      throw BadPacket();
    }
  }
  calls_ = std::move(calls);
  return "OK";
}

} // namespace rrpcp::gdbserver
