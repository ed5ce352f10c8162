#include "gdbserver/server.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <unistd.h>

namespace rrpcp::gdbserver {

Server::Server(Debuggee& debuggee, Session& session, ServerSettings settings,
               std::function<void(std::string_view)> send)
    : debuggee_(debuggee), session_(session), settings_(std::move(settings)),
      send_(std::move(send)), registers_(settings_.xsave) {}

Server::~Server() {
  try {
    if (debuggee_.diverted()) {
      debuggee_.end_diversion();
    }
    for (const auto& [key, entry] : breakpoints_) {
      if (entry.on_timeline) {
        debuggee_.remove(*entry.on_timeline, false);
      }
    }
  } catch (const std::exception&) {
    // The replay cannot be used any more, and its breakpoints neither.
  }
  for (const auto& [number, file] : files_) {
    if (file.descriptor >= 0) {
      ::close(file.descriptor);
    }
  }
}

void Server::send_packet(std::string_view payload) {
  sent_ = framed(payload);
  send_(sent_);
}

void Server::tell(std::string_view text) {
  send_packet("O" + to_hex(text));
}

std::string Server::error(std::uint8_t code, std::string_view message) {
  if (error_messages_ && !message.empty()) {
    std::string text = "E.";
    std::replace_copy_if(
        message.begin(), message.end(), std::back_inserter(text),
        [](char c) { return c == '#' || c == '$' || c == '}' || c == '*' || c == '\n'; }, ' ');
    return text;
  }
  std::string text = "E" + hex_byte(code);
  if (error_strings_ && !message.empty()) {
    text += ";" + to_hex(message);
  }
  return text;
}

Server::Next Server::handle(const Incoming& incoming) {
  switch (incoming.kind) {
  case Incoming::Kind::kSentAgain:
    if (!no_ack_ && !sent_.empty()) {
      send_(sent_);
    }
    return Next::kGoOn;
  case Incoming::Kind::kDamaged:
    send_("-");
    return Next::kGoOn;
  case Incoming::Kind::kInterrupt: // it stands already
    return Next::kGoOn;
  case Incoming::Kind::kTooLong:
    if (!no_ack_) {
      send_("+");
    }
    send_packet(error(1, "the packet is too long"));
    return Next::kGoOn;
  case Incoming::Kind::kPacket:
    break;
  }
  if (!no_ack_) {
    send_("+");
  }
  const std::string_view packet = incoming.payload;
  if (packet == "k") {
    send_packet("OK");
    return Next::kKilled;
  }
  std::string text;
  try {
    text = answer(packet);
  } catch (const BadPacket& bad) {
    text = error(bad.code());
  } catch (const Error& failure) {
    text = error(1, failure.what());
    // Where the debugger waits for a stop, its console can be written to.
    if (packet.starts_with("vCont;") || packet.starts_with("vRun") || packet == "bc" ||
        packet == "bs") {
      tell(failure.what() + std::string("\n"));
    }
  }
  send_packet(text);
  if (packet == "QStartNoAckMode") {
    no_ack_ = true;
  }
  return packet.starts_with("D") && text == "OK" &&
                 (packet.size() == 1 ||
                  packet == "D;" + hex_number(static_cast<std::uint32_t>(settings_.process)))
             ? Next::kDetached
             : Next::kGoOn;
}

std::string Server::answer(std::string_view packet) {
  if (packet.empty()) {
    return {};
  }
  const std::string_view rest = packet.substr(1);
  switch (packet[0]) {
  case 'q':
    return query(Words(rest));
  case 'Q':
    return setting(Words(rest), packet);
  case 'X':
    return write_memory(Words(rest), true);
  default:
    return letter(Words(packet));
  }
}

std::string Server::letter(Words words) {
  std::string_view packet = words.rest();
  const char kind = packet[0];
  ThreadId thread = general_;
  if (kind == 'g' || kind == 'G' || kind == 'p' || kind == 'P') {
    thread = take_thread_suffix(packet);
  }
  const Words rest(packet.substr(1));
  switch (kind) {
  case '!':
    return "OK";
  case '?':
    return last_stop();
  case 'b':
    if (packet == "bc" || packet == "bs") {
      return resume_backward(packet == "bs");
    }
    return {};
  case 'c':
  case 'C':
    return resume({Action{.kind = 'c', .thread = continue_}});
  case 's':
  case 'S':
    return resume({Action{.kind = 's', .thread = continue_}});
  case 'D':
    return "OK"; // of another process: a child that the debugger does not follow
  case 'g':
    return read_registers(thread);
  case 'G':
    return write_registers(rest, thread);
  case 'H':
    return select_thread(rest);
  case 'm':
    return read_memory(rest, false);
  case 'M':
    return write_memory(rest, false);
  case 'p':
    return read_register(rest, thread);
  case 'P':
    return write_register(rest, thread);
  case 'T': {
    Words id = rest;
    const ThreadId asked = thread_id(id);
    id.expect_end();
    return asked.tid > 0 && task_of(asked) == asked.tid ? "OK" : error(1);
  }
  case 'v':
    return resume_packet(rest);
  case 'x':
    return read_memory(rest, true);
  case 'z':
  case 'Z':
    return breakpoint(rest, kind == 'Z');
  case '_':
    return allocate(rest);
  default:
    return {};
  }
}

ThreadId Server::thread_id(Words& words) const {
  const auto number = [&] {
    const std::int64_t value = words.signed_hexadecimal();
    if (value < -1 || value > INT32_MAX) {
      throw BadPacket();
    }
    return static_cast<std::int32_t>(value);
  };
  if (!words.take("p")) {
    return {settings_.process, number()};
  }
  const std::int32_t pid = number();
  return {pid, words.take(".") ? number() : -1};
}

std::string Server::thread_text(std::int32_t pid, std::int32_t tid) const {
  const std::string text = hex_number(static_cast<std::uint32_t>(tid));
  return multiprocess_ ? "p" + hex_number(static_cast<std::uint32_t>(pid)) + "." + text : text;
}

// lldb's "g;thread:1f;".
ThreadId Server::take_thread_suffix(std::string_view& packet) const {
  const std::size_t at = packet.rfind(";thread:");
  if (at == packet.npos) {
    return general_;
  }
  std::string_view id = packet.substr(at + 8);
  packet = packet.substr(0, at);
  if (id.ends_with(";")) {
    id.remove_suffix(1);
  }
  Words words(id);
  const ThreadId thread = thread_id(words);
  words.expect_end();
  return thread;
}

std::string Server::select_thread(Words words) {
  const bool general = words.take("g");
  if (!general && !words.take("c")) {
    return {};
  }
  const ThreadId thread = thread_id(words);
  words.expect_end();
  // Another process is named only to be let go.
  if (thread.tid > 0 && pid_of(thread.tid) != thread.pid) {
    return error(1, "there is no such thread here");
  }
  (general ? general_ : continue_) = thread;
  return "OK";
}

std::int32_t Server::pid_of(std::int32_t tid) {
  for (const TimelineTask& task : debuggee_.tasks()) {
    if (task.tid == tid) {
      return task.pid;
    }
  }
  return 0;
}

std::int32_t Server::task_of(const ThreadId& thread) {
  const std::vector<TimelineTask> tasks = debuggee_.tasks();
  const auto mine = [&](std::int32_t tid) {
    return std::any_of(tasks.begin(), tasks.end(), [&](const TimelineTask& task) {
      return task.tid == tid && task.pid == settings_.process;
    });
  };
  if (thread.tid > 0) {
    return mine(thread.tid) ? thread.tid : 0;
  }
  if (mine(stopped_)) {
    return stopped_;
  }
  const std::int32_t current = debuggee_.current_task();
  if (mine(current)) {
    return current;
  }
  for (const TimelineTask& task : tasks) {
    if (task.pid == settings_.process) {
      return task.tid;
    }
  }
  return 0;
}

} // namespace rrpcp::gdbserver
