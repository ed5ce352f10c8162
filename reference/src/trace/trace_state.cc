#include "trace/trace_state.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/open_file.h"
#include "container/kj_errors.h"
#include "container/manifest_bytes.h"
#include "rrpcp/format.h"
#include "trace/stream_header.h"
#include "trace/task_table.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

using namespace trace_format;

capnp::ReaderOptions checked_message_options() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = UINT64_MAX; // each object once: check_layout saw to it
  options.nestingLimit = 64;
  return options;
}

KeptMessage::KeptMessage(std::span<const std::byte> segment)
    : words_(kj::heapArray<capnp::word>(segment.size() / sizeof(capnp::word))) {
  std::memcpy(words_.begin(), segment.data(), segment.size());
  segment_ = words_;
  reader_ = std::make_unique<capnp::SegmentArrayMessageReader>(kj::arrayPtr(&segment_, 1),
                                                               checked_message_options());
}

TraceState::TraceState(std::string dir, const TraceReadLimits& read_limits)
    : directory(std::move(dir)), limits(read_limits),
      name(directory + "/" + std::string(kEventsName)) {
  read_header();
  try {
    if (!read_index()) {
      scan();
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged) {
      throw;
    }
    problem = error; // of the index: the chunks say the same
    chunks.clear();
    scan();
  }
  read_tables();
}

void TraceState::read_header() {
  struct stat status = {};
  file = open_file(name.c_str(), O_RDONLY);
  if (!file && (errno == ENOENT || errno == ENOTDIR)) {
    throw Error(ErrorCode::kNotFound, "there is no trace of pcp-rr")
        .in_file(name)
        .with_errno(errno)
        .with_hint("name the directory of a recording; 'pcp-rr ls' lists them");
  }
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw system_error(errno, "cannot open the trace").in_file(name);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kNotACheckpoint, "this is no regular file").in_file(name);
  }
  file_size = static_cast<std::uint64_t>(status.st_size);
  trace::StreamHeaderBytes bytes;
  const std::size_t n = read_at(file.get(), bytes, 0, name);
  header = trace::decode_stream_header(std::span(bytes).first(n), name);
}

bool TraceState::read_index() {
  trace::StreamFooterBytes bytes{};
  if (file_size < kHeaderSize + kFooterSize ||
      read_at(file.get(), bytes, file_size - kFooterSize, name) != bytes.size() ||
      !trace::has_stream_footer(bytes)) {
    return false;
  }
  const trace::StreamFooter footer = trace::decode_stream_footer(bytes, header, file_size, name);
  if (footer.chunk_count > limits.max_chunks) {
    throw Error(ErrorCode::kLimit, "the trace has " + std::to_string(footer.chunk_count) +
                                       " chunks, more than the reader accepts")
        .in_file(name);
  }
  auto wrong = [&](const std::string& what, std::uint64_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at);
  };
  Xxh3Stream128 digest;
  // Read in pieces of whole entries.
  std::vector<std::byte> piece;
  chunks.reserve(footer.chunk_count);
  TraceChunk expected{kHeaderSize, 1, 0, 0, 0};
  for (std::uint64_t i = 0; i < footer.chunk_count;) {
    const std::uint64_t count = std::min<std::uint64_t>(footer.chunk_count - i, 4096);
    const std::uint64_t offset = footer.index_offset + i * footer.entry_size;
    piece.resize(count * footer.entry_size);
    if (read_at(file.get(), piece, offset, name) != piece.size()) {
      throw wrong("the index is cut", offset);
    }
    digest.update(piece);
    for (std::uint64_t e = 0; e < count; ++e, ++i) {
      const std::span<const std::byte> in =
          std::span<const std::byte>(piece).subspan(e * footer.entry_size, kIndexEntrySize);
      TraceChunk chunk;
      chunk.offset = load_le<std::uint64_t>(in, kIndexOffset);
      chunk.first_event = load_le<std::int64_t>(in, kIndexFirstEvent);
      chunk.events = load_le<std::uint32_t>(in, kIndexEvents);
      chunk.contents = load_le<std::uint32_t>(in, kIndexContents);
      chunk.decoded_offset = load_le<std::uint64_t>(in, kIndexDecodedOffset);
      // The first chunk's place is known exactly, that of a further one by its predecessor.
      if (chunk.offset % 8 != 0 || chunk.offset < expected.offset ||
          (i == 0 && chunk.offset != expected.offset) || chunk.offset >= footer.index_offset ||
          chunk.first_event != expected.first_event ||
          chunk.decoded_offset < expected.decoded_offset ||
          chunk.decoded_offset - expected.decoded_offset > kMaxChunkLength ||
          chunk.decoded_offset > INT64_MAX) {
        throw wrong("the index is wrong about chunk " + std::to_string(i),
                    offset + e * footer.entry_size);
      }
      expected = chunk;
      expected.offset += kChunkHeaderSize + 8;
      expected.first_event += chunk.events;
      expected.decoded_offset += 8;
      chunks.push_back(chunk);
    }
  }
  if (digest.digest().canonical() != footer.index_digest) {
    throw wrong("the index's digest does not match its bytes", footer.index_offset);
  }
  if (expected.first_event != footer.event_count + 1) {
    throw wrong("index and footer disagree about the number of events", footer.index_offset);
  }
  chunks_end = footer.index_offset;
  event_count = footer.event_count;
  return true;
}

void TraceState::scan() {
  std::uint64_t offset = kHeaderSize;
  TraceChunk next{kHeaderSize, 1, 0, 0, 0};
  std::vector<trace::StreamChunk> headers;
  std::optional<Error> found;
  while (offset < file_size) {
    trace::StreamChunkBytes bytes;
    const bool cut = read_at(file.get(), bytes, offset, name) != bytes.size();
    if (cut) {
      break;
    }
    trace::StreamChunk chunk;
    try {
      chunk = trace::decode_stream_chunk(bytes, header, chunks.size(), offset, name);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged) {
        throw;
      }
      // Where the end record was read, what follows is the index: no chunk.
      if (chunks.empty() || (chunks.back().contents & kContentsEnd) == 0) {
        found = error;
      }
      break;
    }
    if (chunk.first_event != next.first_event || chunk.decoded_offset != next.decoded_offset) {
      found = Error(ErrorCode::kDamaged, "a chunk does not go on where the one before it ends")
                  .in_file(name)
                  .at(offset);
      break;
    }
    if (chunk.extent() > file_size - offset) {
      break; // was being written
    }
    if (chunks.size() >= limits.max_chunks) {
      throw Error(ErrorCode::kLimit, "the trace has more chunks than the reader accepts")
          .in_file(name);
    }
    chunks.push_back(
        {offset, chunk.first_event, chunk.events, chunk.contents, chunk.decoded_offset});
    headers.push_back(chunk);
    offset += chunk.extent();
    next.first_event = chunk.first_event + chunk.events;
    next.decoded_offset = chunk.decoded_offset + chunk.length;
  }
  // After a crash of the machine the last chunks may be there without their bytes.
  chunks_end = offset;
  while (!chunks.empty()) {
    try {
      ChunkBuffer buffer;
      load(chunks.size() - 1, buffer);
      break;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kDamaged) {
        throw;
      }
      found = error;
      chunks_end = chunks.back().offset;
      chunks.pop_back();
      headers.pop_back();
    }
  }
  if (chunks.empty()) {
    throw found ? *found
                : Error(ErrorCode::kIncomplete, "the recording ended before its first event")
                      .in_file(name)
                      .at(file_size);
  }
  event_count = chunks.back().first_event + chunks.back().events - 1;
  if (headers.back().pending != 0) {
    --event_count; // the last event has lost a part of its data
  }
  if (problem) {
    return;
  }
  problem =
      found ? *found
            : Error(ErrorCode::kIncomplete, "the recording did not end properly; " +
                                                std::to_string(event_count) + " events can be read")
                  .in_file(name)
                  .at(chunks_end);
}

void TraceState::read_tables() {
  ChunkBuffer buffer;
  load(0, buffer);
  RecordHead head = record(buffer, 0);
  if (head.kind != kRecordStart) {
    throw damaged("the first record is not the start record", 0, 0);
  }
  start.emplace(head.message);
  load(chunks.size() - 1, buffer);
  decoded_end = buffer.chunk().decoded_offset + buffer.chunk().length;
  if ((chunks.back().contents & kContentsEnd) != 0) {
    head = record(buffer, buffer.chunk().first_record);
    if (head.kind != kRecordEnd) {
      throw damaged("the last chunk has no end record", chunks.size() - 1,
                    buffer.chunk().first_record);
    }
    end.emplace(head.message);
    for (const schema::TraceFile::Reader entry : end->root<schema::TraceEnd>().getFiles()) {
      files.push_back(entry);
    }
    if (end->root<schema::TraceEnd>().getEventCount() != event_count) {
      throw damaged("the end record is wrong about the number of events", chunks.size() - 1,
                    buffer.chunk().first_record);
    }
    return;
  }
  if (!problem) {
    throw damaged("the stream has an index but no end record", chunks.size() - 1, 0);
  }
  for (std::uint64_t i = 0; i < chunks.size(); ++i) {
    if ((chunks[i].contents & kContentsFiles) == 0) {
      continue;
    }
    load(i, buffer);
    for (std::uint64_t at = buffer.chunk().first_record; at < buffer.chunk().length;) {
      head = record(buffer, at);
      if (head.kind == kRecordFile) {
        file_records.emplace_back(head.message);
      }
      if (head.length > buffer.chunk().length - at) {
        break;
      }
      at += head.length;
    }
  }
  for (const KeptMessage& message : file_records) {
    files.push_back(message.root<schema::TraceFile>());
  }
}

void TraceState::load(std::uint64_t number, ChunkBuffer& buffer) const {
  if (buffer.number_ == static_cast<std::int64_t>(number)) {
    return;
  }
  const TraceChunk& entry = chunks[number];
  const std::uint64_t end_offset =
      number + 1 < chunks.size() ? chunks[number + 1].offset : chunks_end;
  auto wrong = [&](const std::string& what, std::uint64_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(at);
  };
  const std::uint64_t extent = end_offset - entry.offset;
  if (extent < kChunkHeaderSize + 8 || extent > kChunkHeaderSize + kMaxChunkLength) {
    throw wrong("the index is wrong about chunk " + std::to_string(number), entry.offset);
  }
  buffer.number_ = -1;
  buffer.stored_.resize(extent);
  if (read_at(file.get(), buffer.stored_, entry.offset, name) != extent) {
    throw Error(ErrorCode::kIncomplete, "the file was cut while it was read")
        .in_file(name)
        .at(entry.offset);
  }
  const std::span<const std::byte> in(buffer.stored_);
  const trace::StreamChunk chunk =
      trace::decode_stream_chunk(in, header, number, entry.offset, name);
  if (chunk.extent() != extent || chunk.first_event != entry.first_event ||
      chunk.events != entry.events || chunk.contents != entry.contents ||
      chunk.decoded_offset != entry.decoded_offset ||
      (number + 1 < chunks.size() &&
       chunks[number + 1].decoded_offset != chunk.decoded_offset + chunk.length)) {
    throw wrong("the index is wrong about chunk " + std::to_string(number), entry.offset);
  }
  if (chunk.length > limits.max_chunk_bytes) {
    throw Error(ErrorCode::kLimit, "a chunk has " + std::to_string(chunk.length) +
                                       " bytes, more than the reader accepts")
        .in_file(name)
        .at(entry.offset);
  }
  const std::span<const std::byte> stored = in.subspan(kChunkHeaderSize, chunk.stored_length);
  if (!is_zero(in.subspan(kChunkHeaderSize + chunk.stored_length))) {
    throw wrong("padding behind a chunk is not zero",
                entry.offset + kChunkHeaderSize + chunk.stored_length);
  }
  if (xxh3_64(stored) != chunk.stored_checksum) {
    throw wrong("the stored bytes of a chunk do not match their checksum",
                entry.offset + kChunkHeaderSize);
  }
  buffer.bytes_.resize(chunk.length);
  if (chunk.codec == format::kCodecRaw) {
    std::memcpy(buffer.bytes_.data(), stored.data(), stored.size());
  } else if ((header.incompatible & kIncompatZstd) == 0 ||
             !buffer.decoder_.decode(stored, buffer.bytes_)) {
    throw wrong("a chunk cannot be decompressed", entry.offset + kChunkHeaderSize);
  }
  if (xxh3_64(buffer.bytes_) != chunk.checksum) {
    throw wrong("the bytes of a chunk do not match their checksum",
                entry.offset + kChunkHeaderSize);
  }
  buffer.chunk_ = chunk;
  buffer.number_ = static_cast<std::int64_t>(number);
}

std::uint64_t TraceState::chunk_at(std::uint64_t offset) const {
  const auto found = std::upper_bound(
      chunks.begin(), chunks.end(), offset,
      [](std::uint64_t value, const TraceChunk& chunk) { return value < chunk.decoded_offset; });
  return static_cast<std::uint64_t>(found - chunks.begin()) - 1;
}

std::uint64_t TraceState::chunk_of(std::int64_t event) const {
  // The first chunk behind whose events it is; chunks without events are passed over.
  const auto found =
      std::partition_point(chunks.begin(), chunks.end(), [&](const TraceChunk& chunk) {
        return chunk.first_event + chunk.events <= event;
      });
  return static_cast<std::uint64_t>(found - chunks.begin());
}

std::uint32_t TraceState::contents_of(const RecordHead& head) const {
  switch (head.kind) {
  case kRecordStart:
    return kContentsStart;
  case kRecordFile:
    return kContentsFiles;
  case kRecordEnd:
    return kContentsEnd;
  case kRecordEvent: {
    const auto segment = kj::arrayPtr(reinterpret_cast<const capnp::word*>(head.message.data()),
                                      head.message.size() / sizeof(capnp::word));
    capnp::SegmentArrayMessageReader reader(kj::arrayPtr(&segment, 1), checked_message_options());
    const bool tasks =
        with_kj_errors(name, [&] { return trace::tells_of_tasks(reader.getRoot<schema::Event>()); },
                       "an event", {});
    return tasks ? kContentsEvents | kContentsTasks : kContentsEvents;
  }
  default:
    return 0; // a kind that a later minor version has
  }
}

Error TraceState::damaged(const std::string& what, std::uint64_t number,
                          std::uint64_t offset) const {
  return Error(ErrorCode::kDamaged, what + " (decoded byte " + std::to_string(offset) +
                                        " of chunk " + std::to_string(number) + ")")
      .in_file(name)
      .at(chunks[number].offset);
}

RecordHead TraceState::record(const ChunkBuffer& buffer, std::uint64_t offset) const {
  const std::span<const std::byte> bytes = buffer.bytes();
  const auto number = static_cast<std::uint64_t>(buffer.number());
  if (offset > bytes.size() || bytes.size() - offset < kRecordHeadSize + 8) {
    throw damaged("a record's head does not fit in its chunk", number, offset);
  }
  const std::span<const std::byte> in = bytes.subspan(offset);
  RecordHead head;
  head.data_length = load_le<std::uint64_t>(in, kRecordDataLength);
  head.kind = load_le<std::uint16_t>(in, kRecordKind);
  const std::uint64_t words = load_le<std::uint32_t>(in, kRecordMessage + 4);
  if (words > (in.size() - kRecordHeadSize) / 8) {
    throw damaged("a record's message does not fit in its chunk", number, offset);
  }
  if (head.data_length > INT64_MAX ||
      (!trace::may_use_reserved(header) && !is_zero(in.subspan(kRecordReserved, 6)))) {
    throw damaged("a record's head is wrong", number, offset);
  }
  const std::span<const std::byte> framed = in.subspan(kRecordMessage, 8 + words * 8);
  if (const std::optional<LayoutProblem> found = check_layout(framed)) {
    throw damaged("a record's message is malformed: " + found->what, number,
                  offset + kRecordMessage + found->offset);
  }
  head.message = framed.subspan(8);
  head.data_offset = offset + kRecordHeadSize + words * 8;
  head.length = kRecordHeadSize + words * 8 + align_up(head.data_length, 8);
  return head;
}

} // namespace rrpcp
