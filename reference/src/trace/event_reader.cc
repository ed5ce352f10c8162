#include "trace/event_reader.h"

#include "base/bytes.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rrpcp {

using namespace trace_format;

EventReader::Impl::Impl(std::shared_ptr<const TraceState> trace) : state(std::move(trace)) {}

void EventReader::Impl::seek(std::int64_t event) {
  if (event < 1 || event > state->event_count + 1) {
    throw Error(ErrorCode::kInvalidArgument, "there is no event " + std::to_string(event) +
                                                 " in the trace; it has " +
                                                 std::to_string(state->event_count))
        .in_file(state->name);
  }
  message.reset();
  number = event;
  if (event == state->event_count + 1) {
    return;
  }
  chunk = state->chunk_of(event);
  state->load(chunk, buffer);
  offset = buffer.chunk().first_record;
  place = offset;
  for (std::int64_t passed = state->chunks[chunk].first_event;; ++passed) {
    find_event();
    if (passed == event) {
      break;
    }
    step();
  }
  show();
}

void EventReader::Impl::next() {
  message.reset();
  ++number;
  if (number > state->event_count) {
    return;
  }
  step();
  find_event();
  show();
}

// Goes behind the current record.
void EventReader::Impl::step() {
  const std::uint64_t left = buffer.chunk().length - offset;
  if (head.length < left) {
    offset += head.length;
    place = offset;
    return;
  }
  std::uint64_t beyond = head.length - left;
  do {
    ++chunk;
    if (chunk >= state->chunks.size()) {
      throw state->damaged("the stream ends inside a record", chunk - 1, offset);
    }
    // A chunk that lies in the middle of a record is not even read.
    const std::uint64_t length =
        chunk + 1 < state->chunks.size()
            ? state->chunks[chunk + 1].decoded_offset - state->chunks[chunk].decoded_offset
            : UINT64_MAX;
    if (beyond != 0 && beyond >= length) {
      beyond -= length;
      continue;
    }
    state->load(chunk, buffer);
    if (buffer.chunk().first_record != beyond) {
      throw state->damaged("a record does not end where its chunk says", chunk, beyond);
    }
    offset = beyond;
    place = offset;
    return;
  } while (true);
}

// Goes on to the first event record from here.
void EventReader::Impl::find_event() {
  for (;;) {
    head = state->record(buffer, offset);
    if (head.kind == kRecordEvent) {
      return;
    }
    const std::uint64_t before = place;
    const std::uint64_t in_chunk = chunk;
    step();
    if (chunk == in_chunk) {
      place = before; // the records before the event are read with it
    }
  }
}

void EventReader::Impl::show() {
  segment = kj::arrayPtr(reinterpret_cast<const capnp::word*>(head.message.data()),
                         head.message.size() / sizeof(capnp::word));
  message.emplace(kj::arrayPtr(&segment, 1), checked_message_options());
}

void EventReader::Impl::data(std::uint64_t from, std::uint64_t length,
                             const std::function<void(std::span<const std::byte>)>& sink) {
  if (from > head.data_length || length > head.data_length - from) {
    throw Error(ErrorCode::kInvalidArgument, "event " + std::to_string(number) + " has only " +
                                                 std::to_string(head.data_length) +
                                                 " bytes of data")
        .in_file(state->name);
  }
  std::uint64_t at = head.data_offset + from; // in the event's chunk, or behind it
  const std::uint64_t own = buffer.chunk().length;
  if (length != 0 && at < own) {
    const std::uint64_t n = std::min(length, own - at);
    sink(buffer.bytes().subspan(at, n));
    at += n;
    length -= n;
  }
  while (length != 0) {
    const std::uint64_t decoded = state->chunks[chunk].decoded_offset + at;
    const std::uint64_t holder = state->chunk_at(decoded);
    state->load(holder, data_buffer);
    const std::uint64_t inside = decoded - state->chunks[holder].decoded_offset;
    if (inside >= data_buffer.bytes().size()) {
      throw state->damaged("the stream ends inside an event's data", holder, inside);
    }
    const std::uint64_t n = std::min(length, data_buffer.bytes().size() - inside);
    sink(data_buffer.bytes().subspan(inside, n));
    at += n;
    length -= n;
  }
}

EventReader::EventReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventReader::EventReader(EventReader&&) noexcept = default;
EventReader& EventReader::operator=(EventReader&&) noexcept = default;
EventReader::~EventReader() = default;

bool EventReader::at_end() const {
  return impl_->number > impl_->state->event_count;
}

std::int64_t EventReader::number() const {
  return impl_->number;
}

const std::string& EventReader::stream_name() const {
  return impl_->state->name;
}

schema::Event::Reader EventReader::event() const {
  if (!impl_->message) {
    throw Error(ErrorCode::kInvalidArgument, "there is no event at the end of the trace")
        .in_file(impl_->state->name);
  }
  return impl_->message->getRoot<schema::Event>();
}

std::uint64_t EventReader::data_length() const {
  return impl_->message ? impl_->head.data_length : 0;
}

void EventReader::data(std::uint64_t offset, std::uint64_t length,
                       const std::function<void(std::span<const std::byte>)>& sink) {
  if (!impl_->message) {
    throw Error(ErrorCode::kInvalidArgument, "there is no event at the end of the trace")
        .in_file(impl_->state->name);
  }
  impl_->data(offset, length, sink);
}

void EventReader::read_data(std::uint64_t offset, std::span<std::byte> out) {
  std::byte* to = out.data();
  data(offset, out.size(), [&](std::span<const std::byte> piece) {
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
  });
}

StreamPosition EventReader::position() const {
  if (!impl_->message) {
    const TraceState& state = *impl_->state;
    return {state.chunks_end, 0, state.decoded_end};
  }
  const TraceChunk& chunk = impl_->state->chunks[impl_->chunk];
  return {chunk.offset, impl_->place, chunk.decoded_offset + impl_->place};
}

void EventReader::next() {
  if (at_end()) {
    throw Error(ErrorCode::kInvalidArgument, "the trace has no further event")
        .in_file(impl_->state->name);
  }
  impl_->next();
}

void EventReader::seek(std::int64_t event) {
  impl_->seek(event);
}

} // namespace rrpcp
