// Robust futexes in memory that processes share: the kernel marks them when their owner ends, and
// its list of them is gone then.

#include "process/proc_maps.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"

#include <csignal>
#include <sys/syscall.h>
#include <vector>

namespace rrpcp::replay {

// Remembers which words the kernel would mark if the task ended now.
void Recorder::note_futexes(RecordedTask& task) {
  if (task.end_recorded) {
    return;
  }
  task.shared_futexes.clear();
  const std::vector<std::uint64_t> words = robust_words(task.robust_list, task.memory);
  if (words.empty()) {
    return;
  }
  const std::vector<process::ProcMapping> mappings = process::read_mappings(task.tid);
  for (std::uint64_t word : words) {
    for (const process::ProcMapping& mapping : mappings) {
      if (mapping.contains(word) && mapping.shared) {
        task.shared_futexes.push_back(
            {mapping.device, mapping.inode, mapping.offset + (word - mapping.start)});
      }
    }
  }
}

void Recorder::note_futexes_of_process(pid_t pid) {
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (task->pid == pid && task->tracee.attached()) {
      note_futexes(*task);
    }
  }
}

// Those that the tasks of a process had when they were last looked at.
std::vector<RecordedTask::SharedWord> Recorder::abandoned_futexes(pid_t pid) const {
  std::vector<RecordedTask::SharedWord> words;
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (task->pid == pid) {
      words.insert(words.end(), task->shared_futexes.begin(), task->shared_futexes.end());
    }
  }
  return words;
}

// SIGKILL is not seen before it has ended a task.
void Recorder::note_futexes_before_kill(const RecordedTask& task) {
  const trace::SystemCall& call = task.call;
  if (call[call.number == SYS_tgkill ? 2 : 1] != SIGKILL) {
    return;
  }
  for (const auto& [tid, other] : scheduler_.tasks()) {
    if (!other->tracee.attached()) {
      continue;
    }
    try {
      note_futexes(*other);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone) {
        throw;
      }
    }
  }
}

// The words as the kernel has left them, in the memory of one who sees them.
void Recorder::record_abandoned_futexes(const RecordedTask& dead) {
  for (const RecordedTask::SharedWord& word : dead.shared_futexes) {
    record_shared_word(dead, word);
  }
}

void Recorder::record_shared_word(const RecordedTask& dead, const RecordedTask::SharedWord& word) {
  for (const auto& [tid, other] : scheduler_.tasks()) {
    if (other->pid == dead.pid || !other->tracee.attached()) {
      continue;
    }
    try {
      for (const process::ProcMapping& mapping : process::read_mappings(tid)) {
        if (mapping.shared && mapping.inode == word.inode && mapping.device == word.device &&
            mapping.offset <= word.offset && word.offset < mapping.offset + mapping.length()) {
          record_foreign_write(dead, *other, mapping.start + (word.offset - mapping.offset),
                               sizeof(std::uint32_t));
          return;
        }
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone) {
        throw;
      }
    }
  }
}

} // namespace rrpcp::replay
