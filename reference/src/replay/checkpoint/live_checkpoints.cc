#include "replay/checkpoint/live_checkpoints.h"

#include "process/proc_file.h"
#include "replay/checkpoint/group_fork.h"
#include "replay/checkpoint/session_checkpoint.h"

#include <optional>
#include <string_view>
#include <utility>

namespace rrpcp::replay {

LiveCheckpoints::~LiveCheckpoints() {
  for (Live& live : live_) {
    kill_group(live.group.processes);
  }
}

std::size_t LiveCheckpoints::add(const std::string& path) {
  Live live;
  live.reader = std::make_unique<CheckpointReader>(CheckpointReader::open(path));
  check_origin(trace_directory_, *live.reader);
  const GroupRestoreOptions options = group_options(trace_directory_);
  std::optional<RestoredGroup> group;
  if (share_ && !live_.empty()) {
    group = fork_group(*live_.back().reader, live_.back().group, *live.reader, options);
    live.forked = group.has_value();
  }
  live.group = group ? std::move(*group) : restore_group(*live.reader, options);
  live_.push_back(std::move(live));
  return live_.size() - 1;
}

std::vector<pid_t> LiveCheckpoints::processes(std::size_t number) const {
  std::vector<pid_t> pids;
  for (const RestoredProcess& process : live_[number].group.processes) {
    pids.push_back(process.pid);
  }
  return pids;
}

std::uint64_t LiveCheckpoints::memory() const {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < live_.size(); ++i) {
    for (pid_t pid : processes(i)) {
      const std::string content = process::read_proc_file(process::proc_path(pid, "smaps_rollup"));
      const std::size_t at = content.find("\nPss:");
      if (at == std::string::npos) {
        continue;
      }
      std::string_view rest = std::string_view(content).substr(at + 5);
      bytes += process::parse_number(process::cut_word(rest), 10, "the size of a process") * 1024;
    }
  }
  return bytes;
}

std::unique_ptr<ReplaySession> LiveCheckpoints::start(std::size_t number, ReplayOptions options) {
  Live& live = live_[number];
  const GroupRestoreOptions how = group_options(trace_directory_);
  std::optional<RestoredGroup> group = fork_group(*live.reader, live.group, *live.reader, how);
  return start_group(trace_directory_, std::move(options), *live.reader,
                     group ? std::move(*group) : restore_group(*live.reader, how));
}

} // namespace rrpcp::replay
