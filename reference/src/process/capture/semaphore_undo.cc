#include "process/capture/semaphore_undo.h"

#include "process/proc_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <linux/kcmp.h>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::process::capture {

namespace {

// linux/sem.h: the largest value of a semaphore. Undo values are from -kMost - 1 to kMost.
constexpr int kMost = 32767;
constexpr int kStep = 16384;
constexpr int kMostSemaphores = 512;

// Operations that add `sum` to the undo value (`up`: take it away) on their way, that leave the
// semaphore's value within its range all the time, and of which the last cannot be done.
std::vector<sembuf> impossible_operations(unsigned short number, int value, bool up, int sum) {
  std::vector<sembuf> operations;
  auto add = [&](int operation, int flags) {
    operations.push_back({number, static_cast<short>(operation), static_cast<short>(flags)});
  };
  for (int left = sum; left > 0; left -= kStep) {
    const int step = std::min(left, kStep);
    add(up ? step : -step, SEM_UNDO | IPC_NOWAIT);
    add(up ? -step : step, IPC_NOWAIT);
  }
  if (value < kMost) {
    add(1, IPC_NOWAIT);
  }
  add(0, IPC_NOWAIT); // waits until the value is zero, which it is not
  return operations;
}

// Whether the undo value is zero; nothing where the thread may not say, or the set is gone.
std::optional<bool> is_undo_zero(RemoteCalls& calls, ScratchMemory& scratch, int set,
                                 unsigned short number) {
  const int value = ::semctl(set, number, GETVAL);
  if (value < 0) {
    return std::nullopt;
  }
  const bool up = value <= kMost - kStep;
  auto is_out_of_range = [&](int sum) -> std::optional<bool> {
    const std::vector<sembuf> operations = impossible_operations(number, value, up, sum);
    scratch.write(std::as_bytes(std::span(operations)));
    const std::int64_t result = calls.call(SYS_semop, static_cast<std::uint64_t>(set),
                                           scratch.address(), operations.size());
    return result == -ERANGE   ? std::optional(true)
           : result == -EAGAIN ? std::optional(false)
                               : std::nullopt;
  };
  // The last sum with which zero stays in its range.
  const int edge = up ? kMost + 1 : kMost;
  const std::optional<bool> before = is_out_of_range(edge);
  const std::optional<bool> after = before ? is_out_of_range(edge + 1) : std::nullopt;
  return after ? std::optional(!*before && *after) : std::nullopt;
}

} // namespace

bool has_undo_list(pid_t tid, pid_t child) {
  return child == 0 || ::syscall(SYS_kcmp, tid, child, KCMP_SYSVSEM, 0, 0) != 0;
}

SemaphoreUndo find_semaphore_undo(RemoteCalls& calls, ScratchMemory& scratch) {
  const std::string content = try_read_file("/proc/sysvipc/sem").value_or("");
  std::string_view text = content;
  cut_field(text, '\n'); // headings
  SemaphoreUndo found = SemaphoreUndo::kNone;
  int asked = 0;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    cut_word(line); // key
    const auto id = static_cast<int>(parse_signed(cut_word(line), "a semaphore set"));
    cut_word(line); // permissions
    const auto count = static_cast<int>(parse_number(cut_word(line), 10, "a semaphore set"));
    for (int number = 0; number < count; ++number) {
      std::optional<bool> zero;
      // Once more, in case somebody else has changed the semaphore in between.
      for (int i = 0; i < 2 && !zero.value_or(false) && asked < kMostSemaphores; ++i) {
        ++asked;
        zero = is_undo_zero(calls, scratch, id, static_cast<unsigned short>(number));
      }
      if (zero && !*zero) {
        return SemaphoreUndo::kCertain;
      }
      if (!zero) {
        found = SemaphoreUndo::kPossible;
        if (asked >= kMostSemaphores) {
          return found;
        }
      }
    }
  }
  return found;
}

} // namespace rrpcp::process::capture
