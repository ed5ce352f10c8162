// Running on one processor.
#pragma once

#include <sched.h>

namespace rrpcp::replay {

// Binds the calling thread, and so the processes that it makes, to one processor until it is
// destroyed: tasks that run one at a time change places fastest there, and the program always finds
// the same processor. Use from one thread.
class ProcessorBinding {
public:
  // -1: the one that the thread runs on. No effect where the system does not allow `processor`.
  explicit ProcessorBinding(int processor);
  ProcessorBinding(const ProcessorBinding&) = delete;
  ProcessorBinding& operator=(const ProcessorBinding&) = delete;
  ~ProcessorBinding();

  // -1: not bound.
  int processor() const { return processor_; }
  // What the thread was allowed before.
  const cpu_set_t& before() const { return before_; }

private:
  cpu_set_t before_;
  int processor_ = -1;
};

} // namespace rrpcp::replay
