#include "rrpcp/trace/trace_reader.h"

#include "container/kj_errors.h"
#include "trace/event_reader.h"
#include "trace/task_table.h"
#include "trace/trace_state.h"

#include <algorithm>
#include <sys/file.h>
#include <utility>

namespace rrpcp {

using namespace trace_format;

TraceReader::TraceReader(std::shared_ptr<const TraceState> state) : state_(std::move(state)) {}
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader& TraceReader::operator=(TraceReader&&) noexcept = default;
TraceReader::~TraceReader() = default;

TraceReader TraceReader::open(const std::string& directory, const TraceReadLimits& limits) {
  return TraceReader(std::make_shared<const TraceState>(directory, limits));
}

const std::string& TraceReader::directory() const {
  return state_->directory;
}

const std::string& TraceReader::stream_name() const {
  return state_->name;
}

const TraceHeader& TraceReader::header() const {
  return state_->header;
}

schema::TraceStart::Reader TraceReader::start() const {
  return state_->start->root<schema::TraceStart>();
}

bool TraceReader::complete() const {
  return state_->end.has_value();
}

bool TraceReader::being_recorded() const {
  if (complete()) {
    return false;
  }
  if (::flock(state_->file.get(), LOCK_SH | LOCK_NB) != 0) {
    return true;
  }
  ::flock(state_->file.get(), LOCK_UN);
  return false;
}

const std::optional<Error>& TraceReader::problem() const {
  return state_->problem;
}

schema::TraceEnd::Reader TraceReader::end() const {
  if (!complete()) {
    throw Error(ErrorCode::kIncomplete, "the recording did not end properly").in_file(state_->name);
  }
  return state_->end->root<schema::TraceEnd>();
}

std::int64_t TraceReader::event_count() const {
  return state_->event_count;
}

const std::vector<schema::TraceFile::Reader>& TraceReader::files() const {
  return state_->files;
}

const std::vector<TraceChunk>& TraceReader::chunks() const {
  return state_->chunks;
}

std::uint64_t TraceReader::file_size() const {
  return state_->file_size;
}

EventReader TraceReader::events(std::int64_t event) const {
  auto impl = std::make_unique<EventReader::Impl>(state_);
  impl->seek(event);
  return EventReader(std::move(impl));
}

TaskTable TraceReader::tasks() const {
  auto gather = [&] {
    if (complete()) {
      return trace::decode_tasks(end().getTasks());
    }
    TaskTable tasks;
    // Only the chunks that have such events are read.
    for (const TraceChunk& chunk : state_->chunks) {
      if ((chunk.contents & kContentsTasks) == 0) {
        continue;
      }
      const std::int64_t last = std::min(chunk.first_event + chunk.events - 1, state_->event_count);
      for (EventReader reader = events(chunk.first_event); !reader.at_end(); reader.next()) {
        if (trace::tells_of_tasks(reader.event())) {
          trace::apply_event(tasks, reader.number(), reader.event());
        }
        if (reader.number() == last) {
          break;
        }
      }
    }
    return tasks;
  };
  return with_kj_errors(state_->name, gather, "an event", {});
}

void TraceReader::verify() const {
  if (state_->problem) {
    throw *state_->problem;
  }
  ChunkBuffer buffer;
  std::uint64_t pending = 0; // decoded bytes that still belong to the record before
  std::int64_t event = 1;
  std::uint64_t files = 0;
  for (std::uint64_t i = 0; i < state_->chunks.size(); ++i) {
    state_->load(i, buffer);
    const trace::StreamChunk& chunk = buffer.chunk();
    if (chunk.first_record != std::min<std::uint64_t>(pending, chunk.length)) {
      throw state_->damaged("a record does not end where its chunk says", i, 0);
    }
    pending -= chunk.first_record;
    std::uint32_t contents = 0;
    std::uint64_t at = chunk.first_record;
    while (at < chunk.length) {
      const RecordHead head = state_->record(buffer, at);
      contents |= state_->contents_of(head);
      event += head.kind == kRecordEvent ? 1 : 0;
      files += head.kind == kRecordFile ? 1 : 0;
      const std::uint64_t left = chunk.length - at;
      if (head.length > left) {
        pending = head.length - left;
      }
      at += std::min(head.length, left);
    }
    if (contents != chunk.contents || pending != chunk.pending ||
        event != chunk.first_event + chunk.events) {
      throw state_->damaged("a chunk's header does not describe its records", i, 0);
    }
  }
  if (pending != 0 || files != state_->files.size()) {
    throw state_->damaged("the end record does not describe the stream", state_->chunks.size() - 1,
                          0);
  }
}

} // namespace rrpcp
