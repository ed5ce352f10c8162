#include "rrpcp/interop/segments.h"

#include <algorithm>

namespace rrpcp {
namespace {

// Collects segments from page 0 on.
class Collector {
public:
  explicit Collector(schema::State::Reader state)
      : state_(state), page_size_(page_size_of(state)) {}

  std::vector<Segment> take() { return std::move(segments_); }

  void mapping(schema::Mapping::Reader mapping) {
    const std::uint64_t start = mapping.getStart();
    const std::uint64_t end = mapping.getEnd();
    const std::uint64_t pages = end > start ? (end - start) / page_size_ : 0;
    const bool has_object = mapping.getObject() != schema::NO_INDEX;
    const std::uint64_t object_page = mapping.getObjectOffset() / page_size_;
    if (mapping.getRuns().size() != 0) {
      runs(mapping.getRuns(), 0, pages, [&](std::uint64_t page, std::uint64_t count) {
        if (has_object) {
          object(mapping.getObject(), object_page + page, count);
        } else {
          add({0, count, Source::kNothing});
        }
      });
    } else if (has_object) {
      object(mapping.getObject(), object_page, pages);
    } else {
      add({0, pages, Source::kZero});
    }
  }

  // Pages [first, first + count) of an object.
  void object(std::uint32_t index, std::uint64_t first, std::uint64_t count) {
    const auto objects = state_.getMemoryObjects();
    if (index >= objects.size()) {
      add({0, count, Source::kNothing});
      return;
    }
    const schema::MemoryObject::Reader object = objects[index];
    const std::uint64_t length = object_pages(object);
    const std::uint64_t inside = first < length ? std::min(count, length - first) : 0;
    const auto from_file = [&](std::uint64_t page, std::uint64_t pages) {
      if (object.isFile()) {
        add({0, pages, Source::kFile, page * page_size_, index});
      } else {
        add({0, pages, Source::kNothing});
      }
    };
    if (object.getRuns().size() == 0) {
      from_file(first, inside);
    } else {
      runs(object.getRuns(), first, inside, from_file);
    }
    add({0, count - inside, Source::kNothing});
  }

  std::uint64_t object_pages(schema::MemoryObject::Reader object) const {
    const std::uint64_t length = object.getLength();
    return length / page_size_ + (length % page_size_ != 0 ? 1 : 0);
  }

private:
  void add(Segment segment) {
    if (segment.pages == 0) {
      return;
    }
    segment.page = next_;
    next_ += segment.pages;
    if (!segments_.empty()) {
      Segment& last = segments_.back();
      const std::uint64_t step = segment.source == Source::kStream ? last.pages
                                 : segment.source == Source::kFile ? last.pages * page_size_
                                                                   : 0;
      if (last.source == segment.source && last.object == segment.object &&
          last.base == segment.base && last.first + step == segment.first) {
        last.pages += segment.pages;
        return;
      }
    }
    segments_.push_back(segment);
  }

  // Pages [first, first + count) of what `list` describes; `backing` gets those that lie elsewhere.
  template <typename Backing>
  void runs(capnp::List<schema::PageRun>::Reader list, std::uint64_t first, std::uint64_t count,
            Backing backing) {
    std::uint64_t place = 0; // page at which the run begins
    for (const schema::PageRun::Reader run : list) {
      if (count == 0) {
        return;
      }
      const std::uint64_t length = run.getPages();
      if (length > first - place) { // it reaches beyond `first`, which is never below `place`
        const std::uint64_t skipped = first - place;
        const std::uint64_t pages = std::min(length - skipped, count);
        switch (run.getKind()) {
        case schema::RunKind::ZERO:
          add({0, pages, Source::kZero});
          break;
        case schema::RunKind::STREAM:
          add({0, pages, Source::kStream, run.getFirst() + skipped});
          break;
        case schema::RunKind::BASE:
          add({0, pages, Source::kStream, run.getFirst() + skipped, schema::NO_INDEX,
               run.getSource()});
          break;
        case schema::RunKind::BACKING:
          backing(first, pages);
          break;
        case schema::RunKind::UNKNOWN:
          add({0, pages, Source::kUnstored});
          break;
        case schema::RunKind::GUARD:
          add({0, pages, Source::kGuard});
          break;
        default:
          add({0, pages, Source::kUnknown});
          break;
        }
        first += pages;
        count -= pages;
      }
      if (count != 0) {
        place += length;
      }
    }
    add({0, count, Source::kNothing});
  }

  schema::State::Reader state_;
  std::uint64_t page_size_;
  std::uint64_t next_ = 0;
  std::vector<Segment> segments_;
};

} // namespace

std::uint64_t page_size_of(schema::State::Reader state) {
  return std::max<std::uint64_t>(state.getPageStream().getPageSize(), 1);
}

std::vector<Segment> segments_of(schema::State::Reader state, schema::Mapping::Reader mapping) {
  Collector collector(state);
  collector.mapping(mapping);
  return collector.take();
}

std::vector<Segment> object_segments(schema::State::Reader state, std::uint32_t index) {
  Collector collector(state);
  const auto objects = state.getMemoryObjects();
  if (index < objects.size()) {
    collector.object(index, 0, collector.object_pages(objects[index]));
  }
  return collector.take();
}

void SourceCounts::add(const std::vector<Segment>& segments) {
  for (const Segment& segment : segments) {
    switch (segment.source) {
    case Source::kZero:
      zero += segment.pages;
      break;
    case Source::kStream:
      stream += segment.pages;
      inherited += segment.base != schema::NO_INDEX ? segment.pages : 0;
      break;
    case Source::kFile:
      file += segment.pages;
      break;
    case Source::kUnstored:
      unstored += segment.pages;
      break;
    case Source::kGuard:
      guard += segment.pages;
      break;
    case Source::kNothing:
      nothing += segment.pages;
      break;
    case Source::kUnknown:
      unknown += segment.pages;
      break;
    }
  }
}

} // namespace rrpcp
