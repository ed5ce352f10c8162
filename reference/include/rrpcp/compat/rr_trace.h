// Reading rr's traces (trace version 85): the version file and the streams "events", "tasks",
// "mmaps" and "data". Part of the library rrpcp_compat.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/stream_position.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// What a reader is willing to spend on one trace.
struct RrTraceLimits {
  // Bytes of one decoded block; rr writes blocks of up to 1 MiB.
  std::uint64_t max_block_bytes = std::uint64_t{64} << 20;
  // Bytes of one message.
  std::uint64_t max_message_bytes = std::uint64_t{64} << 20;
  // Records of the streams "tasks" and "mmaps".
  std::uint64_t max_records = std::uint64_t{1} << 24;
};

// One record of CPUID as the trace's header has it.
struct RrTraceCpuid {
  std::uint32_t leaf = 0;
  // All ones where the leaf has no subleaves.
  std::uint32_t subleaf = 0;
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

// The version file.
struct RrTraceHeader {
  // The number on its first line.
  std::uint32_t version = 0;
  TraceUuid uuid;
  // ELF e_machine of the recording machine.
  std::uint16_t machine = 0;
  // Bytes.
  std::uint32_t page_size = 4096;
  // 0: unknown.
  std::uint64_t xcr0 = 0;
  std::vector<RrTraceCpuid> cpuid;
  // rr replays it only with this forward-compatibility version or a newer one. 0: any.
  std::int32_t required_forward_compatibility = 0;
  // AArch64: the recorded machine had pointer authentication; TPIDR_EL0 was recorded.
  bool has_pointer_authentication = false;
  bool has_tpidr = false;
};

// Kinds of frames, by the member names of rr's union.
enum class FrameKind : std::uint16_t {
  kInstructionTrap,
  kPatchSyscall,
  kSyscallbufAbortCommit,
  kSyscallbufReset,
  kSched,
  kGrowMap,
  kSignal,
  kSignalDelivery,
  kSignalHandler,
  kExit,
  kSyscallbufFlush,
  kSyscall,
  kPatchAfterSyscall,
  kPatchVsyscall,
  kPatchTrappingInstruction,
  kUnknown,
};

// The member's name: "sched", "syscall", …
const char* frame_kind_name(FrameKind kind);

// Whether rr takes checkpoints at such a frame: not where the recorded ticks are only approximate,
// nor where a task ends.
bool can_hold_checkpoint(FrameKind kind);

enum class SyscallPhase : std::uint16_t { kEnteringPtrace, kEntering, kExiting };

// A record of the stream "events".
struct RrTraceFrame {
  // Number of the event; the first is 1.
  std::int64_t event = 0;
  std::int32_t tid = 0;
  // Of the task, in all.
  std::int64_t ticks = 0;
  // ELF e_machine.
  std::uint16_t machine = 0;
  FrameKind kind = FrameKind::kUnknown;
  // As recorded at the event; empty for kinds that record none.
  std::vector<std::byte> registers;
  std::vector<std::byte> extra_registers;
  // For kSyscall.
  std::int32_t syscall_number = -1;
  SyscallPhase syscall_phase = SyscallPhase::kEntering;
  // Bytes of the stream "data" that belong to the frame.
  std::uint64_t data_bytes = 0;
};

// A record of the stream "tasks".
struct RrTraceTask {
  enum class Kind { kClone, kExec, kExit, kDetach };

  std::int64_t event = 0;
  std::int32_t tid = 0;
  Kind kind = Kind::kClone;
  // kClone:
  std::int32_t parent_tid = 0;
  std::int32_t clone_flags = 0;
  std::int32_t own_namespace_tid = 0;
  // kExec:
  std::string file_name;
  std::vector<std::string> command_line;
  // kExit: a wait status.
  std::int32_t exit_status = 0;
};

// A record of the stream "mmaps".
struct RrTraceMapping {
  enum class Source { kZero, kTrace, kFile };

  std::int64_t event = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  // Name while recording; may name nothing now.
  std::string name;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int32_t protection = 0;
  std::int32_t flags = 0;
  std::int64_t file_offset = 0;
  // stat(2) of the file while recording: st_mode, st_size (bytes), st_mtime (seconds). A mode of 0
  // and times of 0 mean that the trace was packed.
  std::uint32_t mode = 0;
  std::int64_t size = 0;
  std::int64_t modified_at = 0;
  Source source = Source::kZero;
  // kFile: absolute, or relative to the trace.
  std::string backing_file;
};

// Frames in order. Made by RrTrace::frames; not thread-safe.
class RrTraceFrameReader {
public:
  RrTraceFrameReader(RrTraceFrameReader&&) noexcept;
  RrTraceFrameReader& operator=(RrTraceFrameReader&&) noexcept;
  ~RrTraceFrameReader();

  // The next frame, nothing at the end. Throws Error(kDamaged, kIncomplete) with the byte of the
  // block.
  std::optional<RrTraceFrame> next();
  // Number of the event that next() gives.
  std::int64_t next_event() const;
  // Where that frame begins in "events".
  StreamPosition position() const;
  // Bytes of "data" that the frames before it used; counts from 0 where reading began.
  std::uint64_t data_offset() const;

private:
  friend class RrTrace;
  struct Impl;
  explicit RrTraceFrameReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Where a replayer that continues at an event goes on in each stream.
struct RrTraceCursor {
  // Begins with the frame of that event.
  StreamPosition events;
  // Begins with that frame's data.
  StreamPosition data;
  // Begin with the first record of that event or a later one.
  StreamPosition mmaps;
  StreamPosition tasks;

  bool operator==(const RrTraceCursor&) const = default;
};

// A trace directory. Reads nothing but the version file when it is opened; immutable, so safe for
// several threads.
class RrTrace {
public:
  // Throws Error: kNotFound (no version file), kIncomplete (a recording that did not end),
  // kUnsupportedFeature (another trace version), kDamaged.
  static RrTrace open(const std::string& directory, const RrTraceLimits& limits = {});

  const std::string& directory() const { return directory_; }
  const RrTraceHeader& header() const { return header_; }

  std::vector<RrTraceTask> tasks() const;
  std::vector<RrTraceMapping> mappings() const;

  // Reads from the first event on.
  RrTraceFrameReader frames() const;
  // Reads from `event` on, which begins at `position` in the stream "events".
  RrTraceFrameReader frames(std::int64_t event, const StreamPosition& position) const;

  // Reads `length` bytes of the stream "data" from `position` on. Throws Error where it ends
  // before.
  std::vector<std::byte> read_data(const StreamPosition& position, std::uint64_t length) const;

  // The cursors of `events`, in the same order; one pass over each stream. Nothing for an event
  // beyond the end of the trace (the event after the last one is the end itself).
  std::vector<std::optional<RrTraceCursor>> cursors(const std::vector<std::int64_t>& events) const;

private:
  std::string directory_;
  RrTraceHeader header_;
  RrTraceLimits limits_;
};

// Whether `directory` looks like a trace: it has a file "version" or "incomplete".
bool is_trace_directory(const std::string& directory);

} // namespace rrpcp
