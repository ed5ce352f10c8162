// What is written to a trace is what is read from it.

#include "rrpcp/error.h"
#include "support/temp_dir.h"
#include "trace/sample_trace.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace rrpcp {
namespace {

using test::SampleEvent;

TEST(TraceRoundTrip, EventsFilesAndEnd) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = test::usual_events(2000);
  test::make_trace(dir.path(), events);

  const TraceReader trace = TraceReader::open(dir.path());
  EXPECT_TRUE(trace.complete());
  EXPECT_FALSE(trace.problem());
  EXPECT_FALSE(trace.being_recorded());
  EXPECT_EQ(trace.event_count(), 2000);
  EXPECT_FALSE(trace.uuid().is_nil());
  EXPECT_EQ(trace.start().getCommandLine().size(), 2u);
  EXPECT_EQ(trace.end().getWaitStatus(), 0);
  EXPECT_EQ(trace.files().size(), 40u);
  EXPECT_EQ(trace.files()[1].getInode(), 61u);
  EXPECT_GT(trace.chunks().size(), 3u);
  const test::Outcome outcome = test::read_all(trace, events);
  EXPECT_EQ(outcome.good, 2000);
  EXPECT_EQ(outcome.end, "");
  trace.verify();
}

TEST(TraceRoundTrip, EveryEventIsReachedByItsNumber) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = test::usual_events(300);
  TraceWriterOptions options;
  options.chunk_length = 4096;
  test::make_trace(dir.path(), events, options);
  const TraceReader trace = TraceReader::open(dir.path());
  EventReader reader = trace.events();
  for (std::int64_t event = 300; event >= 1; --event) {
    reader.seek(event);
    EXPECT_EQ(reader.number(), event);
    EXPECT_EQ(test::difference(reader, events), "");
    const StreamPosition place = reader.position();
    EXPECT_EQ(place, trace.events(event).position());
  }
  reader.seek(301);
  EXPECT_TRUE(reader.at_end());
  EXPECT_THROW(reader.next(), Error);
  EXPECT_THROW(reader.event(), Error);
  EXPECT_THROW(reader.seek(302), Error);
  EXPECT_THROW(reader.seek(0), Error);
}

TEST(TraceRoundTrip, PositionsOfTheWriterAreThoseOfTheReader) {
  test::TempDir dir;
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path());
  std::vector<StreamPosition> places;
  const std::vector<SampleEvent> events = test::usual_events(100);
  for (const SampleEvent& event : events) {
    places.push_back(writer->next_position());
    test::append_sample(*writer, event);
  }
  writer->finish(0);
  const TraceReader trace = TraceReader::open(dir.path());
  for (EventReader reader = trace.events(); !reader.at_end(); reader.next()) {
    EXPECT_EQ(reader.position(), places[static_cast<std::size_t>(reader.number() - 1)])
        << "event " << reader.number();
  }
}

TEST(TraceRoundTrip, WhatIsNotFinishedIsReadAsFarAsItWasFlushed) {
  test::TempDir dir;
  const std::vector<SampleEvent> events = test::usual_events(80);
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path());
  for (const SampleEvent& event : events) {
    test::append_sample(*writer, event);
  }
  writer->flush();
  const TraceReader trace = TraceReader::open(dir.path());
  EXPECT_FALSE(trace.complete());
  EXPECT_TRUE(trace.being_recorded());
  ASSERT_TRUE(trace.problem());
  EXPECT_EQ(trace.problem()->code(), ErrorCode::kIncomplete);
  EXPECT_EQ(trace.event_count(), 80);
  EXPECT_EQ(trace.files().size(), 2u);
  EXPECT_EQ(test::read_all(trace, events).good, 80);
  EXPECT_THROW(trace.end(), Error);
}

TEST(TraceRoundTrip, LargeDataIsNeverHeldWhole) {
  test::TempDir dir;
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path());
  constexpr std::uint64_t kLength = std::uint64_t{64} << 20;
  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<schema::Event>();
  event.setTask(1);
  event.setSystemCall();
  writer->begin(event.asReader(), kLength);
  std::vector<std::byte> piece(1 << 20);
  for (std::uint64_t done = 0; done < kLength; done += piece.size()) {
    piece[0] = std::byte(done >> 20);
    writer->add_data(piece);
  }
  writer->append(event.asReader());
  writer->finish(0);
  const TraceReader trace = TraceReader::open(dir.path());
  EventReader reader = trace.events();
  EXPECT_EQ(reader.data_length(), kLength);
  std::byte first{};
  reader.read_data(std::uint64_t{37} << 20, std::span(&first, 1));
  EXPECT_EQ(first, std::byte{37});
  std::uint64_t seen = 0;
  std::size_t longest = 0;
  reader.data(0, kLength, [&](std::span<const std::byte> bytes) {
    seen += bytes.size();
    longest = std::max(longest, bytes.size());
  });
  EXPECT_EQ(seen, kLength);
  EXPECT_LE(longest, std::size_t{trace_format::kDefaultChunkLength});
  EXPECT_THROW(reader.read_data(kLength, std::span(&first, 1)), Error);
  reader.next();
  EXPECT_EQ(reader.number(), 2);
  EXPECT_FALSE(reader.at_end());
  trace.verify();
}

TEST(TraceRoundTrip, MisuseOfTheWriterIsRefused) {
  test::TempDir dir;
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path());
  EXPECT_THROW(test::begin_trace(dir.path()), Error);
  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<schema::Event>();
  const std::vector<std::byte> bytes(10);
  EXPECT_THROW(writer->add_data(bytes), Error);
  writer->begin(event.asReader(), 5);
  EXPECT_THROW(writer->add_data(bytes), Error);
  EXPECT_THROW(writer->append(event.asReader()), Error);
  EXPECT_THROW(writer->flush(), Error);
  EXPECT_THROW(writer->finish(0), Error);
  writer->add_data(std::span(bytes).first(5));
  writer->finish(0);
  EXPECT_THROW(writer->append(event.asReader()), Error);
  TraceWriterOptions odd;
  odd.chunk_length = 4095;
  EXPECT_THROW(test::begin_trace(dir.path(), odd), Error);
}

TEST(TraceRoundTrip, EqualEventsGiveEqualBytes) {
  test::TempDir first;
  test::TempDir second;
  TraceWriterOptions options;
  options.uuid.bytes[0] = 7;
  for (const test::TempDir* dir : {&first, &second}) {
    const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir->path(), options);
    for (const SampleEvent& event : test::usual_events(500)) {
      test::append_sample(*writer, event);
    }
    writer->flush();
  }
  const std::string bytes = test::file_text(first.file("events"));
  EXPECT_GT(bytes.size(), 100000u);
  EXPECT_TRUE(bytes == test::file_text(second.file("events")));
}

TEST(TraceRoundTrip, TableOfTasksIsGatheredFromEvents) {
  test::TempDir dir;
  const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path());
  auto append = [&](const std::function<void(schema::Event::Builder)>& fill) {
    capnp::MallocMessageBuilder message;
    auto event = message.initRoot<schema::Event>();
    fill(event);
    writer->append(event.asReader());
  };
  auto data = [](const char* value) {
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(value), std::strlen(value));
  };
  auto exec = [&](std::int32_t task, const char* path, std::int32_t former) {
    append([&](schema::Event::Builder event) {
      event.setTask(task);
      event.initExec().setExecutable(data(path));
      event.getExec().initArguments(1).set(0, data(path));
      event.getExec().setFormerTask(former);
    });
  };
  auto clone = [&](std::int32_t task, std::int32_t child, std::int32_t process) {
    append([&](schema::Event::Builder event) {
      event.setTask(task);
      event.initNewTask().setChild(child);
      event.getNewTask().setChildProcess(process);
    });
  };
  auto leave = [&](std::int32_t task, std::int32_t status) {
    append([&](schema::Event::Builder event) {
      event.setTask(task);
      event.initExit().setStatus(status);
    });
  };
  exec(10, "/bin/sh", 0);      // 1
  clone(10, 11, 11);           // 2: a process
  clone(11, 12, 11);           // 3: its thread
  exec(11, "/bin/python", 12); // 4: by the thread, which is gone
  leave(11, 256);              // 5
  clone(10, 11, 11);           // 6: the same id again
  leave(11, 9);                // 7
  writer->flush();

  const TaskTable expected = {
      {10, 10, 0, 1, 0, 0, {{1, "/bin/sh", {"/bin/sh"}}}},
      {11, 11, 10, 2, 5, 256, {{4, "/bin/python", {"/bin/python"}}}},
      {12, 11, 10, 3, 4, 0, {}},
      {11, 11, 10, 6, 7, 9, {}},
  };
  EXPECT_EQ(TraceReader::open(dir.path()).tasks(), expected) << "incomplete: from the events";
  writer->finish(0);
  EXPECT_EQ(TraceReader::open(dir.path()).tasks(), expected) << "complete: from the end record";
}

RC_GTEST_PROP(TraceRoundTrip, AnyEventsInChunksOfAnyLength, ()) {
  TraceWriterOptions options;
  options.chunk_length = static_cast<std::uint32_t>(*rc::gen::inRange(512, 4096)) * 8;
  options.profile = *rc::gen::element(Profile::kRaw, Profile::kFast, Profile::kSmall);
  const auto events = *rc::gen::container<std::vector<SampleEvent>>(rc::gen::build<SampleEvent>(
      rc::gen::set(&SampleEvent::task, rc::gen::inRange(1, 100)),
      rc::gen::set(&SampleEvent::message_bytes,
                   rc::gen::oneOf(rc::gen::inRange<std::size_t>(0, 300),
                                  rc::gen::inRange<std::size_t>(0, 20000))),
      rc::gen::set(&SampleEvent::data_bytes,
                   rc::gen::oneOf(rc::gen::just<std::size_t>(0),
                                  rc::gen::inRange<std::size_t>(0, 100),
                                  rc::gen::inRange<std::size_t>(0, 30000))),
      rc::gen::set(&SampleEvent::file_before)));
  const auto flush_every = *rc::gen::inRange<std::size_t>(1, 100);

  test::TempDir dir;
  {
    const std::unique_ptr<TraceWriter> writer = test::begin_trace(dir.path(), options);
    for (std::size_t i = 0; i < events.size(); ++i) {
      test::append_sample(*writer, events[i]);
      if (i % flush_every == 0) {
        writer->flush();
      }
    }
    writer->finish(3 << 8);
  }
  const TraceReader trace = TraceReader::open(dir.path());
  RC_ASSERT(!trace.problem().has_value());
  RC_ASSERT(trace.event_count() == static_cast<std::int64_t>(events.size()));
  const test::Outcome outcome = test::read_all(trace, events);
  RC_ASSERT(outcome.end == "");
  RC_ASSERT(outcome.good == trace.event_count());
  trace.verify();
  // Without the footer the same events are found by the chunks' headers.
  const std::uint64_t size = std::filesystem::file_size(dir.file("events"));
  std::filesystem::resize_file(dir.file("events"), size - 1);
  const TraceReader cut = TraceReader::open(dir.path());
  RC_ASSERT(cut.problem().has_value());
  RC_ASSERT(cut.event_count() == trace.event_count());
  RC_ASSERT(test::read_all(cut, events).good == trace.event_count());
  if (!events.empty()) {
    const auto any = *rc::gen::inRange<std::int64_t>(1, trace.event_count() + 1);
    EventReader reader = trace.events(any);
    RC_ASSERT(test::difference(reader, events) == "");
  }
}

} // namespace
} // namespace rrpcp
