#include "container/manifest_bytes.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/canonical.h"
#include "rrpcp/error.h"

#include <cstring>
#include <vector>

namespace rrpcp {

namespace {

// Nesting of structs and lists that a reader follows; the schema of 1.0 needs less than half of it.
constexpr int kMaxDepth = 64;

constexpr std::uint64_t kWord = 8;

// List elements without a size (structs without fields), in the whole message: they cost no bytes,
// and a reader visits each.
constexpr std::uint64_t kMaxEmptyElements = 1u << 20;

// Walks the pointers of one segment (Cap'n Proto encoding specification, "Pointers").
class LayoutWalk {
public:
  explicit LayoutWalk(std::span<const std::byte> segment)
      : segment_(segment), words_(segment.size() / kWord) {}

  std::optional<LayoutProblem> run() {
    if (words_ == 0) {
      problem("there is no root pointer", 0);
    } else {
      next_ = 1;
      pointer(0, 0);
      if (!problem_ && next_ != words_) {
        problem("bytes follow the last object", next_);
      }
    }
    return problem_;
  }

private:
  void problem(const char* what, std::uint64_t word) {
    if (!problem_) {
      problem_ = LayoutProblem{what, word * kWord};
    }
  }

  // Claims `count` words for the object that the pointer at `at` refers to. False on a problem.
  bool claim(std::uint64_t at, std::int64_t offset, std::uint64_t count) {
    std::int64_t target = static_cast<std::int64_t>(at) + 1 + offset;
    if (target < 0 || static_cast<std::uint64_t>(target) != next_) {
      problem("an object does not lie where the canonical order puts it", at);
      return false;
    }
    if (count > words_ - next_) {
      problem("an object reaches beyond the end of the message", at);
      return false;
    }
    next_ += count;
    return true;
  }

  bool count_empty(std::uint64_t at, std::uint64_t elements) {
    empty_elements_ += elements;
    if (empty_elements_ > kMaxEmptyElements) {
      problem("lists have too many elements without a size", at);
      return false;
    }
    return true;
  }

  void pointers(std::uint64_t first, std::uint64_t count, int depth) {
    for (std::uint64_t i = 0; i < count && !problem_; ++i) {
      pointer(first + i, depth);
    }
  }

  void pointer(std::uint64_t at, int depth) {
    const auto value = load_le<std::uint64_t>(segment_, at * kWord);
    if (value == 0) {
      return;
    }
    if (depth > kMaxDepth) {
      problem("objects are nested too deeply", at);
      return;
    }
    const auto offset = static_cast<std::int64_t>(static_cast<std::int32_t>(value) >> 2);
    switch (value & 3) {
    case 0:
      struct_pointer(at, value, offset, depth);
      break;
    case 1:
      list_pointer(at, value, offset, depth);
      break;
    default:
      problem("a far or capability pointer is not allowed here", at);
      break;
    }
  }

  void struct_pointer(std::uint64_t at, std::uint64_t value, std::int64_t offset, int depth) {
    std::uint64_t data = value >> 32 & 0xffff;
    std::uint64_t pointer_count = value >> 48;
    if (data + pointer_count == 0) {
      // A struct without fields is encoded as pointing at its own pointer.
      if (offset != -1) {
        problem("an empty struct has a place", at);
      }
      return;
    }
    std::uint64_t start = next_;
    if (claim(at, offset, data + pointer_count)) {
      pointers(start + data, pointer_count, depth + 1);
    }
  }

  void list_pointer(std::uint64_t at, std::uint64_t value, std::int64_t offset, int depth) {
    static constexpr std::uint64_t kBits[] = {0, 1, 8, 16, 32, 64, 64};
    const std::uint64_t code = value >> 32 & 7;
    const std::uint64_t count = value >> 35;
    const std::uint64_t start = next_;
    if (code == 0 && !count_empty(at, count)) {
      return;
    }
    if (code != 7) {
      if (claim(at, offset, (count * kBits[code] + 63) / 64) && code == 6) {
        pointers(start, count, depth + 1);
      }
      return;
    }
    // Inline composite: `count` is the number of words after the tag.
    if (!claim(at, offset, 1 + count)) {
      return;
    }
    const auto tag = load_le<std::uint64_t>(segment_, start * kWord);
    const std::uint64_t elements = (tag & 0xffffffff) >> 2;
    const std::uint64_t data = tag >> 32 & 0xffff;
    const std::uint64_t pointer_count = tag >> 48;
    if ((tag & 3) != 0 || elements * (data + pointer_count) != count) {
      problem("the tag of a list does not fit its length", start);
      return;
    }
    if (data + pointer_count == 0 && !count_empty(start, elements)) {
      return;
    }
    if (pointer_count == 0) {
      return;
    }
    for (std::uint64_t i = 0; i < elements && !problem_; ++i) {
      pointers(start + 1 + i * (data + pointer_count) + data, pointer_count, depth + 1);
    }
  }

  std::span<const std::byte> segment_;
  std::uint64_t words_;
  std::uint64_t next_ = 0; // first word that no object has claimed
  std::uint64_t empty_elements_ = 0;
  std::optional<LayoutProblem> problem_;
};

} // namespace

kj::Array<capnp::word> manifest_message(schema::Manifest::Reader manifest) {
  const kj::Array<capnp::word> canonical = canonical_message(manifest, &manifest_plans().root());
  // One segment: the count minus one, then the segment's length in words.
  auto framed = kj::heapArray<capnp::word>(canonical.size() + 1);
  const std::uint32_t frame[2] = {0, static_cast<std::uint32_t>(canonical.size())};
  std::memcpy(framed.begin(), frame, sizeof frame);
  std::memcpy(framed.begin() + 1, canonical.begin(), canonical.asBytes().size());
  return framed;
}

kj::Array<capnp::word> canonical_state(schema::State::Reader state) {
  return canonical_message(state, &manifest_plans().of(capnp::Schema::from<schema::State>()));
}

CheckpointId checkpoint_id(schema::State::Reader state, std::span<const ChunkEntry> chunks) {
  Xxh3Stream128 stream;
  {
    const kj::Array<capnp::word> canonical = canonical_state(state);
    stream.update(std::as_bytes(std::span(canonical.begin(), canonical.size())));
  }
  for (const ChunkEntry& chunk : chunks) {
    stream.update(std::as_bytes(std::span(&chunk.checksum, 1)));
  }
  return {stream.digest().canonical()};
}

std::optional<LayoutProblem> check_layout(std::span<const std::byte> message) {
  if (message.size() < 2 * kWord || message.size() % kWord != 0) {
    return LayoutProblem{"the message is too short", 0};
  }
  if (load_le<std::uint32_t>(message, 0) != 0) {
    return LayoutProblem{"the message has more than one segment", 0};
  }
  if (load_le<std::uint32_t>(message, 4) != message.size() / kWord - 1) {
    return LayoutProblem{"the length of the message's segment is wrong", 4};
  }
  std::optional<LayoutProblem> found = LayoutWalk(message.subspan(kWord)).run();
  if (found) {
    found->offset += kWord;
  }
  return found;
}

} // namespace rrpcp
