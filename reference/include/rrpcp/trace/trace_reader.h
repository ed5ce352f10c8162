// Reading a trace.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/error.h"
#include "rrpcp/export.h"
#include "rrpcp/schema/recording.capnp.h"
#include "rrpcp/schema/trace.capnp.h"
#include "rrpcp/stream_position.h"
#include "rrpcp/trace/trace_format.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// What a reader is willing to spend on one trace.
struct TraceReadLimits {
  // Bytes of one decoded chunk.
  std::uint32_t max_chunk_bytes = trace_format::kMaxChunkLength;
  // Chunks of the stream: 32 bytes of memory each.
  std::uint64_t max_chunks = std::uint64_t{1} << 26;
};

// The decoded stream header.
struct TraceHeader {
  std::uint16_t major = 0;
  std::uint16_t minor = 0;
  std::uint64_t incompatible = 0;
  std::uint64_t read_only_compatible = 0;
  std::uint64_t compatible = 0;
  TraceUuid uuid;
  std::uint16_t machine = 0;
  std::uint64_t checksum = 0;
};

// An entry of the index.
struct TraceChunk {
  // Of the chunk's header in the file.
  std::uint64_t offset = 0;
  // Number of the first event that begins in this chunk or a later one.
  std::int64_t first_event = 0;
  // Events that begin in it.
  std::uint32_t events = 0;
  // trace_format::kContents…
  std::uint32_t contents = 0;
  // Decoded bytes of the stream before it.
  std::uint64_t decoded_offset = 0;
};

// An execve(2) of a recorded process.
struct TaskExecution {
  std::int64_t event = 0;
  std::string path;
  std::vector<std::string> command_line;

  bool operator==(const TaskExecution&) const = default;
};

// A thread that was recorded: schema::TraceTask says what the fields mean.
struct TaskRecord {
  std::int32_t tid = 0;
  std::int32_t pid = 0;
  std::int32_t parent_pid = 0;
  std::int64_t first_event = 0;
  std::int64_t last_event = 0;
  std::int32_t exit_status = 0;
  std::vector<TaskExecution> executions;

  bool operator==(const TaskRecord&) const = default;
};

using TaskTable = std::vector<TaskRecord>;

struct TraceState;

// Goes through the events of a trace; made by TraceReader::events. Keeps what it needs of the trace
// alive. One thread at a time; several of one trace are independent.
class EventReader {
public:
  EventReader(EventReader&&) noexcept;
  EventReader& operator=(EventReader&&) noexcept;
  ~EventReader();

  // Path of the stream's file, as errors name it.
  const std::string& stream_name() const;
  // False: there is a current event, and the functions below may be called.
  bool at_end() const;
  // Number of the current event; at the end: of the one that would follow.
  std::int64_t number() const;
  // Its message. Valid until next() or seek().
  schema::Event::Reader event() const;
  // Bytes of its data.
  std::uint64_t data_length() const;
  // Calls `sink` with consecutive pieces of the data's bytes [offset, offset + length), each valid
  // only during the call. Throws Error (kDamaged, kInvalidArgument beyond the end).
  void data(std::uint64_t offset, std::uint64_t length,
            const std::function<void(std::span<const std::byte>)>& sink);
  // The same into `out`.
  void read_data(std::uint64_t offset, std::span<std::byte> out);
  // A place from which the current event is the first.
  StreamPosition position() const;

  // Goes on to the next event. Throws Error(kDamaged) naming the byte.
  void next();
  // Goes to `event`, which costs the same wherever it is. From 1 to the last one and one more,
  // which is the end; else kInvalidArgument.
  void seek(std::int64_t event);

private:
  friend class TraceReader;
  struct Impl;
  explicit EventReader(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// An open trace. Opening reads the stream's header, its index (of an incomplete trace: the headers
// of all chunks) and the start record. Immutable: safe for several threads.
class TraceReader {
public:
  // Throws Error: kNotFound, kPermission, kNotACheckpoint (no trace), kIncomplete (not one whole
  // chunk), kDamaged, kUnsupportedFeature (by name), kLimit.
  static TraceReader open(const std::string& directory, const TraceReadLimits& limits = {});

  TraceReader(TraceReader&&) noexcept;
  TraceReader& operator=(TraceReader&&) noexcept;
  ~TraceReader();

  const std::string& directory() const;
  // Path of the stream's file, as errors name it.
  const std::string& stream_name() const;
  const TraceHeader& header() const;
  const TraceUuid& uuid() const { return header().uuid; }
  schema::TraceStart::Reader start() const;

  // The recording was ended properly.
  bool complete() const;
  // A recorder is at work on it at this moment.
  bool being_recorded() const;
  // Why the stream is not whole: incomplete (what was recorded up to the last whole chunk can be
  // read) or damaged (what lies before that byte can). Empty: nothing was noticed.
  const std::optional<Error>& problem() const;
  // The end record; only of a complete trace.
  schema::TraceEnd::Reader end() const;

  // Number of events that can be read: 1 to this. 0: none.
  std::int64_t event_count() const;
  // Kept files by number. Of an incomplete trace, those whose records can be read.
  const std::vector<schema::TraceFile::Reader>& files() const;
  const std::vector<TraceChunk>& chunks() const;
  std::uint64_t file_size() const;

  // From `event` on: 1 to event_count() + 1, which is the end. Found by binary search over the
  // index: costs the same wherever it is.
  EventReader events(std::int64_t event = 1) const;

  // The threads that were recorded, in the order in which they were made. Of an incomplete trace
  // they are gathered from the events that tell of tasks. Throws Error(kDamaged).
  TaskTable tasks() const;

  // Reads everything and throws the first Error that is met, problem() included: after it every
  // byte of the stream is known to be as it was written.
  void verify() const;

private:
  explicit TraceReader(std::shared_ptr<const TraceState> state);
  std::shared_ptr<const TraceState> state_;
};

} // namespace rrpcp
