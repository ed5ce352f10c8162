// The state of an EventReader.
#pragma once

#include "trace/trace_state.h"

#include <memory>
#include <optional>

namespace rrpcp {

struct EventReader::Impl {
  explicit Impl(std::shared_ptr<const TraceState> trace);

  void seek(std::int64_t event);
  void next();
  void step();
  void find_event();
  void show();
  void data(std::uint64_t from, std::uint64_t length,
            const std::function<void(std::span<const std::byte>)>& sink);

  std::shared_ptr<const TraceState> state;
  std::int64_t number = 0;
  // The chunk in which the current record begins, and the record's place in it.
  std::uint64_t chunk = 0;
  std::uint64_t offset = 0;
  // Place in that chunk of the first record from which the current event is the next one.
  std::uint64_t place = 0;
  RecordHead head;
  ChunkBuffer buffer;
  // For data that lies in further chunks.
  ChunkBuffer data_buffer;
  kj::ArrayPtr<const capnp::word> segment;
  mutable std::optional<capnp::SegmentArrayMessageReader> message;
};

} // namespace rrpcp
