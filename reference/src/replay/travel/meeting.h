// A place on the way to an event that is known again by its state.
#pragma once

#include "process/remote_memory.h"
#include "replay/engine/replay_session.h"
#include "replay/travel/counted_code.h"
#include "replay/travel/session_copy.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::replay {

// On its way to an event a task depends on nothing but its registers and memory, and nobody else
// runs. So if it were at two places with the same state, it would come from the second one to
// a third, and never to the event: the state says where it is, without any count.
//
// What lies on the stack below the red zone (128 bytes, System V ABI for AMD64) is not compared:
// what a context switch may change there (XSAVE of the dynamic linker) no program reads.
class Meeting {
public:
  // Where the session stands, which has_way() and has not arrived. Costs a SessionCopy. Throws
  // Error.
  explicit Meeting(ReplaySession& session);

  std::int64_t event() const { return event_; }
  std::uint64_t address() const { return registers_.rip; }
  MetState met_state() const;
  // Whether a session stands there, whose current event it is. Throws Error.
  bool is_here(ReplaySession& session) const;
  SessionCopy& copy() const { return *copy_; }

private:
  bool same_registers(ReplaySession& session) const;
  bool same_memory(ReplaySession& session) const;
  bool same_bytes(process::RemoteMemory& other, std::uint64_t start, std::uint64_t end) const;

  std::int64_t event_;
  pid_t task_;
  user_regs_struct registers_{};
  std::optional<std::vector<std::byte>> extended_;
  std::unique_ptr<SessionCopy> copy_;
  mutable std::uint64_t differed_ = 0; // the page that did last
};

} // namespace rrpcp::replay
