// Traces made up for tests: events with messages and data that say which event they are.
#pragma once

#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/trace/trace_writer.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::test {

// What a made-up event holds.
struct SampleEvent {
  std::int32_t task = 0;
  // Bytes of its message beyond the smallest.
  std::size_t message_bytes = 0;
  std::size_t data_bytes = 0;
  // A file record is written before it.
  bool file_before = false;
};

// Whole files.
std::string file_text(const std::string& path);
void put_text(const std::string& path, std::string_view bytes);

// The message's extra bytes, and the data, of event `number`.
std::vector<std::byte> sample_bytes(std::int64_t number, std::size_t length);

// A start record with a command line.
void fill_start(schema::TraceStart::Builder start);

// Opens a writer in `directory` with such a start record.
std::unique_ptr<TraceWriter> begin_trace(const std::string& directory,
                                         const TraceWriterOptions& options = {});

// Appends `event` (and the file before it) as the writer's next event.
void append_sample(TraceWriter& writer, const SampleEvent& event);

// The events of a trace of the smallest useful size: `count` of about 300 bytes each, some with
// data of up to 20 KiB, with a program, a thread, and its end.
std::vector<SampleEvent> usual_events(std::size_t count);

// Makes a whole trace and finishes it.
void make_trace(const std::string& directory, const std::vector<SampleEvent>& events,
                const TraceWriterOptions& options = {});

// Why `reader`, at its event, does not agree with `expected` (events[0] being event 1); empty: it
// does.
std::string difference(EventReader& reader, const std::vector<SampleEvent>& expected);

// Reads all events from the first on and compares them. Returns the number of events that agree,
// and why reading ended, empty where it came to the end.
struct Outcome {
  std::int64_t good = 0;
  std::string end;
};
Outcome read_all(const TraceReader& trace, const std::vector<SampleEvent>& expected);

} // namespace rrpcp::test
