#include "rrpcp/trace/trace_writer.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/scoped_fd.h"
#include "rrpcp/error.h"
#include "rrpcp/output.h"
#include "store/atomic_file.h"
#include "trace/private_entries.h"
#include "trace/stream_chunk.h"
#include "trace/stream_writer.h"
#include "trace/task_table.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp {

using namespace trace_format;

namespace {

// A random uuid (RFC 9562, version 4).
TraceUuid random_uuid() {
  TraceUuid uuid;
  if (::getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) !=
      static_cast<ssize_t>(uuid.bytes.size())) {
    throw system_error(errno, "cannot get random bytes for the trace's uuid");
  }
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

ScopedFd create_stream(const std::string& path) {
  ScopedFd file;
  try {
    file = trace::create_private_file(path);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kExists) {
      throw;
    }
    throw Error(ErrorCode::kExists, "there is a recording already")
        .in_file(path)
        .with_hint("choose another directory or remove that recording");
  }
  // A hint for readers only: file systems without locks lose nothing else.
  ::flock(file.get(), LOCK_EX | LOCK_NB);
  return file;
}

} // namespace

struct TraceWriter::Impl {
  Impl(std::string dir, const TraceWriterOptions& opts)
      : directory(std::move(dir)), options(opts), path(directory + "/" + std::string(kEventsName)),
        file(create_stream(path)), output(file.get(), path) {
    TraceHeader header;
    header.uuid = options.uuid.is_nil() ? random_uuid() : options.uuid;
    header.machine = options.machine;
    header.incompatible = options.profile == Profile::kRaw ? 0 : kIncompatZstd;
    stream.emplace(output, header, options.profile);
    chunk.reserve(options.chunk_length);
  }

  ~Impl() {
    if (written.valid()) {
      written.wait();
    }
  }

  // Writes to the stream; after a failure the file is cut to its last whole part, and nothing more
  // can be written.
  void write(const std::function<void()>& write_part) {
    try {
      write_part();
    } catch (const Error&) {
      broken = true;
      if (::ftruncate(file.get(), static_cast<off_t>(stream->end())) != 0) {
        // A reader knows a chunk that is not whole.
      }
      throw;
    }
  }

  void require_usable() const {
    if (finished || broken) {
      throw Error(ErrorCode::kInvalidArgument,
                  finished ? "the trace was finished before" : "an earlier write has failed")
          .in_file(path);
    }
  }

  // Writes the open chunk. `pending` bytes of its last record are still to come.
  void close_chunk(std::uint64_t pending) {
    if (chunk.empty()) {
      return;
    }
    open.pending = pending;
    if (!record_begun) {
      open.first_record = static_cast<std::uint32_t>(chunk.size());
    }
    await_chunk();
    write([&] {
      if (options.before_chunk) {
        options.before_chunk();
      }
    });
    trace::StreamChunk following;
    following.first_event = open.first_event + open.events;
    following.decoded_offset = open.decoded_offset + chunk.size();
    if (options.elsewhere) {
      std::swap(chunk, closed);
      written = options.elsewhere([this, header = open] { write_chunk(header, closed); });
    } else {
      write([&] { write_chunk(open, chunk); });
    }
    open = following;
    record_begun = false;
    chunk.clear();
  }

  void write_chunk(const trace::StreamChunk& header, std::span<std::byte> bytes) {
    if (options.amend) {
      options.amend(bytes);
    }
    stream->write_chunk(header, bytes);
  }

  // Waits until the chunk that was closed last is in the file.
  void await_chunk() {
    if (written.valid()) {
      write([&] { written.get(); });
    }
  }

  // Begins a record; its data must follow.
  void begin_record(std::uint16_t kind, std::uint32_t contents, std::span<const std::byte> message,
                    std::uint64_t data_length) {
    require_usable();
    if (data_missing != 0) {
      throw Error(ErrorCode::kInvalidArgument, "the data of the event before has " +
                                                   std::to_string(data_missing) + " bytes to come")
          .in_file(path);
    }
    const std::size_t length = kRecordHeadSize + message.size();
    if (length > kMaxChunkLength || data_length > INT64_MAX) {
      throw Error(ErrorCode::kLimit, "a record is too large: its message has " +
                                         std::to_string(message.size()) + " bytes")
          .in_file(path)
          .with_hint("bytes that an event wrote belong into its data, not into its message");
    }
    if (chunk.size() + length > options.chunk_length) {
      close_chunk(0);
    }
    if (!record_begun) {
      record_begun = true;
      open.first_record = static_cast<std::uint32_t>(chunk.size());
    }
    std::array<std::byte, kRecordHeadSize> head{};
    store_le<std::uint64_t>(head, kRecordDataLength, data_length);
    store_le<std::uint16_t>(head, kRecordKind, kind);
    store_le<std::uint32_t>(head, kRecordMessage + 4,
                            static_cast<std::uint32_t>(message.size() / 8));
    chunk.insert(chunk.end(), head.begin(), head.end());
    chunk.insert(chunk.end(), message.begin(), message.end());
    open.contents |= contents;
    if (kind == kRecordEvent) {
      ++open.events;
      ++next_event;
    }
    data_missing = data_length;
    padding_missing = align_up(data_length, 8) - data_length;
  }

  void begin_record(std::uint16_t kind, std::uint32_t contents,
                    const kj::Array<capnp::word>& message, std::uint64_t data_length) {
    begin_record(kind, contents, std::as_bytes(std::span(message.begin(), message.size())),
                 data_length);
  }

  void add_data(std::span<const std::byte> bytes) {
    require_usable();
    if (bytes.size() > data_missing) {
      throw Error(ErrorCode::kInvalidArgument, "more data than the event was begun with")
          .in_file(path);
    }
    while (!bytes.empty()) {
      if (chunk.size() >= options.chunk_length) {
        close_chunk(data_missing + padding_missing);
      }
      const std::size_t n =
          std::min<std::size_t>(bytes.size(), options.chunk_length - chunk.size());
      chunk.insert(chunk.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      bytes = bytes.subspan(n);
      data_missing -= n;
    }
    if (data_missing == 0) {
      // Chunks end at multiples of 8: the padding fits in.
      chunk.resize(chunk.size() + padding_missing);
      padding_missing = 0;
    }
  }

  std::string directory;
  TraceWriterOptions options;
  std::string path;
  ScopedFd file;
  Output output;
  std::optional<trace::StreamWriter> stream;
  bool broken = false;
  bool finished = false;
  std::int64_t next_event = 1;

  // The open chunk: its decoded bytes and its header as far as known.
  std::vector<std::byte> chunk;
  trace::StreamChunk open;
  // The one before, while it is written elsewhere.
  std::vector<std::byte> closed;
  std::future<void> written;
  bool record_begun = false;
  // Of the record that was begun.
  std::uint64_t data_missing = 0;
  std::uint64_t padding_missing = 0;

  TaskTable tasks;
  // Messages of the file records.
  std::vector<kj::Array<capnp::word>> files;
};

TraceWriter::TraceWriter(std::string directory, schema::TraceStart::Reader start,
                         const TraceWriterOptions& options) {
  if (options.chunk_length % 8 != 0 || options.chunk_length < 4096 ||
      options.chunk_length > kMaxChunkLength) {
    throw Error(ErrorCode::kInvalidArgument,
                "a chunk length of " + std::to_string(options.chunk_length) + " is not possible")
        .with_hint("use a multiple of 8 from 4 KiB to 16 MiB");
  }
  impl_ = std::make_unique<Impl>(std::move(directory), options);
  // Written at once: a trace has a start record from its first moment on.
  impl_->begin_record(kRecordStart, kContentsStart, capnp::canonicalize(start), 0);
  flush();
}

TraceWriter::~TraceWriter() {
  if (impl_ && !impl_->finished && !impl_->broken && impl_->data_missing == 0) {
    try {
      flush();
    } catch (const Error&) {
      // Whoever did not finish the trace does not ask for its last events.
    }
  }
}

const std::string& TraceWriter::directory() const {
  return impl_->directory;
}

const TraceUuid& TraceWriter::uuid() const {
  return impl_->stream->header().uuid;
}

std::int64_t TraceWriter::next_event() const {
  return impl_->next_event;
}

std::int64_t TraceWriter::append(schema::Event::Reader event,
                                 std::span<const std::span<const std::byte>> data) {
  std::uint64_t length = 0;
  for (const std::span<const std::byte> piece : data) {
    length += piece.size();
  }
  const std::int64_t number = begin(event, length);
  for (const std::span<const std::byte> piece : data) {
    impl_->add_data(piece);
  }
  return number;
}

std::int64_t TraceWriter::begin(schema::Event::Reader event, std::uint64_t data_length) {
  const std::int64_t number = impl_->next_event;
  std::uint32_t contents = kContentsEvents;
  if (trace::tells_of_tasks(event)) {
    contents |= kContentsTasks;
  }
  impl_->begin_record(kRecordEvent, contents, capnp::canonicalize(event), data_length);
  if ((contents & kContentsTasks) != 0) {
    trace::apply_event(impl_->tasks, number, event);
  }
  return number;
}

void TraceWriter::add_data(std::span<const std::byte> bytes) {
  impl_->add_data(bytes);
}

std::uint32_t TraceWriter::add_file(schema::TraceFile::Reader file) {
  kj::Array<capnp::word> message = capnp::canonicalize(file);
  impl_->begin_record(kRecordFile, kContentsFiles, message, 0);
  impl_->files.push_back(std::move(message));
  return static_cast<std::uint32_t>(impl_->files.size() - 1);
}

void TraceWriter::flush() {
  impl_->require_usable();
  if (impl_->data_missing != 0) {
    throw Error(ErrorCode::kInvalidArgument, "an event's data is not complete")
        .in_file(impl_->path);
  }
  impl_->close_chunk(0);
  impl_->await_chunk();
}

void TraceWriter::sync() {
  flush();
  while (::fdatasync(impl_->file.get()) != 0) {
    if (errno != EINTR) {
      throw system_error(errno, "cannot sync the trace").in_file(impl_->path);
    }
  }
}

StreamPosition TraceWriter::next_position() {
  flush();
  return {impl_->output.offset(), 0, impl_->open.decoded_offset};
}

void TraceWriter::finish(std::int32_t wait_status) {
  flush();
  capnp::MallocMessageBuilder message;
  auto end = message.initRoot<schema::TraceEnd>();
  end.setWaitStatus(wait_status);
  end.setEventCount(impl_->next_event - 1);
  end.setEndedAt(wall_clock());
  trace::encode_tasks(impl_->tasks, end.initTasks(static_cast<unsigned>(impl_->tasks.size())));
  auto files = end.initFiles(static_cast<unsigned>(impl_->files.size()));
  for (unsigned i = 0; i < files.size(); ++i) {
    const kj::ArrayPtr<const capnp::word> segment = impl_->files[i];
    capnp::SegmentArrayMessageReader reader(kj::arrayPtr(&segment, 1));
    files.setWithCaveats(i, reader.getRoot<schema::TraceFile>());
  }
  impl_->begin_record(kRecordEnd, kContentsEnd, capnp::canonicalize(end.asReader()), 0);
  flush();

  impl_->write([&] { impl_->stream->write_index(); });
  if (impl_->options.durable) {
    sync();
    const ScopedFd directory(::open(impl_->directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory) {
      sync_directory(directory.get(), impl_->directory);
    }
  }
  impl_->finished = true;
}

} // namespace rrpcp
