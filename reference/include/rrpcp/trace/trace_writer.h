// Writing a trace: one pass, one append-only stream.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/schema/recording.capnp.h"
#include "rrpcp/schema/trace.capnp.h"
#include "rrpcp/stream_position.h"
#include "rrpcp/trace/trace_format.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

struct TraceWriterOptions {
  // How chunks are stored; kRaw, kFast, …
  Profile profile = Profile::kFast;
  // Decoded bytes at which a chunk is closed: a multiple of 8, 4 KiB to 16 MiB.
  std::uint32_t chunk_length = trace_format::kDefaultChunkLength;
  // ELF e_machine of the recording machine.
  std::uint16_t machine = 62;
  // Identity of the trace; nil: a new random one.
  TraceUuid uuid = {};
  // finish() waits until the trace is on the disk. Without it the system writes it there when it
  // sees fit, as with any file: readers notice what a loss of power has taken.
  bool durable = true;
  // Called before a chunk is written: what its events refer to can be waited for. What it throws is
  // thrown by whatever wrote, and nothing can be appended then. May be empty.
  std::function<void()> before_chunk = {};
  // Does work in another thread, one piece after another, which outlives the writer: compressing
  // and writing chunks. An error of it is thrown by a later call. Empty: they are written at once.
  std::function<std::future<void>(std::function<void()>)> elsewhere = {};
  // Called there with the decoded bytes of each chunk before it is compressed: what was not known
  // when its records were appended can be filled in. May be empty.
  std::function<void(std::span<std::byte>)> amend = {};
};

// Writes the event stream of a trace:
//
//   TraceWriter writer(directory, start, options);
//   writer.append(event);                        // an event, numbered from 1 on
//   writer.append(event, {pieces});              // one with data: bytes that the event wrote
//   writer.begin(event, length); writer.add_data(bytes); …   // the same, piece by piece
//   writer.finish(end);
//
// Memory stays bounded by a few chunks, and a little for every task and kept file. A whole chunk is
// written with one write(2): what a killed recorder leaves is readable up to the last whole chunk.
// A writer that was not finished leaves an incomplete trace, which readers know and say.
//
// The stream is locked with flock(2) while the writer lives, which tells a trace that is being
// recorded from one whose recorder died. One thread at a time. After an Error from a write nothing
// more can be appended, and the file ends at its last whole chunk.
class TraceWriter {
public:
  // Makes the file "events" in `directory`, which must exist, and writes the start record. Throws
  // Error: kExists where a stream is there already, kNotFound, kPermission, kNoSpace, kSystem.
  TraceWriter(std::string directory, schema::TraceStart::Reader start,
              const TraceWriterOptions& options = {});
  ~TraceWriter();
  TraceWriter(const TraceWriter&) = delete;
  TraceWriter& operator=(const TraceWriter&) = delete;

  const std::string& directory() const;
  const TraceUuid& uuid() const;
  // Number that the next event gets; the first is 1.
  std::int64_t next_event() const;

  // Appends an event and returns its number. `data` is one piece after the other what belongs to
  // it. Throws Error (kNoSpace, kSystem; kLimit for a message of more than 16 MiB).
  std::int64_t append(schema::Event::Reader event,
                      std::span<const std::span<const std::byte>> data = {});
  // Begins an event with `data_length` bytes of data, which must follow by add_data() before
  // anything else is appended. Returns its number.
  std::int64_t begin(schema::Event::Reader event, std::uint64_t data_length);
  void add_data(std::span<const std::byte> bytes);

  // Appends a file record and returns the file's number; the first is 0.
  std::uint32_t add_file(schema::TraceFile::Reader file);

  // Closes the open chunk, so that all that was appended is in the file.
  void flush();
  // flush(), and waits until it is on the disk.
  void sync();
  // Where the next event will begin. Flushes.
  StreamPosition next_position();

  // Appends the end record, index and footer, and where TraceWriterOptions says so, syncs. Nothing
  // can be appended then.
  // `wait_status` is that of the first process, as waitpid(2) gives it.
  void finish(std::int32_t wait_status);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
