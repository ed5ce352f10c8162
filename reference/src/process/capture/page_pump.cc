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
// Bytes of a batch: some stay in the processor's cache, and handing over costs little beside them.
constexpr std::size_t kBatch = 512 << 10;

} // namespace

PagePump::PagePump(CheckpointWriter& writer, std::function<void(std::uint64_t)> progress,
                   BaseMemory* base)
    : writer_(writer), base_(base), progress_(std::move(progress)),
      page_size_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) {}

PagePump::~PagePump() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  to_read_.notify_one();
  if (reader_.joinable()) {
    reader_.join();
  }
}

void PagePump::add(const Step& step) {
  if (current().steps.size() >= kMaxSteps) {
    hand_over();
  }
  current().steps.push_back(step);
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
  if (current().filled == kBatch || current().steps.size() >= kMaxSteps) {
    hand_over();
  }
  if (!current().buffer) {
    current().buffer = PageBuffer(kBatch);
  }
  return current().buffer.span().subspan(current().filled);
}

void PagePump::remote(const std::shared_ptr<RemoteMemory>& memory, std::uint64_t address,
                      std::uint64_t length) {
  while (length > 0) {
    const std::size_t n = std::min<std::uint64_t>(length, room().size());
    std::vector<Reading>& readings = current().readings;
    if (readings.empty() || readings.back().memory != memory ||
        readings.back().ranges.size() == IOV_MAX ||
        readings.back().start + readings.back().length != current().filled) {
      readings.push_back({memory, {}, current().filled, 0});
    }
    readings.back().ranges.push_back({reinterpret_cast<void*>(address), n});
    readings.back().length += n;
    add({Step::Kind::kData, nullptr, {}, n});
    current().filled += n;
    address += n;
    length -= n;
  }
}

void PagePump::file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name,
                    std::uint64_t end) {
  while (length > 0) {
    std::span<std::byte> out = room();
    out = out.first(std::min<std::uint64_t>(length, out.size()));
    add({Step::Kind::kData, nullptr, {}, out.size()});
    current().filled += out.size();
    length -= out.size();
    read_padded(fd, out, offset, end, name);
    offset += out.size();
  }
}

void PagePump::memory(std::span<const std::byte> pages) {
  if (!pages.empty()) {
    add({Step::Kind::kElsewhere, nullptr, {}, pages.size(), {}, pages.data()});
  }
}

void PagePump::read(Batch& batch) {
  for (const Reading& reading : batch.readings) {
    reading.memory->read_ranges(reading.ranges,
                                batch.buffer.span().subspan(reading.start, reading.length));
  }
}

void PagePump::read_batches() {
  std::unique_lock lock(mutex_);
  for (;;) {
    to_read_.wait(lock, [this] { return closed_ || read_ < handed_over_; });
    if (closed_) {
      return;
    }
    Batch& next = batch(read_);
    lock.unlock();
    try {
      read(next);
    } catch (...) {
      next.failed = true;
    }
    lock.lock();
    if (++read_ == wanted_) {
      was_read_.notify_one();
    }
  }
}

void PagePump::await_read(std::uint64_t needed, std::uint64_t wanted) {
  std::unique_lock lock(mutex_);
  if (read_ < needed && reader_.joinable()) {
    wanted_ = wanted;
    to_read_.notify_one();
    was_read_.wait(lock, [this] { return read_ >= wanted_; });
  }
}

void PagePump::store_oldest() {
  Batch& oldest = batch(stored_);
  await_read(stored_ + 1, std::min(stored_ + kWorthWaking, handed_over_));
  ++stored_;
  if (std::exchange(oldest.failed, false)) {
    await_read(handed_over_, handed_over_); // a memory is read by one thread at a time
    read(oldest); // what only the thread that traces may read, or the reason why it cannot be
  }
  store(oldest);
}

void PagePump::hand_over() {
  const bool reads = !current().readings.empty();
  {
    std::lock_guard lock(mutex_);
    if (!reader_.joinable()) {
      read_ = handed_over_ + (reads ? 0 : 1);
    }
    ++handed_over_;
    if (reader_.joinable() && handed_over_ - read_ >= kWorthWaking) {
      to_read_.notify_one();
    }
  }
  if (reads && !reader_.joinable()) {
    reader_ = std::thread([this] { read_batches(); });
  }
  if (handed_over_ - stored_ == kBatches) {
    store_oldest();
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
  if (stored_ == handed_over_ && !reader_.joinable()) { // there is no more: no thread is worth it
    read(current());
    store(current());
    return;
  }
  hand_over();
  while (stored_ < handed_over_) {
    store_oldest();
  }
}

void PagePump::store(Batch& batch) {
  std::span<const std::byte> rest = batch.buffer.span().first(batch.filled);
  for (const Step& step : batch.steps) {
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
      bytes_ += step.amount;
      break;
    case Step::Kind::kElsewhere:
      append({step.place, step.amount});
      bytes_ += step.amount;
      break;
    }
  }
  batch.steps.clear();
  batch.readings.clear();
  batch.filled = 0;
  if (progress_) {
    progress_(bytes_);
  }
}

} // namespace rrpcp::process::capture
