// A state of a replay kept alive: its processes stand still, and replays go on from forks of them.
#pragma once

#include "base/scoped_fd.h"
#include "replay/engine/replay_session.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rrpcp::replay {

// Tasks with all that they stand on.
struct CopiedTasks {
  std::vector<AdoptedTask> tasks;
  std::map<std::uint32_t, ScopedFd> objects;
  // Stops that were waited for.
  std::uint64_t stops = 0;
  // Bytes of shared memory, which are of this copy alone and mapped but not touched.
  std::uint64_t shared_bytes = 0;
};

// Costs a fork of each process and a clone of each further thread: memory is shared copy on write,
// but for shared memory, which is copied. What the kernel keeps of a thread besides registers and
// mask (alternate stack, robust list, exit address) is not: a replay has no need of it, and
// a checkpoint is not saved from a copy. Use from the tracing thread.
class SessionCopy {
public:
  // `session` stands at an event or on the way to it, and has not arrived there. It goes on
  // unharmed. Throws Error.
  explicit SessionCopy(ReplaySession& session);
  ~SessionCopy();
  SessionCopy(const SessionCopy&) = delete;
  SessionCopy& operator=(const SessionCopy&) = delete;

  // A replay that goes on from here; the copy stays. Throws Error.
  std::unique_ptr<ReplaySession> start(const std::string& directory, ReplayOptions options);
  // The same without a session.
  CopiedTasks copy();
  const SupervisorState& state() const { return state_; }
  // A task by its recorded id; it must not be resumed.
  AdoptedTask& task(pid_t tid);
  // Bytes of memory that it occupies now: the proportional set size of its processes (smaps_rollup
  // of proc(5)), and shared memory. Grows as others change what they share with it.
  std::uint64_t memory() const;
  // The same if nobody shares anything (VmRSS): it never becomes more. Takes less time.
  std::uint64_t most_memory() const;

private:
  SupervisorState state_;
  CopiedTasks copied_;
};

// Ends tasks with their processes. Those that have ended already do no harm.
void kill_tasks(std::vector<AdoptedTask>& tasks);

} // namespace rrpcp::replay
