#include "trace/sample_trace.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>
#include <fstream>
#include <sstream>

namespace rrpcp::test {

std::vector<std::byte> sample_bytes(std::int64_t number, std::size_t length) {
  std::vector<std::byte> bytes(length);
  // Half of it compresses, half of it does not.
  std::uint64_t state = static_cast<std::uint64_t>(number) * 0x9e3779b97f4a7c15 + 1;
  for (std::size_t i = 0; i < length; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    bytes[i] = i % 64 < 32 ? std::byte(number) : std::byte(state >> 56);
  }
  return bytes;
}

std::string file_text(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

void put_text(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

namespace {

kj::ArrayPtr<const kj::byte> to_kj(const std::vector<std::byte>& bytes) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
}

capnp::Data::Reader text(const char* value) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(value), std::strlen(value));
}

void fill_event(schema::Event::Builder out, std::int64_t number, const SampleEvent& event) {
  out.setTask(event.task);
  out.setTime(static_cast<std::uint64_t>(number) * 1000);
  out.setResult(number);
  if (event.message_bytes != 0) {
    out.setExtendedRegisters(to_kj(sample_bytes(number, event.message_bytes)));
  }
  if (event.data_bytes != 0) {
    auto write = out.initMemory(1)[0];
    write.setAddress(0x10000);
    write.setLength(event.data_bytes);
  }
  out.setSystemCall();
}

} // namespace

void fill_start(schema::TraceStart::Builder start) {
  start.setRecorder("test");
  start.setPageSize(4096);
  start.setWorkingDirectory(text("/tmp"));
  auto arguments = start.initCommandLine(2);
  arguments.set(0, text("sample"));
  arguments.set(1, text("--all"));
}

std::unique_ptr<TraceWriter> begin_trace(const std::string& directory,
                                         const TraceWriterOptions& options) {
  capnp::MallocMessageBuilder message;
  fill_start(message.initRoot<schema::TraceStart>());
  return std::make_unique<TraceWriter>(directory, message.getRoot<schema::TraceStart>().asReader(),
                                       options);
}

void append_sample(TraceWriter& writer, const SampleEvent& event) {
  if (event.file_before) {
    capnp::MallocMessageBuilder message;
    auto file = message.initRoot<schema::TraceFile>();
    file.setPath(text("/lib/libsample.so"));
    file.setInode(static_cast<std::uint64_t>(writer.next_event()));
    writer.add_file(file.asReader());
  }
  capnp::MallocMessageBuilder message;
  fill_event(message.initRoot<schema::Event>(), writer.next_event(), event);
  const std::vector<std::byte> data = sample_bytes(-writer.next_event(), event.data_bytes);
  const std::span<const std::byte> whole(data);
  // In two pieces, as a call with an iovec gives them.
  const std::span<const std::byte> pieces[] = {whole.first(data.size() / 3),
                                               whole.subspan(data.size() / 3)};
  writer.append(message.getRoot<schema::Event>().asReader(), pieces);
}

std::vector<SampleEvent> usual_events(std::size_t count) {
  std::vector<SampleEvent> events(count);
  for (std::size_t i = 0; i < count; ++i) {
    events[i].task = 100 + static_cast<std::int32_t>(i % 3);
    events[i].message_bytes = 100 + i % 150;
    events[i].data_bytes = i % 7 == 3 ? (i * 997) % 20000 : 0;
    events[i].file_before = i % 50 == 10;
  }
  return events;
}

void make_trace(const std::string& directory, const std::vector<SampleEvent>& events,
                const TraceWriterOptions& options) {
  const std::unique_ptr<TraceWriter> writer = begin_trace(directory, options);
  for (const SampleEvent& event : events) {
    append_sample(*writer, event);
  }
  writer->finish(0);
}

std::string difference(EventReader& reader, const std::vector<SampleEvent>& expected) {
  const std::int64_t number = reader.number();
  const std::string place = "event " + std::to_string(number);
  if (number < 1 || static_cast<std::size_t>(number) > expected.size()) {
    return place + " was never written";
  }
  const SampleEvent& wanted = expected[static_cast<std::size_t>(number - 1)];
  const schema::Event::Reader event = reader.event();
  if (event.getTask() != wanted.task || event.getResult() != number || !event.isSystemCall()) {
    return place + " has other fields";
  }
  const std::vector<std::byte> extra = sample_bytes(number, wanted.message_bytes);
  const capnp::Data::Reader stored = event.getExtendedRegisters();
  if (stored.size() != extra.size() ||
      (!extra.empty() && std::memcmp(stored.begin(), extra.data(), extra.size()) != 0)) {
    return place + " has another message";
  }
  const std::vector<std::byte> data = sample_bytes(-number, wanted.data_bytes);
  std::vector<std::byte> read(reader.data_length());
  reader.read_data(0, read);
  if (read != data) {
    return place + " has other data";
  }
  if (data.size() > 10) { // a piece from the middle
    std::vector<std::byte> piece(data.size() / 2);
    reader.read_data(data.size() / 4, piece);
    if (!std::equal(piece.begin(), piece.end(),
                    data.begin() + static_cast<std::ptrdiff_t>(data.size() / 4))) {
      return place + " has other data in the middle";
    }
  }
  return {};
}

Outcome read_all(const TraceReader& trace, const std::vector<SampleEvent>& expected) {
  Outcome outcome;
  try {
    for (EventReader reader = trace.events(); !reader.at_end(); reader.next()) {
      if (std::string why = difference(reader, expected); !why.empty()) {
        outcome.end = "WRONG: " + why;
        return outcome;
      }
      outcome.good = reader.number();
    }
  } catch (const Error& error) {
    outcome.end = error.what();
  }
  return outcome;
}

} // namespace rrpcp::test
