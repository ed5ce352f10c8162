#include "process/capture/page_pump.h"

#include "base/file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

constexpr std::size_t kMaxSteps = 16384;

} // namespace

PagePump::PagePump(CheckpointWriter& writer, std::function<void(std::uint64_t)> progress,
                   BaseMemory* base)
    : writer_(writer), base_(base), progress_(std::move(progress)),
      page_size_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) {}

void PagePump::add(const Step& step) {
  if (steps_.size() >= kMaxSteps) {
    flush();
  }
  steps_.push_back(step);
}

void PagePump::begin(std::vector<PageRun>* runs, std::optional<BaseArea> area) {
  add({Step::Kind::kBegin, runs, {}, 0, area});
}

void PagePump::gap(schema::RunKind kind, std::uint64_t pages) {
  if (pages > 0) {
    add({Step::Kind::kGap, nullptr, kind, pages});
  }
}

void PagePump::unchanged(std::uint64_t length) {
  if (length > 0) {
    add({Step::Kind::kUnchanged, nullptr, {}, length});
  }
}

std::span<std::byte> PagePump::room() {
  if (filled_ == buffer_.size() || steps_.size() >= kMaxSteps) {
    flush();
    buffer_ = writer_.room();
  }
  return buffer_.subspan(filled_);
}

void PagePump::remote(RemoteMemory& memory, std::uint64_t address, std::uint64_t length) {
  while (length > 0) {
    if (memory_ != &memory || remote_.size() == IOV_MAX) {
      read_remote();
    }
    const std::size_t n = std::min<std::uint64_t>(length, room().size());
    if (remote_.empty()) {
      memory_ = &memory;
      remote_start_ = filled_;
    }
    remote_.push_back({reinterpret_cast<void*>(address), n});
    add({Step::Kind::kData, nullptr, {}, n});
    filled_ += n;
    address += n;
    length -= n;
  }
}

void PagePump::file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name,
                    std::uint64_t end) {
  read_remote();
  while (length > 0) {
    std::span<std::byte> out = room();
    out = out.first(std::min<std::uint64_t>(length, out.size()));
    add({Step::Kind::kData, nullptr, {}, out.size()});
    filled_ += out.size();
    length -= out.size();
    read_padded(fd, out, offset, end, name);
    offset += out.size();
  }
}

void PagePump::memory(std::span<const std::byte> pages) {
  read_remote();
  while (!pages.empty()) {
    const std::span<std::byte> out = room();
    const std::size_t n = std::min(pages.size(), out.size());
    std::copy_n(pages.begin(), n, out.begin());
    add({Step::Kind::kData, nullptr, {}, n});
    filled_ += n;
    pages = pages.subspan(n);
  }
}

void PagePump::read_remote() {
  if (!remote_.empty()) {
    memory_->read_ranges(remote_, buffer_.subspan(remote_start_, filled_ - remote_start_));
    remote_.clear();
  }
}

std::optional<BaseMemory::Row> PagePump::base_row() const {
  if (base_ == nullptr || !area_) {
    return std::nullopt;
  }
  return area_->in_object ? base_->find_in_object(area_->owner, area_->start + position_)
                          : base_->find(area_->owner, area_->start + position_);
}

void PagePump::take_over(std::uint64_t length) {
  for (std::uint64_t left = length / page_size_; left > 0;) {
    const std::optional<BaseMemory::Row> row = base_row();
    const std::uint64_t zeros = row ? 0 : base_->zeros(area_->owner, area_->start + position_);
    const std::uint64_t pages = std::min(left, row ? row->pages : zeros);
    if (pages == 0) {
      throw Error(ErrorCode::kInternal, "the base does not have the memory that did not change");
    }
    append_run(*runs_, row ? PageRun{schema::RunKind::BASE, pages, row->first, row->source}
                           : PageRun{schema::RunKind::ZERO, pages, 0, 0});
    position_ += pages * page_size_;
    left -= pages;
  }
}

void PagePump::append(std::span<const std::byte> pages) {
  if (area_ && !area_->compare) {
    writer_.append(pages, *runs_);
    position_ += pages.size();
    return;
  }
  while (!pages.empty()) {
    // As many pages as have no counterpart go together.
    std::size_t alone = 0;
    std::optional<BaseMemory::Row> row = base_row();
    while (!row && alone < pages.size()) {
      const std::size_t step = base_ == nullptr || !area_ ? pages.size() : page_size_;
      alone += step;
      position_ += step;
      row = alone < pages.size() ? base_row() : std::nullopt;
    }
    if (alone > 0) {
      writer_.append(pages.first(alone), *runs_);
      pages = pages.subspan(alone);
    }
    for (std::uint64_t i = 0; row && i < row->pages && !pages.empty(); ++i) {
      writer_.append(pages.first(page_size_), base_->page(row->source, row->first + i), *runs_);
      pages = pages.subspan(page_size_);
      position_ += page_size_;
    }
  }
}

void PagePump::flush() {
  read_remote();
  std::span<const std::byte> rest = buffer_.first(filled_);
  for (const Step& step : steps_) {
    switch (step.kind) {
    case Step::Kind::kBegin:
      runs_ = step.runs;
      area_ = step.area;
      position_ = 0;
      break;
    case Step::Kind::kGap:
      append_run(*runs_, {step.run, step.amount, 0});
      position_ += step.amount * page_size_;
      break;
    case Step::Kind::kUnchanged:
      take_over(step.amount);
      break;
    case Step::Kind::kData:
      append(rest.first(step.amount));
      rest = rest.subspan(step.amount);
      break;
    }
  }
  bytes_ += filled_;
  steps_.clear();
  filled_ = 0;
  buffer_ = {};
  if (progress_) {
    progress_(bytes_);
  }
}

} // namespace rrpcp::process::capture
