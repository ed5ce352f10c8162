// Events on their way into the trace.
#pragma once

#include "base/background.h"
#include "process/remote_memory.h"
#include "replay/engine/recorded_task.h"
#include "rrpcp/trace/trace_writer.h"
#include "trace/event.h"
#include "trace/file_cache.h"
#include "trace/file_store.h"

#include <capnp/common.h>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::replay {

// Writes the trace of a recording, one event at a time: begin(), fill what it returns, write().
// What was written survives the recorder after about a second. Use from one thread. Methods throw
// Error (kNoSpace, kSystem, …); nothing more can be written then.
class EventWriter {
public:
  // Makes the stream in `directory`; the time of events counts from now. `background`
  // writes it, `cache` keeps the digests of files; both outlive the writer.
  EventWriter(const std::string& directory, schema::TraceStart::Reader start,
              Background& background, const trace::FileCache& cache);
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;
  ~EventWriter();

  // An empty event of `task`, which now is the latest one.
  trace::EventData& begin(trace::EventKind kind, RecordedTask& task);
  // The latest event. It may be filled until it is written.
  trace::EventData& event() { return event_; }
  // Has the event keep what memory holds at `address`, as far as it can be read, as an entry of
  // `list`, one of its lists.
  void add_memory(process::RemoteMemory& memory, std::uint64_t address, std::uint64_t length,
                  std::vector<trace::EventData::Write>& list);
  void write();
  // The same for an event whose list `memory` says of addresses and lengths only: the bytes go from
  // `memory` to the trace without being gathered. Zeros, where they cannot be read any more.
  void write_from(process::RemoteMemory& memory);

  // Keeps what the file `fd` (open for reading) has at this moment and returns the path of the copy
  // relative to the trace directory. `path` is what the program calls it.
  // The path may have a stand-in, for which `stand_ins()` has what the trace gets.
  std::string keep_file(int fd, std::string_view path);
  const trace::StandIns& stand_ins() const { return stand_ins_; }

  // What is done elsewhere and has to be done before a reader sees the events that follow.
  void expect(std::future<void> work) { expected_.push_back(std::move(work)); }

  // Number that the next event gets.
  std::int64_t next_event() const { return writer_.next_event(); }

  // Ends the trace. Returns the number of events.
  std::int64_t finish(int wait_status);

private:
  TraceWriterOptions options(Background& background);
  void await_expected() const;
  void flush_now_and_then();

  trace::StandIns stand_ins_;
  std::vector<std::future<void>> expected_;
  const std::chrono::steady_clock::time_point started_;
  TraceWriter writer_;
  trace::TraceFileStore files_;
  trace::EventData event_;
  std::vector<std::span<const std::byte>> pieces_;
  std::vector<capnp::word> scratch_;
  std::vector<std::byte> buffer_;
  std::chrono::nanoseconds flushed_at_{0}; // since started_
};

} // namespace rrpcp::replay
