#include "rrpcp/compat.h"

#include <algorithm>
#include <array>

namespace rrpcp {

namespace {

constexpr Severity kE = Severity::kError;
constexpr Severity kW = Severity::kWarning;
constexpr Severity kI = Severity::kInfo;
constexpr ValidationLevel kS = ValidationLevel::kStructure;
constexpr ValidationLevel kM = ValidationLevel::kSemantics;

constexpr std::string_view kRemake =
    "Make the checkpoint again with rr, or remove it: rr cannot restore from it either.";
constexpr std::string_view kWrongTrace =
    "Use the trace that the checkpoint was made from; if this is it, make the checkpoint again.";
constexpr std::string_view kNothing = "Nothing needs to be done.";

// In the order of spec/validation.md.
constexpr auto kTable = std::to_array<Diagnostic>({
    {"legacy.incomplete", kE, kS,
     "The checkpoint was never finished: its message is missing or empty.",
     "rr was interrupted while it wrote the checkpoint: remove its directory, and make it again."},
    {"legacy.message", kE, kS, "The checkpoint's message cannot be decoded.", kRemake},
    {"legacy.invariant", kE, kS,
     "The checkpoint's message decodes, but says something that cannot be.", kRemake},
    {"legacy.index", kE, kS, "The index of checkpoints cannot be decoded.", kRemake},
    {"legacy.generation-unknown", kE, kS,
     "The index of checkpoints fits no known generation, or more than one, and is not guessed.",
     "It may be from another state of rr's work: use the rr that wrote it."},
    {"legacy.orphan", kW, kS,
     "A file or directory has the name of a checkpoint's but belongs to none.",
     "It is left over from an interrupted or removed checkpoint and can be removed."},
    {"legacy.name", kW, kS, "The name of the checkpoint's directory is of another event.",
     "The directory was renamed; what it holds counts."},
    {"legacy.page-path", kE, kS,
     "The path of a page file is empty or leads out of the checkpoint's directory.", kRemake},
    {"legacy.page-symlink", kE, kS,
     "A page file or its directory is a symbolic link; none is followed.",
     "Put the files themselves where the links are."},
    {"legacy.page-missing", kE, kS, "A page file is missing.", kRemake},
    {"legacy.page-type", kE, kS, "A page file is not a regular file.", kRemake},
    {"legacy.page-size", kE, kS, "A page file is not as long as its mapping.", kRemake},
    {"legacy.elsewhere", kI, kS,
     "The message names page files in another directory: the trace was moved or copied. The files "
     "in this trace are used, never the others.",
     kNothing},
    {"legacy.shared-differs", kW, kM,
     "Processes that share memory have page files with different contents of it; each is kept.",
     "A page file was probably damaged: compare with another checkpoint of the trace."},
    {"rr-trace.cursor", kW, kM,
     "The place in the trace at which replay goes on could not be found.",
     "The checkpoint can be used; replay then reads the trace from its beginning."},
    {"rr-trace.uuid", kE, kM, "The checkpoint belongs to another trace.", kWrongTrace},
    {"rr-trace.format", kE, kM, "The checkpoint names another format or version of trace.",
     kWrongTrace},
    {"rr-trace.event-missing", kE, kM, "The trace has no such event.", kWrongTrace},
    {"rr-trace.event-kind", kE, kM, "The event is of a kind at which no checkpoint can be taken.",
     kWrongTrace},
    {"rr-trace.cursor-wrong", kE, kM,
     "The stored place in the trace's streams is not that of the checkpoint's event.", kWrongTrace},
    {"rr-trace.task-missing", kE, kM, "A task that is alive at the event is not in the checkpoint.",
     kWrongTrace},
    {"rr-trace.task-unknown", kE, kM, "A task of the checkpoint is not alive at the event.",
     kWrongTrace},
    {"rr-trace.registers", kE, kM,
     "A task's registers differ from those that the trace recorded last before the event.",
     kWrongTrace},
    {"rr-trace.ticks", kE, kM,
     "A task's ticks differ from those that the trace recorded last before the event.",
     kWrongTrace},
    {"rr-trace.mapping", kE, kM,
     "A mapping has a file or shared memory that no record of the trace before the event mapped "
     "there.",
     kWrongTrace},
    {"rr-trace.backing-missing", kE, kM, "A file that the checkpoint needs is missing.",
     "Put the trace's files back."},
    {"rr-trace.backing-size", kE, kM,
     "A file that the checkpoint needs has another size than was recorded.",
     "Put back the file that was there when the checkpoint was made."},
    {"rr-trace.backing-content", kE, kM,
     "A file that the checkpoint needs has other contents than were recorded.",
     "Put back the file that was there when the checkpoint was made."},
    {"rr-trace.stream", kE, kS, "A stream of the trace cannot be read as far as the event.",
     "Copy the trace again from an intact original."},
});

} // namespace

std::span<const Diagnostic> compat_diagnostics() {
  return kTable;
}

const Diagnostic* find_compat_diagnostic(std::string_view code) {
  const auto found = std::find_if(kTable.begin(), kTable.end(),
                                  [&](const Diagnostic& entry) { return entry.code == code; });
  return found == kTable.end() ? nullptr : &*found;
}

std::string_view generation_name(Generation generation) {
  switch (generation) {
  case Generation::kRr2022:
    return "rr-2022";
  case Generation::kRr2024:
    return "rr-2024";
  case Generation::kRr2025:
    return "rr-2025";
  }
  return "unknown";
}

} // namespace rrpcp
