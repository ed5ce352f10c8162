#include "replay/debugging/timeline_debuggee.h"

#include "rrpcp/error.h"
#include "rrpcp/replay/replay.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp::replay {

std::vector<TimelineTask> TimelineDebuggee::tasks() {
  return diversion_ ? diversion_->tasks() : timeline_.tasks();
}

std::optional<std::vector<std::byte>> TimelineDebuggee::registers(std::int32_t tid,
                                                                  std::uint32_t note) {
  return diversion_ ? diversion_->registers(tid, note) : timeline_.registers(tid, note);
}

std::size_t TimelineDebuggee::read_memory(std::int32_t pid, std::uint64_t address,
                                          std::span<std::byte> out) {
  return diversion_ ? diversion_->read_memory(pid, address, out)
                    : timeline_.read_memory(pid, address, out);
}

std::vector<TimelineMapping> TimelineDebuggee::mappings(std::int32_t pid) {
  return timeline_.mappings(pid);
}

std::vector<std::byte> TimelineDebuggee::auxiliary_vector(std::int32_t pid) {
  return timeline_.auxiliary_vector(pid);
}

std::vector<std::byte> TimelineDebuggee::signal_info(std::int32_t tid) {
  const std::array<std::byte, 128> info =
      diversion_ ? diversion_->signal_info(tid) : timeline_.signal_info(tid);
  return {info.begin(), info.end()};
}

BreakpointId TimelineDebuggee::add(Breakpoint breakpoint, bool diverted) {
  if (diverted) {
    return diversion_.value().add(std::move(breakpoint));
  }
  return timeline_.add(std::move(breakpoint));
}

void TimelineDebuggee::remove(BreakpointId breakpoint, bool diverted) {
  if (diverted) {
    diversion_.value().remove(breakpoint);
  } else {
    timeline_.remove(breakpoint);
  }
}

Stop TimelineDebuggee::run(Direction direction, const RunSettings& settings) {
  return timeline_.run(direction, settings);
}

Place TimelineDebuggee::first_place(std::int32_t pid) {
  for (const TaskRecord& task : timeline_.trace().tasks()) {
    if (task.pid == pid && task.parent_pid == 0) {
      return timeline_.start();
    }
  }
  return {first_event_of_process(timeline_.trace(), pid) + 1, 0};
}

std::optional<Place> TimelineDebuggee::place_of_ticks(std::int32_t tid, std::int64_t ticks) {
  if (ticks <= 0) {
    return timeline_.start();
  }
  std::int64_t count = 0;
  for (EventReader events = timeline_.trace().events(); !events.at_end(); events.next()) {
    const schema::Event::Reader event = events.event();
    if (event.getTask() == tid && ++count == ticks) {
      return Place{events.number() + 1, 0};
    }
  }
  return std::nullopt;
}

void TimelineDebuggee::set_registers(std::int32_t tid, std::uint32_t note,
                                     std::span<const std::byte> bytes) {
  diversion_.value().set_registers(tid, note, bytes);
}

void TimelineDebuggee::write_memory(std::int32_t pid, std::uint64_t address,
                                    std::span<const std::byte> bytes) {
  diversion_.value().write_memory(pid, address, bytes);
}

Stop TimelineDebuggee::run_diverted(std::int32_t tid, bool step,
                                    const std::atomic<bool>* interrupt) {
  return diversion_.value().run(tid, step, interrupt);
}

// Whoever is connected can read what the program has mapped, and no other file.
int TimelineDebuggee::open_file(const std::string& path) {
  std::string file;
  for (const TimelineProcess& process : timeline_.processes()) {
    if (path == process.executable) {
      file = process.kept_executable.empty() ? path : process.kept_executable;
    } else if (path == process.kept_executable) {
      file = path;
    }
    if (file.empty()) {
      const std::vector<TimelineMapping> mappings = timeline_.mappings(process.pid);
      if (std::any_of(mappings.begin(), mappings.end(), [&](const TimelineMapping& mapping) {
            return mapping.name == path && path.starts_with("/");
          })) {
        file = path;
      }
    }
  }
  if (file.empty()) {
    return -ENOENT;
  }
  const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    return -errno;
  }
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    return -EACCES;
  }
  return descriptor;
}

} // namespace rrpcp::replay
