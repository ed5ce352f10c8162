// What an earlier checkpoint holds of memory that is about to be stored again.
#pragma once

#include "model/stream_cache.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace rrpcp {

// The memory of the checkpoint that a new one of the same series refers to, by address and by
// offset in memory objects: for each page of the new one, which page of a page stream (the base's
// own, or one of a base of it) may hold the same bytes. Whether it does, CheckpointWriter compares.
//
// The new checkpoint refers to every page where it lies, so that reading it takes one step however
// long the series is. One thread at a time; the reader must outlive it.
class BaseMemory {
public:
  // Opens all bases of `base`. Throws Error as CheckpointReader::base() does.
  explicit BaseMemory(const CheckpointReader& base);

  const CheckpointReader& checkpoint() const { return base_; }

  // A row of pages that the base has at a place, all in one page stream.
  struct Row {
    std::uint32_t source = 0;
    std::uint64_t first = 0;
    std::uint64_t pages = 0; // at least 1
  };
  // What the base has stored of [address, …) in one of its spaces; nothing where it has no bytes.
  std::optional<Row> find(std::uint32_t space, std::uint64_t address);
  // How many pages from [address, …) on the base has as zeros without bytes; 0: it has not.
  std::uint64_t zeros(std::uint32_t space, std::uint64_t address);
  // The addresses [first, second) of one of its spaces where find() or zeros() finds something, in
  // order, neighbours joined.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> known(std::uint32_t space) const;
  // The same as find() at a byte offset of one of its memory objects.
  std::optional<Row> find_in_object(std::uint32_t object, std::uint64_t offset);
  // The memory object that is mapped shared at an address, and the offset there.
  std::optional<std::pair<std::uint32_t, std::uint64_t>> object_at(std::uint32_t space,
                                                                   std::uint64_t address) const;

  // The page, decoded and verified. Valid until the next call.
  BasePage page(std::uint32_t source, std::uint64_t index);

  // The space of the base's process with this id; nothing where it has none.
  std::optional<std::uint32_t> space_of_process(std::int32_t pid) const;

  // Sets `state.bases` to those that runs of `state` refer to, and renumbers these runs.
  void list_bases(schema::State::Builder state) const;
  // How many there are, where every page stream is used: those of the base and itself.
  std::size_t source_count() const { return sources_.size(); }
  const CheckpointReader& source(std::uint32_t index) const { return *sources_[index]; }

private:
  // Where the last look-up in a list of runs ended, so that the next one begins there.
  struct Cursor {
    bool in_object = false;
    std::uint32_t owner = 0; // space or object
    unsigned run = 0;
    std::uint64_t run_page = 0; // pages before the run
    // Of the mapping.
    std::uint64_t start = 0;
    std::uint64_t end = 0; // 0: none was entered
    bool zero_by_itself = false;
    capnp::List<schema::PageRun>::Reader runs = {};
  };

  // Moves the cursor to the run that has the page; false where none has.
  bool seek(capnp::List<schema::PageRun>::Reader runs, std::uint64_t page);
  std::optional<Row> find_run(capnp::List<schema::PageRun>::Reader runs, std::uint64_t page);
  // Moves the cursor to the mapping at an address; false where there is none.
  bool enter(std::uint32_t space, std::uint64_t address);

  const CheckpointReader& base_;
  schema::State::Reader state_;
  std::uint64_t page_size_;
  std::vector<const CheckpointReader*> sources_; // bases of the base, then itself
  Cursor cursor_;
  StreamCache pages_;
};

// Where in the base the memory is that is stored next.
struct BaseArea {
  bool in_object = false;
  std::uint32_t owner = 0; // space or memory object of the base
  std::uint64_t start = 0; // address, or byte offset in the object
  // False: what is given to be stored is known to have been written, and not compared.
  bool compare = true;
};

} // namespace rrpcp
