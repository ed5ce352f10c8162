#include "process/capture/process_state.h"

#include "base/clock.h"
#include "process/capture/data_bytes.h"
#include "process/capture/task_state.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <csignal>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <vector>

namespace rrpcp::process::capture {

namespace {

// The first line of a file, without its line feed.
std::string read_line(const std::string& path) {
  const std::string content = read_proc_file(path);
  std::string_view rest = content;
  return std::string(cut_field(rest, '\n'));
}

// The first column of /proc/PID/limits, by RLIMIT_* number.
constexpr std::array<std::string_view, RLIM_NLIMITS> kLimitNames = {
    "Max cpu time",       "Max file size",     "Max data size",         "Max stack size",
    "Max core file size", "Max resident set",  "Max processes",         "Max open files",
    "Max locked memory",  "Max address space", "Max file locks",        "Max pending signals",
    "Max msgqueue size",  "Max nice priority", "Max realtime priority", "Max realtime timeout"};

std::uint64_t parse_limit(std::string_view text) {
  return text == "unlimited" ? ~std::uint64_t{0} : parse_number(text, 10, "a resource limit");
}

// From the file, because prlimit(2) asks for more rights than tracing does.
void collect_limits(pid_t tid, schema::Process::Builder process) {
  struct Limit {
    std::uint32_t resource;
    std::uint64_t soft;
    std::uint64_t hard;
  };
  std::vector<Limit> limits;
  const std::string content = read_proc_file(proc_path(tid, "limits"));
  std::string_view text = content;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    for (std::uint32_t resource = 0; resource < kLimitNames.size(); ++resource) {
      if (line.starts_with(kLimitNames[resource])) {
        line.remove_prefix(kLimitNames[resource].size());
        std::uint64_t soft = parse_limit(cut_word(line));
        std::uint64_t hard = parse_limit(cut_word(line));
        limits.push_back({resource, soft, hard});
        break;
      }
    }
  }
  std::sort(limits.begin(), limits.end(),
            [](const Limit& a, const Limit& b) { return a.resource < b.resource; });
  auto out = process.initResourceLimits(static_cast<unsigned>(limits.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setResource(limits[i].resource);
    out[i].setSoft(limits[i].soft);
    out[i].setHard(limits[i].hard);
  }
}

struct PosixTimer {
  std::int32_t id = 0;
  std::int32_t signal = 0;
  std::uint64_t value = 0;
  std::uint32_t notify = 0;
  std::int32_t tid = 0;
  std::int32_t clock = 0;
};

// From /proc/PID/timers of proc_pid_timers(5).
std::vector<PosixTimer> parse_posix_timers(std::string_view text) {
  std::vector<PosixTimer> timers;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    std::string_view key = cut_field(line, ':');
    std::string_view value = cut_word(line);
    if (key == "ID") {
      timers.emplace_back();
      timers.back().id = static_cast<std::int32_t>(parse_number(value, 10, "a timer"));
    } else if (timers.empty()) {
      continue;
    } else if (key == "signal") {
      timers.back().signal =
          static_cast<std::int32_t>(parse_number(cut_field(value, '/'), 10, "a timer's signal"));
      timers.back().value = parse_number(value, 16, "a timer's value");
    } else if (key == "notify") { // "signal/pid.12", "signal/tid.13", "none/pid.0"
      std::string_view kind = cut_field(value, '/');
      std::string_view target = cut_field(value, '.');
      timers.back().notify = kind == "none"     ? SIGEV_NONE
                             : kind == "thread" ? SIGEV_THREAD
                                                : SIGEV_SIGNAL;
      if (target == "tid") {
        timers.back().notify |= SIGEV_THREAD_ID;
        timers.back().tid = static_cast<std::int32_t>(parse_number(value, 10, "a timer's thread"));
      }
    } else if (key == "ClockID") {
      timers.back().clock = static_cast<std::int32_t>(parse_signed(value, "a timer's clock"));
    }
  }
  std::sort(timers.begin(), timers.end(),
            [](const PosixTimer& a, const PosixTimer& b) { return a.id < b.id; });
  return timers;
}

std::uint64_t microseconds(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(time.tv_usec);
}

// Whether a process has timers, where the kernel does not list them: ids are given from 0 on.
bool has_posix_timer(RemoteCalls& calls, const ScratchMemory& scratch) {
  constexpr std::uint64_t kTried = 16;
  for (std::uint64_t id = 0; id < kTried; ++id) {
    if (calls.call(SYS_timer_gettime, id, scratch.address()) == 0) {
      return true;
    }
  }
  return false;
}

void collect_posix_timers(pid_t tid, RemoteCalls& calls, ScratchMemory& scratch, Refusals& refusals,
                          schema::Process::Builder process) {
  const std::optional<std::string> list = try_read_file(proc_path(tid, "timers"));
  if (!list) { // a kernel without CONFIG_CHECKPOINT_RESTORE
    if (has_posix_timer(calls, scratch)) {
      refusals.refuse_unless("posix-timer",
                             "timers of timer_create(2), which this kernel does not "
                             "tell about (/proc/PID/timers)",
                             "they are left out");
    }
    return;
  }
  std::vector<PosixTimer> timers = parse_posix_timers(*list);
  if (timers.empty()) {
    return;
  }
  auto out = process.initPosixTimers(static_cast<unsigned>(timers.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    const PosixTimer& timer = timers[i];
    out[i].setId(timer.id);
    out[i].setClock(timer.clock);
    out[i].setNotify(timer.notify);
    out[i].setSignal((timer.notify & ~std::uint32_t{SIGEV_THREAD_ID}) == SIGEV_SIGNAL ? timer.signal
                                                                                      : 0);
    out[i].setValue(timer.value);
    out[i].setTid(timer.tid);
    calls.require("asking for a timer", SYS_timer_gettime, static_cast<std::uint64_t>(timer.id),
                  scratch.address());
    auto setting = scratch.read<itimerspec>();
    out[i].setInterval(nanoseconds(setting.it_interval));
    out[i].setRemaining(nanoseconds(setting.it_value));
  }
}

void collect_interval_timers(RemoteCalls& calls, ScratchMemory& scratch,
                             schema::Process::Builder process) {
  struct Armed {
    std::uint8_t which;
    itimerval setting;
  };
  std::vector<Armed> armed;
  for (std::uint8_t which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF}) {
    calls.require("asking for an interval timer", SYS_getitimer, which, scratch.address());
    auto setting = scratch.read<itimerval>();
    if (microseconds(setting.it_value) == 0 && microseconds(setting.it_interval) != 0) {
      setting.it_value.tv_usec = 1; // it has expired, and its signal waits (spec/model.md)
    }
    if (microseconds(setting.it_value) != 0) {
      armed.push_back({which, setting});
    }
  }
  if (armed.empty()) {
    return;
  }
  auto out = process.initIntervalTimers(static_cast<unsigned>(armed.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setTimer(armed[i].which);
    out[i].setInterval(microseconds(armed[i].setting.it_interval));
    out[i].setValue(microseconds(armed[i].setting.it_value));
  }
}

// The user who logged in, for the audit of what is done (proc(5) loginuid), which a process has
// from its parent, as a rule for ever.
void tell_login_user(pid_t tid, Refusals& refusals) {
  constexpr const char* kNone = "4294967295";
  auto read = [&](const std::string& path) { return try_read_file(path).value_or(kNone); };
  const std::string user = read(proc_path(tid, "loginuid"));
  if (user != kNone && user != read("/proc/self/loginuid")) {
    refusals.warn("its login user for the audit is " + user +
                  " (proc(5) loginuid); a restored process has that of the restorer");
  }
}

} // namespace

void collect_command_line(pid_t tid, schema::Process::Builder process) {
  const std::string content = read_proc_file(proc_path(tid, "cmdline"));
  std::vector<std::string_view> arguments;
  for (std::string_view rest = content; !rest.empty();) {
    arguments.push_back(cut_field(rest, '\0'));
  }
  auto out = process.initCommandLine(static_cast<unsigned>(arguments.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out.set(i, as_data(arguments[i]));
  }
}

void collect_process(Tracee& thread, const ProcStatus& status, const CallSite& site,
                     ScratchMemory& scratch, Refusals& refusals, schema::Process::Builder process) {
  const pid_t tid = thread.tid();
  process.setPid(status.process_in_namespace);
  // The parent's id is shown in our namespace: from another one it may not even be visible.
  process.setParentPid(status.same_namespace ? status.parent : 0);
  process.setProcessGroup(status.process_group_in_namespace);
  process.setSessionId(status.session_in_namespace);
  process.setPersonality(static_cast<std::uint32_t>(
      parse_number(read_line(proc_path(tid, "personality")), 16, "the personality")));
  const std::string adjustment = read_line(proc_path(tid, "oom_score_adj"));
  process.setOutOfMemoryAdjustment(
      static_cast<std::int32_t>(parse_signed(adjustment, "the out-of-memory adjustment")));
  tell_login_user(tid, refusals);
  collect_limits(tid, process);
  collect_command_line(tid, process);
  std::vector<SignalInfoBytes> pending =
      complete_queue(thread.queued_signals(SignalQueue::kProcess), status.shared_pending);
  if (!pending.empty()) {
    set_signals(process.initPendingSignals(static_cast<unsigned>(pending.size())), pending);
  }
  RemoteCalls calls = site.begin(thread);
  scratch.map(calls);
  collect_interval_timers(calls, scratch, process);
  collect_posix_timers(tid, calls, scratch, refusals, process);
  process.setNotDumpable(
      calls.require("asking for PR_GET_DUMPABLE", SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
  calls.require("asking for PR_GET_CHILD_SUBREAPER", SYS_prctl, PR_GET_CHILD_SUBREAPER,
                scratch.address(), 0, 0, 0);
  process.setChildSubreaper(scratch.read<std::int32_t>() != 0);
  calls.finish();
}

void describe_ignored_signals(std::uint64_t ignored, schema::SignalHandlerTable::Builder table) {
  auto out = table.initActions(static_cast<unsigned>(std::popcount(ignored)));
  unsigned i = 0;
  for (std::uint64_t rest = ignored; rest != 0; rest &= rest - 1) {
    out[i].setSignal(static_cast<std::uint8_t>(std::countr_zero(rest) + 1));
    out[i].setHandler(reinterpret_cast<std::uintptr_t>(SIG_IGN));
    ++i;
  }
}

void collect_signal_handlers(RemoteCalls& calls, ScratchMemory& scratch,
                             schema::SignalHandlerTable::Builder table) {
  // The kernel's struct sigaction on x86-64, which differs from the C library's.
  struct Action {
    std::uint64_t handler;
    std::uint64_t flags;
    std::uint64_t restorer;
    std::uint64_t mask;
  };
  constexpr std::uint64_t kRestorer = 0x04000000; // SA_RESTORER
  struct Set {
    std::uint8_t signal;
    Action action;
  };
  std::vector<Set> found;
  for (std::uint8_t signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) {
      continue;
    }
    calls.require("asking for a signal's handler", SYS_rt_sigaction, signal, 0, scratch.address(),
                  8);
    auto action = scratch.read<Action>();
    if (action.handler != 0 || action.flags != 0 || action.mask != 0) {
      found.push_back({signal, action});
    }
  }
  auto out = table.initActions(static_cast<unsigned>(found.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    const Action& action = found[i].action;
    out[i].setSignal(found[i].signal);
    out[i].setHandler(action.handler);
    out[i].setFlags(action.flags);
    out[i].setMask(action.mask);
    out[i].setRestorer((action.flags & kRestorer) != 0 ? action.restorer : 0);
  }
}

} // namespace rrpcp::process::capture
