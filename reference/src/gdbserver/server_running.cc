// Running forward and backward, what is told of a stop, and diversions.

#include "gdbserver/server.h"
#include "gdbserver/signals.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <sys/mman.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <utility>

namespace rrpcp::gdbserver {

// vCont, vRun, vKill and the files of vFile.
std::string Server::resume_packet(Words words) {
  if (words.take("Cont?")) {
    return "vCont;c;C;s;S;r";
  }
  if (words.take("File:")) {
    return file(words);
  }
  if (words.take("Kill")) {
    return "OK"; // "run" follows; a recorded process cannot be killed
  }
  if (words.take("Run;")) {
    return restart(words);
  }
  if (!words.take("Cont")) {
    return {};
  }
  std::vector<Action> actions;
  while (!words.at_end()) {
    words.expect(";");
    Action action;
    action.thread = {-1, -1};
    const std::string_view rest = words.rest();
    action.kind = rest.empty() ? '\0' : rest[0];
    words = Words(rest.substr(rest.empty() ? 0 : 1));
    switch (action.kind) {
    case 'C':
    case 'S':
      words.hexadecimal(); // the recording says which signals there are
      action.kind = action.kind == 'C' ? 'c' : 's';
      break;
    case 'c':
    case 's':
      break;
    case 'r':
      action.begin = words.hexadecimal();
      words.expect(",");
      action.end = words.hexadecimal();
      break;
    default:
      throw BadPacket();
    }
    if (words.take(":")) {
      action.thread = thread_id(words);
    }
    actions.push_back(action);
  }
  if (actions.empty()) {
    throw BadPacket();
  }
  return resume(actions);
}

// One task runs at a time, and which one the recording says. What a debugger can choose is whose
// steps end the run.
std::string Server::resume(const std::vector<Action>& actions) {
  const auto stepping = std::find_if(actions.begin(), actions.end(),
                                     [](const Action& action) { return action.kind != 'c'; });
  RunSettings settings;
  if (stepping != actions.end()) {
    settings.step = task_of(stepping->thread);
    settings.range_begin = stepping->begin;
    settings.range_end = stepping->end;
  }
  if (in_call()) {
    const std::int32_t tid = settings.step != 0 ? settings.step : task_of(actions.front().thread);
    return run_in_diversion(tid, settings.step != 0);
  }
  end_changes();
  if (std::exchange(just_restarted_, false)) {
    return stop_reply(0, 0, {});
  }
  if (backward_next_) {
    // A debugger that steps off a breakpoint first goes on after that.
    backward_next_ = stepping != actions.end();
    settings.range_begin = settings.range_end = 0;
    return run_timeline(Direction::kBackward, std::move(settings));
  }
  if (at_exit_) {
    exited_ = true;
    stop_ = *at_exit_;
    return stop_;
  }
  return run_timeline(Direction::kForward, std::move(settings));
}

std::string Server::resume_backward(bool step) {
  if (in_call()) {
    throw Error(ErrorCode::kUnsupportedState,
                "a function that was called from the debugger cannot be run backward");
  }
  end_changes();
  // In whatever direction: Delve goes on in that of its last command.
  if (std::exchange(just_restarted_, false)) {
    return stop_reply(0, 0, {});
  }
  RunSettings settings;
  if (step) {
    settings.step = task_of(continue_);
  }
  return run_timeline(Direction::kBackward, std::move(settings));
}

std::string Server::run_timeline(Direction direction, RunSettings settings) {
  settings.process = settings_.process;
  settings.report_signal = [this](int signal) {
    return !passed_signals_.contains(to_protocol_signal(signal));
  };
  const bool forward = direction == Direction::kForward;
  if (const std::int32_t tid = std::exchange(in_vfork_, forward ? in_vfork_ : 0);
      !forward && tid != 0) {
    // Before the call there is nothing to wait for: the debugger puts its breakpoints in again, and
    // asks once more.
    return stop_reply(SIGTRAP, tid, "vforkdone:;");
  }
  settings.fork = forward && fork_events_ && settings.step == 0;
  settings.vfork = forward && vfork_events_ && settings.step == 0;
  settings.exec = forward && exec_events_;
  settings.calls = calls_;
  at_exit_.reset();
  exited_ = false;
  const Stop stop = settings_.while_watching([&](const std::atomic<bool>& interrupt) {
    settings.interrupt = &interrupt;
    return debuggee_.run(direction, settings);
  });
  return stop_text(stop, direction);
}

std::string Server::run_in_diversion(std::int32_t tid, bool step) {
  call_was_run_ = true;
  const Stop stop = settings_.while_watching([&](const std::atomic<bool>& interrupt) {
    return debuggee_.run_diverted(tid, step, &interrupt);
  });
  if (stop.reason == StopReason::kExit) {
    // The debugger takes its call for ended by a signal, and the processes are there again.
    leave_diversion();
    tell("the function that was called ended the process: the replay is where it was\n");
    return stop_reply(SIGKILL, task_for_questions(), {});
  }
  return stop_text(stop, Direction::kForward);
}

std::string Server::stop_text(const Stop& stop, Direction direction) {
  const std::int32_t tid = stop.tid != 0 ? stop.tid : task_for_questions();
  std::string reason;
  int signal = SIGTRAP;
  switch (stop.reason) {
  case StopReason::kStep:
    break;
  case StopReason::kBreakpoint: {
    const auto hit = std::find_if(breakpoints_.begin(), breakpoints_.end(), [&](const auto& item) {
      return item.second.on_timeline == stop.breakpoint;
    });
    const bool hardware =
        hit != breakpoints_.end() && hit->second.breakpoint.kind == Breakpoint::Kind::kHardware;
    reason = hardware ? (hwbreak_ ? "hwbreak:;" : "") : (swbreak_ ? "swbreak:;" : "");
    break;
  }
  case StopReason::kWatchpoint: {
    const auto hit = std::find_if(breakpoints_.begin(), breakpoints_.end(), [&](const auto& item) {
      return item.second.on_timeline == stop.breakpoint;
    });
    const Breakpoint::Kind kind =
        hit == breakpoints_.end() ? Breakpoint::Kind::kWrite : hit->second.breakpoint.kind;
    reason = (kind == Breakpoint::Kind::kRead     ? "rwatch:"
              : kind == Breakpoint::Kind::kAccess ? "awatch:"
                                                  : "watch:") +
             hex_number(stop.address) + ";";
    break;
  }
  case StopReason::kSignal:
    signal = stop.signal;
    break;
  case StopReason::kExit:
    // A stop by the signal that ends it, or as if by SIGKILL, as rr does where it exits: one can go
    // backward from there; going on ends it.
    signal = stop.signal != 0 ? stop.signal : SIGKILL;
    if (direction == Direction::kForward) {
      at_exit_ =
          WIFSIGNALED(stop.status)
              ? "X" + hex_byte(static_cast<unsigned>(to_protocol_signal(WTERMSIG(stop.status))))
              : "W" + hex_byte(static_cast<unsigned>(WEXITSTATUS(stop.status)));
      if (multiprocess_) {
        *at_exit_ += ";process:" + hex_number(static_cast<std::uint32_t>(settings_.process));
      }
    }
    break;
  case StopReason::kFork:
    reason = (stop.vfork ? "vfork:" : "fork:") + thread_text(stop.child, stop.child) + ";";
    in_vfork_ = stop.vfork ? tid : in_vfork_;
    break;
  case StopReason::kVforkDone:
    reason = "vforkdone:;";
    in_vfork_ = 0;
    break;
  case StopReason::kExec: {
    std::string path;
    for (const TimelineProcess& process : debuggee_.processes()) {
      path = process.pid == stop.pid ? process.executable : path;
    }
    reason = "exec:" + to_hex(path) + ";";
    break;
  }
  case StopReason::kCallEntry:
  case StopReason::kCallReturn:
    reason = (stop.reason == StopReason::kCallEntry ? "syscall_entry:" : "syscall_return:") +
             hex_number(static_cast<std::uint64_t>(stop.call)) + ";";
    break;
  case StopReason::kInterrupted:
    signal = direction == Direction::kForward ? SIGINT : 0;
    break;
  case StopReason::kEndOfHistory:
    signal = 0;
    reason = "replaylog:end;";
    break;
  case StopReason::kStartOfHistory:
    signal = 0;
    reason = "replaylog:begin;";
    if (debuggee_.here() < debuggee_.first_place(settings_.process)) {
      debuggee_.go_to(debuggee_.first_place(settings_.process));
      return stop_reply(0, 0, reason);
    }
    break;
  case StopReason::kThreadBegin:
  case StopReason::kThreadEnd:
    break;
  }
  return stop_reply(signal, tid, reason);
}

// With the registers that debuggers ask for first.
std::string Server::stop_reply(int signal, std::int32_t tid, const std::string& reason) {
  stopped_ = tid;
  if (tid == 0) {
    stopped_ = tid = task_for_questions();
  }
  std::int32_t pid = pid_of(tid);
  pid = pid != 0 ? pid : settings_.process;
  general_ = continue_ = {pid, tid};
  std::string text = "T" + hex_byte(static_cast<unsigned>(to_protocol_signal(signal))) + reason +
                     "thread:" + thread_text(pid, tid) + ";";
  const std::optional<std::vector<std::byte>> general = debuggee_.registers(tid, kNoteGeneral);
  for (const char* name : {"rbp", "rsp", "rip"}) {
    const std::optional<unsigned> number = registers_.number_of(name);
    const RegisterInfo* info = number ? registers_.find(*number) : nullptr;
    const auto bytes = general && info ? RegisterTable::value(*info, *general) : std::nullopt;
    if (bytes) {
      text += hex_byte(*number) + ":" + to_hex(*bytes) + ";";
    }
  }
  if (list_threads_) {
    std::string ids;
    std::string addresses;
    for (const TimelineTask& task : debuggee_.tasks()) {
      if (task.pid != settings_.process) {
        continue;
      }
      const RegisterInfo* info = registers_.find(registers_.number_of("rip").value_or(0));
      const auto bytes = info == nullptr ? std::nullopt : register_bytes(task.tid, *info);
      std::uint64_t rip = 0;
      if (bytes) {
        std::memcpy(&rip, bytes->data(), sizeof rip);
      }
      ids += (ids.empty() ? "" : ",") + hex_number(static_cast<std::uint32_t>(task.tid));
      addresses += (addresses.empty() ? "" : ",") + hex_number(rip);
    }
    text += "threads:" + ids + ";thread-pcs:" + addresses + ";";
  }
  stop_ = text;
  return text;
}

std::string Server::last_stop() {
  if (exited_) {
    return stop_;
  }
  return stop_.empty() ? stop_reply(0, 0, {}) : stop_;
}

// "vRun;PROGRAM;N": the program is the recorded one, N an event, "cN" a checkpoint, "tN" so many
// events of the task.
std::string Server::restart(Words words) {
  words.until(';'); // a program's name has no meaning here
  const std::optional<std::string> target = from_hex(words.until(';'));
  if (!target) {
    throw BadPacket();
  }
  leave_diversion();
  const std::int32_t tid = stopped_;
  const auto number_from = [&](std::size_t skip) {
    const std::optional<std::int64_t> number = decimal(std::string_view(*target).substr(skip));
    if (!number || *number < 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "'" + *target + "' is no event, checkpoint (cN) or tick (tN)");
    }
    return *number;
  };
  if (target->empty()) {
    debuggee_.go_to(settings_.restart ? *settings_.restart
                                      : debuggee_.first_place(settings_.process));
  } else if (target->front() == 'c') {
    go_to_checkpoint(static_cast<std::uint64_t>(number_from(1)));
  } else if (target->front() == 't') {
    const std::optional<Place> place =
        debuggee_.place_of_ticks(tid != 0 ? tid : settings_.process, number_from(1));
    if (!place) {
      throw Error(ErrorCode::kNotFound, "the thread never has so many ticks");
    }
    debuggee_.go_to(*place);
  } else {
    const std::int64_t event = number_from(0);
    const Place first = debuggee_.first_place(settings_.process);
    debuggee_.go_to(event <= first.event ? first : Place{event, 0});
  }
  at_exit_.reset();
  exited_ = false;
  backward_next_ = false;
  in_vfork_ = 0;
  stopped_ = 0;
  just_restarted_ = true;
  return stop_reply(SIGTRAP, 0, {});
}

void Server::enter_diversion() {
  if (debuggee_.diverted()) {
    return;
  }
  debuggee_.divert();
  // What was allocated for expressions has to be there again.
  const std::int32_t tid = task_for_questions();
  constexpr std::uint64_t kMmap = 9;
  for (const auto& [address, allocation] : allocations_) {
    const std::uint64_t arguments[] = {address,
                                       allocation.size,
                                       allocation.protection,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                                       ~std::uint64_t{0},
                                       0};
    call_diverted(tid, kMmap, arguments);
  }
}

void Server::leave_diversion() {
  calls_announced_ = 0;
  address_changed_ = call_was_run_ = false;
  if (debuggee_.diverted()) {
    debuggee_.end_diversion();
    after_diversion();
  }
}

void Server::end_changes() {
  const bool by_hand = debuggee_.diverted() && !call_was_run_;
  leave_diversion();
  if (by_hand) {
    tell("what was changed is forgotten: the replay goes on as it was recorded\n");
  }
}

void Server::call_ends() {
  calls_announced_ -= calls_announced_ != 0 ? 1 : 0;
  address_changed_ = address_changed_ && calls_announced_ != 0;
}

} // namespace rrpcp::gdbserver
