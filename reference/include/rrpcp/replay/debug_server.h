// Serving a Timeline to debuggers that speak gdb's remote protocol: gdb, lldb, Delve, and what is
// built on them.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/replay/timeline.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

struct DebugServerSettings {
  // The process that debuggers see; what happens in others is not told. 0: the first one.
  std::int32_t process = 0;
  // Where a debugger's "run" goes to; nothing: to where the process begins.
  std::optional<Place> restart = {};
};

// What debuggers ask for is taken from the Timeline, which must outlive this object and is moved
// about by it. Checkpoints that one debugger made are there for the next. Use from one thread.
class DebugServer {
public:
  explicit DebugServer(Timeline& timeline, DebugServerSettings settings = {});
  DebugServer(const DebugServer&) = delete;
  DebugServer& operator=(const DebugServer&) = delete;
  ~DebugServer();

  enum class End {
    kDetached, // it said so
    kKilled,   // it wants the replay to end
    kGone,     // the connection broke, or it was no debugger
  };
  // Holds a conversation on a connected stream socket, which stays the caller's, until it ends.
  // Meanwhile who connects to `listener` is turned away; -1: there is none. Whatever the other side
  // sends is answered, if only by an error. Throws Error where the replay cannot go on.
  End serve(int socket, int listener = -1);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
