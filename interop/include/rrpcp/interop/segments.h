// Where the bytes of a mapping are, with references to memory objects followed.
#pragma once

#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <vector>

namespace rrpcp {

enum class Source {
  kZero,     // zeros, not stored
  kStream,   // page stream of the file, or of one of its bases
  kFile,     // backing file of a memory object
  kUnstored, // the bytes are not stored: the kernel provides them, or nobody could read them
  kGuard,    // guard pages, which nobody can access
  kNothing,  // beyond the end of a memory object, or not described by any run
  kUnknown,  // a kind of run that this program does not know
};

// A row of pages from one source.
struct Segment {
  std::uint64_t page = 0;  // first page, counted from the start of the mapping or object
  std::uint64_t pages = 0; // at least 1
  Source source = Source::kZero;
  // kStream: page of the stream. kFile: byte offset in the file. Otherwise 0.
  std::uint64_t first = 0;
  // kFile: index of the memory object. Otherwise noIndex.
  std::uint32_t object = 0xffffffff;
  // kStream: index of the base whose stream it is; noIndex: this file's.
  std::uint32_t base = 0xffffffff;
};

// Rows that cover the mapping exactly, whatever the file says: runs that reach too far are cut,
// what is missing is kNothing.
std::vector<Segment> segments_of(schema::State::Reader state, schema::Mapping::Reader mapping);
// The same for pages [0, length rounded up) of memory object `index`.
std::vector<Segment> object_segments(schema::State::Reader state, std::uint32_t index);

// Pages of each source.
struct SourceCounts {
  std::uint64_t zero = 0;
  std::uint64_t stream = 0;    // of this file and its bases
  std::uint64_t inherited = 0; // of them, those of bases
  std::uint64_t file = 0;
  std::uint64_t unstored = 0;
  std::uint64_t guard = 0;
  std::uint64_t nothing = 0;
  std::uint64_t unknown = 0;

  void add(const std::vector<Segment>& segments);
};

// Bytes of a page by the state, at least 1, so that it can be divided by.
std::uint64_t page_size_of(schema::State::Reader state);

} // namespace rrpcp
