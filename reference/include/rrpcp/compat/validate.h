// Judging a checkpoint against the rr trace it belongs to. Part of the library rrpcp_compat.
#pragma once

#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/export.h"
#include "rrpcp/reader.h"
#include "rrpcp/validate.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// A trace prepared for judging checkpoints at some events. Immutable after construction; may be
// used from several threads.
class TraceValidator {
public:
  // Reads the trace's streams once, as far as the last of `events`; a damaged stream is kept as a
  // finding for the events behind the damage. Throws Error for a trace that cannot be opened.
  TraceValidator(const std::string& trace_directory, const std::vector<std::int64_t>& events);
  TraceValidator(TraceValidator&&) noexcept;
  TraceValidator& operator=(TraceValidator&&) noexcept;
  ~TraceValidator();

  const RrTrace& trace() const;

  // Everything about `checkpoint` that contradicts the trace, with codes of
  // DiagnosticGroup::kRrTrace
  // ("rr-trace.…"): uuid and format; its event; the stored cursor; tasks alive at the event and
  // their registers and ticks; mappings; backing files. Empty: it agrees. Throws
  // Error(kInvalidArgument) for an event that was not among those prepared, kDamaged for a manifest
  // that cannot be read.
  std::vector<Finding> check(const CheckpointReader& checkpoint) const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
