#include "process/capture/semaphore_undo.h"

#include "process/proc_file.h"

#include <linux/kcmp.h>
#include <string>
#include <string_view>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::capture {

SemaphoreUndo find_semaphore_undo(pid_t pid, bool has_threads, pid_t child) {
  if (child == 0 || ::syscall(SYS_kcmp, pid, child, KCMP_SYSVSEM, 0, 0) == 0) {
    return SemaphoreUndo::kNone;
  }
  SemaphoreUndo found = SemaphoreUndo::kNone;
  const std::string content = try_read_file("/proc/sysvipc/sem").value_or("");
  std::string_view text = content;
  cut_field(text, '\n'); // headings
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    cut_word(line); // key
    const auto id = static_cast<int>(parse_signed(cut_word(line), "a semaphore set"));
    cut_word(line); // permissions
    const auto count = static_cast<int>(parse_number(cut_word(line), 10, "a semaphore set"));
    if (!has_threads) {
      return SemaphoreUndo::kCertain;
    }
    found = SemaphoreUndo::kPossible;
    for (int number = 0; number < count; ++number) {
      if (::semctl(id, number, GETPID) == pid) {
        return SemaphoreUndo::kCertain;
      }
    }
  }
  return found;
}

} // namespace rrpcp::capture
