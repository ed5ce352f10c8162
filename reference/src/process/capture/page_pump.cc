#include "process/capture/page_pump.h"

#include "base/file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <unistd.h>
#include <utility>

namespace rrpcp::capture {

namespace {

constexpr std::size_t kMaxSteps = 16384;

} // namespace

PagePump::PagePump(CheckpointWriter& writer, std::function<void(std::uint64_t)> progress)
    : writer_(writer), progress_(std::move(progress)) {}

void PagePump::add(const Step& step) {
  if (steps_.size() >= kMaxSteps) {
    flush();
  }
  steps_.push_back(step);
}

void PagePump::begin(std::vector<PageRun>* runs) {
  add({Step::Kind::kBegin, runs, {}, 0});
}

void PagePump::gap(schema::RunKind kind, std::uint64_t pages) {
  if (pages > 0) {
    add({Step::Kind::kGap, nullptr, kind, pages});
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

void PagePump::file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name) {
  read_remote();
  while (length > 0) {
    std::span<std::byte> out = room();
    out = out.first(std::min<std::uint64_t>(length, out.size()));
    add({Step::Kind::kData, nullptr, {}, out.size()});
    filled_ += out.size();
    length -= out.size();
    const std::size_t done = read_at(fd, out, offset, name);
    std::fill(out.begin() + static_cast<std::ptrdiff_t>(done), out.end(), std::byte{0});
    offset += out.size();
  }
}

void PagePump::read_remote() {
  if (!remote_.empty()) {
    memory_->read_ranges(remote_, buffer_.subspan(remote_start_, filled_ - remote_start_));
    remote_.clear();
  }
}

void PagePump::flush() {
  read_remote();
  std::span<const std::byte> rest = buffer_.first(filled_);
  for (const Step& step : steps_) {
    switch (step.kind) {
    case Step::Kind::kBegin:
      runs_ = step.runs;
      break;
    case Step::Kind::kGap:
      append_run(*runs_, {step.run, step.amount, 0});
      break;
    case Step::Kind::kData:
      writer_.append(rest.first(step.amount), *runs_);
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

} // namespace rrpcp::capture
