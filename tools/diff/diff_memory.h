// Comparing the contents of memory.
#pragma once

#include "common/progress.h"
#include "diff/contents.h"
#include "diff/diff_report.h"
#include "rrpcp/interop/segments.h"
#include "rrpcp/memory_view.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace rrpcp::tools {

// Pages from one side: where they are and how to read them.
class PageSide {
public:
  PageSide(const CheckpointReader& reader, BackingFiles files)
      : reader_(reader), files_(std::move(files)), stream_(reader) {}

  // Fixes where the next pages are read from: `segments` begin at `address` of address space
  // `space`, or are those of a memory object, which has no address.
  void select(std::vector<Segment> segments, std::size_t space, std::uint64_t address);
  // The segment that holds page `page`, and how many of its pages follow from there.
  const Segment& at(std::uint64_t page, std::uint64_t& remaining);
  // Bytes of at most `count` pages of `segment` from `page` on, at least one page, or an empty span
  // where nothing is there. Valid until the next call.
  std::span<const std::byte> read(const Segment& segment, std::uint64_t page, std::uint64_t count);

  schema::State::Reader state() const { return reader_.state(); }
  // The checkpoint in whose page stream the pages of a kStream segment are.
  const CheckpointReader& stream_of(const Segment& segment) const;

private:
  const CheckpointReader& reader_;
  BackingFiles files_;
  StreamPages stream_;
  std::optional<MemoryView> view_;
  std::size_t view_space_ = 0;
  std::vector<std::byte> buffer_;
  std::vector<Segment> segments_;
  std::size_t current_ = 0;
  std::size_t space_ = 0;
  std::uint64_t address_ = 0;
};

// Compares rows of pages of two checkpoints with pages of the same size.
class MemoryDiff {
public:
  MemoryDiff(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
             const BackingFiles& files, std::uint64_t max_ranges, Progress& progress);

  PageSide& a() { return a_; }
  PageSide& b() { return b_; }

  // Compares `pages` pages from `a_page` and `b_page` of the selected segments. `address` is what
  // the first is called in the report.
  void compare(const Place& place, std::uint64_t address, std::uint64_t a_page,
               std::uint64_t b_page, std::uint64_t pages, const std::string& remark);

private:
  class Ranges;

  bool same_source(const Segment& a, std::uint64_t a_skip, const Segment& b,
                   std::uint64_t b_skip) const;
  void compare_pages(Ranges& ranges, const Place& place, std::uint64_t address, const Segment& a,
                     std::uint64_t a_page, const Segment& b, std::uint64_t b_page,
                     std::uint64_t pages);

  DiffReport& report_;
  PageSide a_;
  PageSide b_;
  bool same_file_;
  bool same_stream_;
  std::uint64_t page_size_;
  std::uint64_t max_ranges_;
  std::uint64_t compared_ = 0;
  Progress& progress_;
};

} // namespace rrpcp::tools
