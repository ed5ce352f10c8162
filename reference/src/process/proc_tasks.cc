#include "process/proc_tasks.h"

#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <optional>
#include <string>

namespace rrpcp::process {

namespace {

// For kernels without CONFIG_PROC_CHILDREN: every process of the machine is asked for its parent.
std::vector<pid_t> search_children(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t candidate : try_list_numbers("/proc").value_or(std::vector<int>())) {
    std::optional<std::string> stat = try_read_file(proc_path(candidate, "stat"));
    if (stat && !stat->empty() && ProcStat::parse(*stat).parent == pid) {
      children.push_back(candidate);
    }
  }
  return children;
}

} // namespace

std::vector<pid_t> read_thread_ids(pid_t pid) {
  return try_list_numbers(proc_path(pid, "task")).value_or(std::vector<int>());
}

std::vector<pid_t> read_children(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t tid : read_thread_ids(pid)) {
    std::optional<std::string> text = try_read_file(proc_task_path(pid, tid, "children"));
    if (!text && try_read_file(proc_task_path(pid, tid, "comm"))) {
      return search_children(pid);
    }
    std::string_view rest = text ? std::string_view(*text) : std::string_view();
    for (std::string_view word = cut_word(rest); !word.empty(); word = cut_word(rest)) {
      children.push_back(static_cast<pid_t>(parse_number(word, 10, "a child process")));
    }
  }
  std::sort(children.begin(), children.end());
  return children;
}

} // namespace rrpcp::process
