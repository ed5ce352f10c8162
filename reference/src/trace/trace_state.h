// What an open trace consists of, shared by TraceReader and its EventReaders.
#pragma once

#include "base/scoped_fd.h"
#include "container/chunk_codec.h"
#include "rrpcp/trace/trace_reader.h"
#include "trace/stream_chunk.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp {

// One decoded chunk and the memory to get there, for reuse.
class ChunkBuffer {
public:
  // Number of the chunk that is held; -1: none.
  std::int64_t number() const { return number_; }
  const trace::StreamChunk& chunk() const { return chunk_; }
  std::span<const std::byte> bytes() const { return {bytes_.data(), chunk_.length}; }

private:
  friend struct TraceState;
  std::int64_t number_ = -1;
  trace::StreamChunk chunk_;
  std::vector<std::byte> bytes_; // from operator new: aligned for words
  std::vector<std::byte> stored_;
  ChunkDecoder decoder_;
};

// One record's head, checked to lie in its chunk.
struct RecordHead {
  std::uint16_t kind = 0;
  std::uint64_t data_length = 0;
  // The message's segment.
  std::span<const std::byte> message;
  // Offset in the chunk of the first byte behind the message.
  std::uint64_t data_offset = 0;
  // Decoded bytes of the whole record.
  std::uint64_t length = 0;
};

// A message with its bytes.
class KeptMessage {
public:
  explicit KeptMessage(std::span<const std::byte> segment);

  template <typename Type> typename Type::Reader root() const {
    return const_cast<capnp::SegmentArrayMessageReader&>(*reader_).getRoot<Type>();
  }

private:
  kj::Array<capnp::word> words_;
  kj::ArrayPtr<const capnp::word> segment_;
  std::unique_ptr<capnp::SegmentArrayMessageReader> reader_;
};

struct TraceState {
  TraceState(std::string dir, const TraceReadLimits& read_limits);

  // Reads and decodes chunk `number` into `buffer` and checks every byte of it. Throws Error.
  void load(std::uint64_t number, ChunkBuffer& buffer) const;
  // The chunk in which decoded byte `offset` lies; chunks.size(): behind the last one.
  std::uint64_t chunk_at(std::uint64_t offset) const;
  // The chunk in which `event` begins.
  std::uint64_t chunk_of(std::int64_t event) const;
  // The record that begins at `offset` of the decoded chunk. Throws Error(kDamaged).
  RecordHead record(const ChunkBuffer& buffer, std::uint64_t offset) const;
  // The bits that a record contributes to its chunk's contents.
  std::uint32_t contents_of(const RecordHead& head) const;
  // An Error(kDamaged) about decoded byte `offset` of chunk `number`.
  Error damaged(const std::string& what, std::uint64_t number, std::uint64_t offset) const;

  std::string directory;
  TraceReadLimits limits;
  std::string name;
  ScopedFd file;
  std::uint64_t file_size = 0;
  TraceHeader header;
  std::vector<TraceChunk> chunks;
  // First byte behind the last chunk.
  std::uint64_t chunks_end = 0;
  // Decoded bytes of the whole stream as far as it can be read.
  std::uint64_t decoded_end = 0;
  std::int64_t event_count = 0;
  std::optional<Error> problem;
  std::optional<KeptMessage> start;
  std::optional<KeptMessage> end;
  // File records of a trace without an end record.
  std::vector<KeptMessage> file_records;
  std::vector<schema::TraceFile::Reader> files;

private:
  void read_header();
  // Fills `chunks` from the footer's index; false where there is no footer.
  bool read_index();
  // Fills `chunks` from the chunks' headers.
  void scan();
  void read_tables();
};

// SegmentArrayMessageReader's options for messages that check_layout has passed.
capnp::ReaderOptions checked_message_options();

} // namespace rrpcp
