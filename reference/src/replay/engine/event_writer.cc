#include "replay/engine/event_writer.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <capnp/message.h>
#include <utility>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kFlushInterval(1);
// Bytes of memory that are read at once.
constexpr std::uint64_t kMostAtOnce = 1 << 20;
constexpr std::size_t kScratchWords = 1024;

} // namespace

EventWriter::EventWriter(const std::string& directory, schema::TraceStart::Reader start,
                         Background& background, const trace::FileCache& cache)
    : started_(Clock::now()), writer_(directory, start, options(background)),
      files_(writer_, {&background, &stand_ins_,
                       [this](std::future<void> work) { expect(std::move(work)); }, &cache}),
      scratch_(kScratchWords) {}

EventWriter::~EventWriter() {
  await_expected();
}

// None of it is done any more: it may use what we have.
void EventWriter::await_expected() const {
  for (const std::future<void>& work : expected_) {
    work.wait();
  }
}

TraceWriterOptions EventWriter::options(Background& background) {
  TraceWriterOptions options;
  options.durable = false; // a recording takes as long as the program, not as the disk is busy
  options.before_chunk = [this] {
    await_expected();
    for (std::future<void>& work : std::exchange(expected_, {})) {
      work.get();
    }
  };
  options.amend = [this](std::span<std::byte> chunk) { stand_ins_.replace(chunk); };
  options.elsewhere = [&background](std::function<void()> work) {
    return background.run(std::move(work));
  };
  return options;
}

trace::EventData& EventWriter::begin(trace::EventKind kind, RecordedTask& task) {
  task.preempted = kind == trace::EventKind::kPreemption;
  event_.clear();
  event_.kind = kind;
  event_.task = task.tid;
  event_.time = static_cast<std::uint64_t>((Clock::now() - started_).count());
  return event_;
}

void EventWriter::add_memory(process::RemoteMemory& memory, std::uint64_t address,
                             std::uint64_t length, std::vector<trace::EventData::Write>& list) {
  trace::ByteRange whole;
  while (whole.length < length) { // a program may give any length: no more room than is read
    const std::uint64_t wanted = std::min(kMostAtOnce, length - whole.length);
    trace::ByteRange range;
    const std::span<std::byte> room = event_.append(wanted, range);
    const std::size_t read = memory.read_some(address + whole.length, room);
    event_.shrink(range, wanted - read);
    if (whole.length == 0) {
      whole.offset = range.offset;
    }
    whole.length += read;
    if (read < wanted) {
      break;
    }
  }
  if (whole.length != 0) {
    list.push_back({address, whole});
  }
}

void EventWriter::write() {
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch_.data(), scratch_.size()));
  schema::Event::Builder root = message.initRoot<schema::Event>();
  event_.encode(root);
  event_.pieces(pieces_);
  writer_.append(root.asReader(), pieces_);
  flush_now_and_then();
}

void EventWriter::write_from(process::RemoteMemory& memory) {
  std::uint64_t total = 0;
  for (const trace::EventData::Write& write : event_.memory) {
    total += write.data.length;
  }
  capnp::MallocMessageBuilder message;
  schema::Event::Builder root = message.initRoot<schema::Event>();
  event_.encode(root);
  writer_.begin(root.asReader(), total);
  for (const trace::EventData::Write& write : event_.memory) {
    buffer_.assign(write.data.length, std::byte{0});
    try {
      memory.read(write.address, buffer_);
    } catch (const Error&) {
      // The process was killed meanwhile, and its memory with it.
    }
    writer_.add_data(buffer_);
  }
  flush_now_and_then();
}

// What is in the file survives us.
void EventWriter::flush_now_and_then() {
  const auto now = std::chrono::nanoseconds(event_.time);
  if (now - flushed_at_ >= kFlushInterval) {
    writer_.flush();
    flushed_at_ = now;
  }
}

std::string EventWriter::keep_file(int fd, std::string_view path) {
  return files_.keep(fd, path).path;
}

std::int64_t EventWriter::finish(int wait_status) {
  const std::int64_t events = writer_.next_event() - 1;
  writer_.finish(wait_status);
  return events;
}

} // namespace rrpcp::replay
