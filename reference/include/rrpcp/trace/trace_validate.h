// Judging a checkpoint of a replay against the trace of pcp-rr that it belongs to.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/reader.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/validate.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// A trace prepared for judging checkpoints at some events. Immutable after construction; may be
// used from several threads.
class ReplayTraceValidator {
public:
  // Goes through the trace once, as far as the last of `events`; where that is not possible, it is
  // a finding of the events behind the damage. Throws Error for a trace that cannot be opened.
  ReplayTraceValidator(const std::string& trace_directory, const std::vector<std::int64_t>& events);
  ReplayTraceValidator(ReplayTraceValidator&&) noexcept;
  ReplayTraceValidator& operator=(ReplayTraceValidator&&) noexcept;
  ~ReplayTraceValidator();

  const TraceReader& trace() const;

  // Everything about `checkpoint` that contradicts the trace: its uuid and format; its event; the
  // cursor; the tasks alive at the event, how far they are, and their general registers; the kept
  // files that it needs. Empty: it agrees. Throws Error(kInvalidArgument) for an event that was not
  // among those prepared, kDamaged for a manifest that cannot be read.
  std::vector<Finding> check(const CheckpointReader& checkpoint) const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
