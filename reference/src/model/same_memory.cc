#include "model/same_memory.h"

#include "base/bytes.h"
#include "container/kj_errors.h"
#include "container/manifest_bytes.h"
#include "model/stream_cache.h"
#include "rrpcp/page_run.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>

namespace rrpcp {

namespace {

using Runs = capnp::List<schema::PageRun>::Reader;

// The state without what says how memory is stored.
kj::Array<capnp::word> state_without_storage(const CheckpointReader& checkpoint) {
  capnp::MallocMessageBuilder message;
  message.setRoot(checkpoint.state());
  auto state = message.getRoot<schema::State>();
  for (schema::AddressSpace::Builder space : state.getAddressSpaces()) {
    for (schema::Mapping::Builder mapping : space.getMappings()) {
      mapping.disownRuns();
    }
  }
  for (schema::MemoryObject::Builder object : state.getMemoryObjects()) {
    object.disownRuns();
  }
  state.disownBases();
  state.disownPageStream();
  return canonical_state(state.asReader());
}

// Walks over the pages of a list of runs; one that is empty is a row of `plain`.
class RunWalk {
public:
  RunWalk(const CheckpointReader& checkpoint, StreamCache& cache, Runs runs, std::uint64_t pages,
          schema::RunKind plain)
      : checkpoint_(checkpoint), cache_(cache), runs_(runs), pages_(pages), plain_(plain) {}

  schema::RunKind kind() const { return runs_.size() == 0 ? plain_ : runs_[run_].getKind(); }
  bool at_end() const { return runs_.size() == 0 ? done_ == pages_ : run_ == runs_.size(); }
  std::uint64_t left() const {
    return runs_.size() == 0 ? pages_ - done_ : runs_[run_].getPages() - done_;
  }
  // Bytes of at most `count` pages; empty for zeros.
  std::span<const std::byte> bytes(std::uint64_t count) {
    if (runs_.size() == 0 || !is_of_stream(kind())) {
      return {};
    }
    return cache_.pages(checkpoint_.source(runs_[run_]), runs_[run_].getFirst() + done_, count);
  }
  void advance(std::uint64_t pages) {
    done_ += pages;
    if (runs_.size() != 0 && done_ >= runs_[run_].getPages()) {
      ++run_;
      done_ = 0;
    }
  }

private:
  const CheckpointReader& checkpoint_;
  StreamCache& cache_;
  Runs runs_;
  std::uint64_t pages_;
  schema::RunKind plain_;
  unsigned run_ = 0;
  std::uint64_t done_ = 0;
};

bool is_stored(schema::RunKind kind) {
  return kind == schema::RunKind::ZERO || is_of_stream(kind);
}

class Comparison {
public:
  Comparison(const CheckpointReader& a, const CheckpointReader& b)
      : a_(a), b_(b), page_size_(a.header().page_size) {}

  bool same(Runs a, Runs b, std::uint64_t pages, schema::RunKind plain) {
    RunWalk left(a_, a_cache_, a, pages, plain);
    RunWalk right(b_, b_cache_, b, pages, plain);
    while (!left.at_end() && !right.at_end()) {
      std::uint64_t count = std::min(left.left(), right.left());
      if (is_stored(left.kind()) && is_stored(right.kind())) {
        if (!same_pages(left, right, count)) {
          return false;
        }
      } else if (left.kind() != right.kind()) {
        return false;
      }
      left.advance(count);
      right.advance(count);
    }
    return left.at_end() && right.at_end();
  }

private:
  // Compares as many of `count` pages as can be had at once, and says how many.
  bool same_pages(RunWalk& left, RunWalk& right, std::uint64_t& count) {
    const std::span<const std::byte> a = left.bytes(count);
    const std::span<const std::byte> b = right.bytes(count);
    if (a.empty() || b.empty()) {
      const std::span<const std::byte> rest = a.empty() ? b : a;
      count = rest.empty() ? count : rest.size() / page_size_;
      return is_zero(rest);
    }
    const std::size_t size = std::min(a.size(), b.size());
    count = size / page_size_;
    return std::memcmp(a.data(), b.data(), size) == 0;
  }

  const CheckpointReader& a_;
  const CheckpointReader& b_;
  const std::uint64_t page_size_;
  StreamCache a_cache_;
  StreamCache b_cache_;
};

} // namespace

std::optional<std::string> different_content(const CheckpointReader& a, const CheckpointReader& b) {
  return with_kj_errors(a.name(), [&]() -> std::optional<std::string> {
    if (a.header().page_size != b.header().page_size) {
      return "the size of pages";
    }
    if (state_without_storage(a).asBytes() != state_without_storage(b).asBytes()) {
      return "the state";
    }
    const std::uint64_t page_size = a.header().page_size;
    Comparison comparison(a, b);
    const auto spaces = a.state().getAddressSpaces();
    for (unsigned s = 0; s < spaces.size(); ++s) {
      const auto mappings = spaces[s].getMappings();
      const auto others = b.state().getAddressSpaces()[s].getMappings();
      for (unsigned m = 0; m < mappings.size(); ++m) {
        const auto plain = mappings[m].getObject() == schema::NO_INDEX ? schema::RunKind::ZERO
                                                                       : schema::RunKind::BACKING;
        if (!comparison.same(mappings[m].getRuns(), others[m].getRuns(),
                             (mappings[m].getEnd() - mappings[m].getStart()) / page_size, plain)) {
          return "the memory of address space " + std::to_string(s) + ", mapping " +
                 std::to_string(m);
        }
      }
    }
    const auto objects = a.state().getMemoryObjects();
    for (unsigned i = 0; i < objects.size(); ++i) {
      if (!comparison.same(objects[i].getRuns(), b.state().getMemoryObjects()[i].getRuns(),
                           align_up(objects[i].getLength(), page_size) / page_size,
                           schema::RunKind::BACKING)) {
        return "the contents of memory object " + std::to_string(i);
      }
    }
    return std::nullopt;
  });
}

} // namespace rrpcp
