// What is asked by name: rr's commands, which gdb's macros send as qRRCmd and people type after
// "monitor".

#include "gdbserver/server.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstdio>

namespace rrpcp::gdbserver {

namespace {

constexpr std::size_t kMostHistory = 20;

std::string seconds(std::uint64_t nanoseconds) {
  char text[48];
  std::snprintf(text, sizeof text, "%llu.%06llu",
                static_cast<unsigned long long>(nanoseconds / 1'000'000'000),
                static_cast<unsigned long long>(nanoseconds % 1'000'000'000 / 1000));
  return text;
}

std::string place_text(const Place& place) {
  std::string text = std::to_string(place.event);
  if (place.arrived()) {
    text += "+end";
  } else if (place.instructions != 0) {
    text += "+" + std::to_string(place.instructions);
  }
  return text;
}

// Escaped as in a string of JSON.
std::string as_json(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned char>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// A line of gdb's "frame 0" may be several.
std::string one_line(std::string text) {
  for (char& c : text) {
    c = c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
  }
  const std::size_t end = text.find_last_not_of(' ');
  const std::size_t begin = text.find_first_not_of(' ');
  return begin == text.npos ? std::string() : text.substr(begin, end - begin + 1);
}

} // namespace

// "qRRCmd:NAME:TID:HEX…", or the older form in which everything is hexadecimal: "qRRCmd:HEX:HEX…".
std::string Server::rr_command(Words words) {
  std::string name(words.until(':'));
  std::int64_t asked = 0;
  // No command's name is hexadecimal digits alone.
  if (const std::optional<std::string> older = from_hex(name); older && !older->empty()) {
    name = *older;
  } else {
    const std::optional<std::int64_t> number = decimal(words.until(':'));
    if (!number) {
      throw BadPacket();
    }
    asked = *number;
  }
  std::vector<std::string> arguments;
  while (!words.at_end()) {
    const std::optional<std::string> argument = from_hex(words.until(':'));
    if (!argument) {
      throw BadPacket();
    }
    arguments.push_back(*argument);
  }
  const bool is_id = asked > 0 && asked <= INT32_MAX;
  return to_hex(command(name, arguments, is_id ? static_cast<std::int32_t>(asked) : 0) + "\n");
}

std::string Server::monitor(Words words) {
  const std::string line = words.hexadecimal_bytes();
  std::string name;
  std::vector<std::string> arguments;
  std::size_t at = 0;
  while (at < line.size()) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    const std::string word = line.substr(at, end - at);
    at = end + 1;
    if (word.empty()) {
      continue;
    }
    // Commands of two words: "info checkpoints".
    if (name.empty() || ((name == "info" || name == "delete") && arguments.empty())) {
      name += (name.empty() ? "" : " ") + word;
    } else {
      arguments.push_back(word);
    }
  }
  return to_hex(command(name, arguments, 0) + "\n");
}

std::string Server::command(std::string_view name, const std::vector<std::string>& arguments,
                            std::int32_t tid) {
  tid = task_of({settings_.process, tid});
  if (debuggee_.diverted()) {
    if (in_call()) {
      return "A function that was called from the debugger is running: let it return first.";
    }
    leave_diversion(); // what is asked for is of the replay
  }
  try {
    if (name == "when") {
      return "Completed event: " + std::to_string(debuggee_.event() - 1);
    }
    if (name == "when-ticks") {
      for (const TimelineTask& task : debuggee_.tasks()) {
        if (task.tid == tid) {
          return "Current tick: " + std::to_string(task.ticks);
        }
      }
      return "There is no thread.";
    }
    if (name == "when-tid") {
      return "Current tid: " + std::to_string(tid);
    }
    if (name == "when-end") {
      return "Event at end of recording: " + std::to_string(debuggee_.last_event());
    }
    if (name == "where-exactly") {
      return "Place: " + place_text(debuggee_.here());
    }
    if (name == "elapsed-time") {
      return "Elapsed Time (s): " + seconds(debuggee_.elapsed_time());
    }
    if (name == "absolute-time") {
      return "Absolute Time (s): " + seconds(debuggee_.absolute_time());
    }
    if (name == "info recording") {
      return "Path of recording: " + as_json(debuggee_.recording());
    }
    if (name == "replay-costs") {
      const TimelineCosts costs = debuggee_.costs();
      return "Stops: " + std::to_string(costs.stops) + "\nBases: " + std::to_string(costs.bases) +
             " of " + std::to_string(costs.bases_made) + " made, in " +
             std::to_string(costs.base_memory >> 10) +
             " KiB\nCounted instructions: " + std::to_string(costs.counted_instructions);
    }
    if (name == "checkpoint") {
      return make_checkpoint(arguments);
    }
    if (name == "info checkpoints") {
      return list_checkpoints();
    }
    if (name == "delete checkpoint") {
      return delete_checkpoint(arguments);
    }
    if (name == "write-checkpoints") {
      return write_checkpoints();
    }
    if (name == "load-checkpoints") {
      return load_checkpoints();
    }
    if (name == "rr-history-push") {
      push_history();
      return {};
    }
    if (name == "back" || name == "forward") {
      return history(name == "back");
    }
    if (name == "rr-run-backward") {
      backward_next_ = true;
      return {};
    }
  } catch (const Error& failure) {
    return failure.what();
  }
  return "Command '" + std::string(name) + "' not found.";
}

std::string Server::make_checkpoint(const std::vector<std::string>& arguments) {
  if (exited_) {
    return "The program is not being run.";
  }
  SessionCheckpoint made;
  debuggee_.here(); // its place is shown
  made.alive = debuggee_.make_checkpoint();
  made.place = debuggee_.place_of_checkpoint(*made.alive);
  made.where = arguments.empty() ? place_text(made.place) : one_line(arguments[0]);
  const std::uint64_t number = ++session_.last_checkpoint;
  session_.checkpoints[number] = made;
  return "Checkpoint " + std::to_string(number) + " at " + made.where;
}

std::string Server::list_checkpoints() {
  if (session_.checkpoints.empty()) {
    return "No checkpoints.";
  }
  std::string text = "ID\tWhen\tWhere";
  for (const auto& [number, made] : session_.checkpoints) {
    text +=
        "\n" + std::to_string(number) + "\t" + std::to_string(made.place.event) + "\t" + made.where;
  }
  return text;
}

void Server::forget(std::optional<std::uint64_t>& alive) {
  if (alive) {
    debuggee_.forget_checkpoint(*alive);
    alive.reset();
  }
}

std::string Server::delete_checkpoint(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return "'delete checkpoint' requires an argument";
  }
  const std::optional<std::int64_t> number = decimal(arguments[0]);
  if (!number) {
    return "Invalid checkpoint number " + arguments[0] + ".";
  }
  const auto found = session_.checkpoints.find(static_cast<std::uint64_t>(*number));
  if (found == session_.checkpoints.end()) {
    return "No checkpoint number " + std::to_string(*number) + ".";
  }
  forget(found->second.alive);
  session_.checkpoints.erase(found);
  return "Deleted checkpoint " + std::to_string(*number) + ".";
}

void Server::go_to_checkpoint(std::uint64_t number) {
  const auto found = session_.checkpoints.find(number);
  if (found == session_.checkpoints.end()) {
    throw Error(ErrorCode::kNotFound, "there is no checkpoint " + std::to_string(number));
  }
  if (found->second.alive) {
    debuggee_.go_to_checkpoint(*found->second.alive);
  } else {
    debuggee_.go_to(found->second.place);
  }
}

// Stores every checkpoint that is not in the trace yet, and comes back to where it stood.
std::string Server::write_checkpoints() {
  if (session_.checkpoints.empty()) {
    return "No checkpoints.";
  }
  const std::uint64_t back = debuggee_.make_checkpoint();
  std::size_t written = 0;
  std::string problems;
  for (auto& [number, made] : session_.checkpoints) {
    if (!made.stored.empty()) {
      continue;
    }
    try {
      go_to_checkpoint(number);
      made.stored = debuggee_.store();
      ++written;
    } catch (const Error& failure) {
      problems += "\nCheckpoint " + std::to_string(number) + " was not written: " + failure.what();
    }
  }
  debuggee_.go_to_checkpoint(back);
  debuggee_.forget_checkpoint(back);
  return std::to_string(written) + (written == 1 ? " checkpoint" : " checkpoints") +
         " written to the trace." + problems;
}

// All that the trace has, but for those that have a number already.
std::string Server::load_checkpoints() {
  std::string text;
  std::vector<StoredCheckpoint> all = debuggee_.stored_checkpoints();
  std::sort(all.begin(), all.end(),
            [](const StoredCheckpoint& a, const StoredCheckpoint& b) { return a.place < b.place; });
  for (const StoredCheckpoint& stored : all) {
    bool known = false;
    for (const auto& [number, made] : session_.checkpoints) {
      known = known || made.place == stored.place;
    }
    if (known) {
      continue;
    }
    SessionCheckpoint loaded;
    loaded.place = stored.place;
    loaded.where = "event " + place_text(stored.place);
    loaded.stored = stored.path;
    session_.checkpoints[++session_.last_checkpoint] = loaded;
    text += (text.empty() ? "" : "\n") + std::string("Checkpoint ") +
            std::to_string(session_.last_checkpoint) + " at " + loaded.where;
  }
  return text.empty() ? "There are no other checkpoints in the trace." : text;
}

// gdb's macros call it at every stop. The place itself is not asked for: it may have to be counted.
void Server::push_history() {
  if (exited_) {
    return;
  }
  if (session_.present) {
    session_.past.push_back(*session_.present);
  }
  if (session_.past.size() > kMostHistory) {
    debuggee_.forget_checkpoint(session_.past.front());
    session_.past.erase(session_.past.begin());
  }
  session_.present = debuggee_.make_checkpoint();
  for (const std::uint64_t number : session_.future) {
    debuggee_.forget_checkpoint(number);
  }
  session_.future.clear();
}

std::string Server::history(bool back) {
  auto& from = back ? session_.past : session_.future;
  auto& to = back ? session_.future : session_.past;
  if (from.empty()) {
    return back ? "Can't go back. No more history entries."
                : "Can't go forward. No more history entries.";
  }
  debuggee_.go_to_checkpoint(from.back());
  if (session_.present) {
    to.push_back(*session_.present);
  }
  session_.present = from.back();
  from.pop_back();
  stopped_ = 0;
  at_exit_.reset();
  stop_reply(0, 0, {});
  return {};
}

} // namespace rrpcp::gdbserver
