#include "diff/diff_memory.h"

#include "common/text.h"

#include <algorithm>
#include <capnp/any.h>
#include <cstring>
#include <sys/stat.h>

namespace rrpcp::tools {
namespace {

// Rows of equal bytes that are no longer than this do not end a range.
constexpr std::uint64_t kMergeGap = 15;
// Bytes of a range that are shown.
constexpr std::size_t kShownBytes = 8;
constexpr std::uint64_t kPagesAtOnce = 64;

// Whether the page streams hold the same pages under the same numbers, as the checksums of their
// decoded chunks say.
bool equal_streams(const CheckpointReader& a, const CheckpointReader& b) {
  if (a.header().page_size != b.header().page_size ||
      a.header().chunk_pages != b.header().chunk_pages ||
      a.footer().page_count != b.footer().page_count) {
    return false;
  }
  for (std::uint64_t i = 0; i < a.chunk_count(); ++i) {
    if (a.chunk(i).checksum != b.chunk(i).checksum) {
      return false;
    }
  }
  return true;
}

// Whether two readers have the same file open.
bool same_file(const CheckpointReader& a, const CheckpointReader& b) {
  struct stat left, right;
  return ::fstat(a.fd(), &left) == 0 && ::fstat(b.fd(), &right) == 0 &&
         left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

} // namespace

const CheckpointReader& PageSide::stream_of(const Segment& segment) const {
  return segment.base == schema::NO_INDEX ? reader_ : reader_.base(segment.base);
}

void PageSide::select(std::vector<Segment> segments, std::size_t space, std::uint64_t address) {
  segments_ = std::move(segments);
  current_ = 0;
  space_ = space;
  address_ = address;
}

const Segment& PageSide::at(std::uint64_t page, std::uint64_t& remaining) {
  if (current_ >= segments_.size() || segments_[current_].page > page) {
    current_ = 0;
  }
  while (segments_[current_].page + segments_[current_].pages <= page) {
    ++current_; // the segments cover every page that is asked for
  }
  const Segment& segment = segments_[current_];
  remaining = segment.page + segment.pages - page;
  return segment;
}

std::span<const std::byte> PageSide::read(const Segment& segment, std::uint64_t page,
                                          std::uint64_t count) {
  const std::uint64_t page_size = page_size_of(state());
  count = std::min(count, kPagesAtOnce);
  switch (segment.source) {
  case Source::kStream:
    return stream_.pages(segment.base, segment.first + (page - segment.page), count);
  case Source::kZero:
    buffer_.assign(count * page_size, std::byte{0});
    return buffer_;
  case Source::kFile: {
    if (!view_ || view_space_ != space_) {
      view_.emplace(reader_, space_, files_);
      view_space_ = space_;
    }
    buffer_.resize(count * page_size);
    const std::size_t n = view_->read(address_ + page * page_size, buffer_);
    return std::span<const std::byte>(buffer_).first(n / page_size * page_size);
  }
  case Source::kUnknown:
    throw Error(ErrorCode::kUnsupportedFeature,
                "some pages are stored in a way that this program does not know")
        .in_file(reader_.name());
  case Source::kUnstored:
  case Source::kGuard:
  case Source::kNothing:
    break;
  }
  return {};
}

// Collects bytes that differ into ranges and reports the first ones.
class MemoryDiff::Ranges {
public:
  Ranges(DiffReport& report, const Place& place, std::uint64_t maximum, const std::string& remark)
      : report_(report), place_(place), maximum_(maximum), remark_(remark) {}

  // Equally many bytes of both sides at `address`.
  void add(std::uint64_t address, std::span<const std::byte> a, std::span<const std::byte> b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i]) {
        continue;
      }
      if (!open_ || address + i > range_.end + kMergeGap) {
        close();
        open_ = true;
        range_ = {address + i, address + i, 0, {}, {}};
        const std::size_t n = std::min(kShownBytes, a.size() - i);
        range_.a = hex(a.subspan(i, n));
        range_.b = hex(b.subspan(i, n));
      }
      range_.end = address + i + 1;
      ++range_.different;
    }
  }

  void finish() {
    close();
    if (ranges_ > maximum_) {
      report_.more_memory(place_, ranges_ - maximum_, bytes_);
    }
  }

private:
  void close() {
    if (!open_) {
      return;
    }
    open_ = false;
    ++ranges_;
    bytes_ += range_.different;
    const std::size_t digits = 2 * (range_.end - range_.start);
    range_.a.resize(std::min(range_.a.size(), digits));
    range_.b.resize(std::min(range_.b.size(), digits));
    if (ranges_ <= maximum_) {
      report_.memory(place_, range_, remark_);
    }
  }

  DiffReport& report_;
  const Place& place_;
  std::uint64_t maximum_;
  const std::string& remark_;
  bool open_ = false;
  ByteRange range_;
  std::uint64_t ranges_ = 0;
  std::uint64_t bytes_ = 0;
};

MemoryDiff::MemoryDiff(DiffReport& report, const CheckpointReader& a, const CheckpointReader& b,
                       const BackingFiles& files, std::uint64_t max_ranges, Progress& progress)
    : report_(report), a_(a, files), b_(b, files), same_file_(a.name() == b.name()),
      same_stream_(equal_streams(a, b)), page_size_(page_size_of(a.state())),
      max_ranges_(max_ranges), progress_(progress) {}

// Whether the pages must be equal because they come from the same place.
bool MemoryDiff::same_source(const Segment& a, std::uint64_t a_skip, const Segment& b,
                             std::uint64_t b_skip) const {
  if (a.source != b.source) {
    return false;
  }
  switch (a.source) {
  case Source::kZero:
  case Source::kUnstored:
  case Source::kGuard:
  case Source::kNothing:
    return true;
  case Source::kStream:
    return a.first + a_skip == b.first + b_skip &&
           ((same_stream_ && a.base == schema::NO_INDEX && b.base == schema::NO_INDEX) ||
            same_file(a_.stream_of(a), b_.stream_of(b)));
  case Source::kFile: {
    const auto left = a_.state().getMemoryObjects()[a.object].getFile();
    const auto right = b_.state().getMemoryObjects()[b.object].getFile();
    return a.first + a_skip * page_size_ == b.first + b_skip * page_size_ &&
           capnp::AnyStruct::Reader(left) == capnp::AnyStruct::Reader(right);
  }
  case Source::kUnknown:
    return same_file_;
  }
  return false;
}

void MemoryDiff::compare(const Place& place, std::uint64_t address, std::uint64_t a_page,
                         std::uint64_t b_page, std::uint64_t pages, const std::string& remark) {
  Ranges ranges(report_, place, max_ranges_, remark);
  for (std::uint64_t done = 0; done < pages;) {
    std::uint64_t a_remaining = 0;
    std::uint64_t b_remaining = 0;
    const Segment& a = a_.at(a_page + done, a_remaining);
    const Segment& b = b_.at(b_page + done, b_remaining);
    const std::uint64_t n = std::min({a_remaining, b_remaining, pages - done});
    if (!same_source(a, a_page + done - a.page, b, b_page + done - b.page)) {
      compare_pages(ranges, place, address + done * page_size_, a, a_page + done, b, b_page + done,
                    n);
    }
    done += n;
  }
  ranges.finish();
}

void MemoryDiff::compare_pages(Ranges& ranges, const Place& place, std::uint64_t address,
                               const Segment& a, std::uint64_t a_page, const Segment& b,
                               std::uint64_t b_page, std::uint64_t pages) {
  const auto text = [&](const char* format) {
    return format_text(format, static_cast<unsigned long long>(address),
                       static_cast<unsigned long long>(address + pages * page_size_));
  };
  try {
    for (std::uint64_t done = 0; done < pages;) {
      const auto left = a_.read(a, a_page + done, pages - done);
      const auto right = b_.read(b, b_page + done, std::min(pages - done, kPagesAtOnce));
      const std::size_t n = std::min(left.size(), right.size());
      if (n == 0) {
        if (left.size() != right.size()) {
          report_.remark(place, text("0x%llx-0x%llx") + ": contents only in " +
                                    (left.empty() ? "B" : "A"));
        }
        return;
      }
      if (std::memcmp(left.data(), right.data(), n) != 0) {
        ranges.add(address + done * page_size_, left.first(n), right.first(n));
      }
      done += n / page_size_;
      compared_ += n;
      progress_.update(compared_, 0);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kBackingFile) {
      throw;
    }
    report_.not_comparable(place.part(text("0x%llx-0x%llx"), ""), error.what());
  }
}

} // namespace rrpcp::tools
