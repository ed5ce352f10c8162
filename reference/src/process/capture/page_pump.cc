#include "process/capture/page_pump.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <span>
#include <thread>
#include <unistd.h>
#include <utility>

namespace rrpcp::capture {

namespace {

// Small enough to stay in a second-level cache, large enough that system calls do not count.
constexpr std::size_t kBatchSize = 512 << 10;
constexpr std::size_t kBatches = 4;
constexpr std::size_t kMaxSteps = 16384;

} // namespace

// Pages, and what to do with them in order.
struct Batch {
  struct Step {
    enum class Kind { kBegin, kGap, kData };
    Kind kind;
    std::vector<PageRun>* runs = nullptr;        // kBegin
    schema::RunKind run = schema::RunKind::ZERO; // kGap
    std::uint64_t amount = 0;                    // kGap: pages; kData: bytes
  };

  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte[], Free> bytes;
  std::size_t filled = 0;
  std::vector<Step> steps;
};

PagePump::Source::Source(PagePump& pump) : pump_(pump) {}

PagePump::Source::~Source() = default;

void PagePump::Source::begin(std::vector<PageRun>* runs) {
  room();
  batch_->steps.push_back({Batch::Step::Kind::kBegin, runs, {}, 0});
}

void PagePump::Source::gap(schema::RunKind kind, std::uint64_t pages) {
  if (pages > 0) {
    room();
    batch_->steps.push_back({Batch::Step::Kind::kGap, nullptr, kind, pages});
  }
}

std::size_t PagePump::Source::room() {
  if (batch_ != nullptr && (batch_->filled == kBatchSize || batch_->steps.size() >= kMaxSteps)) {
    hand_over();
  }
  if (batch_ == nullptr) {
    batch_ = pump_.take_empty();
  }
  return kBatchSize - batch_->filled;
}

void PagePump::Source::remote(RemoteMemory& memory, std::uint64_t address, std::uint64_t length) {
  while (length > 0) {
    const std::size_t n = std::min<std::uint64_t>(length, room());
    if (memory_ != &memory || remote_.size() == IOV_MAX) {
      read_remote();
    }
    if (remote_.empty()) {
      memory_ = &memory;
      remote_start_ = batch_->filled;
    }
    remote_.push_back({reinterpret_cast<void*>(address), n});
    batch_->steps.push_back({Batch::Step::Kind::kData, nullptr, {}, n});
    batch_->filled += n;
    address += n;
    length -= n;
  }
}

void PagePump::Source::file(int fd, std::uint64_t offset, std::uint64_t length,
                            const std::string& name) {
  while (length > 0) {
    const std::size_t n = std::min<std::uint64_t>(length, room());
    read_remote();
    std::span<std::byte> out(batch_->bytes.get() + batch_->filled, n);
    batch_->steps.push_back({Batch::Step::Kind::kData, nullptr, {}, n});
    batch_->filled += n;
    offset += n;
    length -= n;
    for (std::uint64_t at = offset - n; !out.empty();) {
      ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0) {
        throw system_error(errno, "cannot read").in_file(name).at(at);
      }
      if (got == 0) {
        std::fill(out.begin(), out.end(), std::byte{0});
        break;
      }
      at += static_cast<std::uint64_t>(got);
      out = out.subspan(static_cast<std::size_t>(got));
    }
  }
}

// Reads the ranges that wait.
void PagePump::Source::read_remote() {
  if (remote_.empty()) {
    return;
  }
  std::byte* target = batch_->bytes.get() + remote_start_;
  std::size_t length = 0;
  for (const iovec& range : remote_) {
    length += range.iov_len;
  }
  iovec local{target, length};
  ssize_t n = ::process_vm_readv(memory_->pid(), &local, 1, remote_.data(), remote_.size(), 0);
  if (n < 0 || static_cast<std::size_t>(n) != length) {
    // Something in it needs another way, or cannot be read: one by one, with words.
    for (const iovec& range : remote_) {
      memory_->read(reinterpret_cast<std::uintptr_t>(range.iov_base),
                    std::span(target, range.iov_len));
      target += range.iov_len;
    }
  }
  remote_.clear();
}

void PagePump::Source::hand_over() {
  read_remote();
  if (batch_ != nullptr) {
    pump_.put_full(std::move(batch_));
  }
}

PagePump::PagePump() {
  for (std::size_t i = 0; i < kBatches; ++i) {
    auto batch = std::make_unique<Batch>();
    batch->bytes.reset(static_cast<std::byte*>(std::aligned_alloc(4096, kBatchSize)));
    if (batch->bytes == nullptr) {
      throw std::bad_alloc();
    }
    empty_.push_back(std::move(batch));
  }
}

PagePump::~PagePump() = default;

std::unique_ptr<Batch> PagePump::take_empty() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopped_ || !empty_.empty(); });
  if (stopped_) {
    throw Stopped();
  }
  std::unique_ptr<Batch> batch = std::move(empty_.front());
  empty_.pop_front();
  batch->filled = 0;
  batch->steps.clear();
  return batch;
}

void PagePump::put_full(std::unique_ptr<Batch> batch) {
  std::lock_guard lock(mutex_);
  full_.push_back(std::move(batch));
  changed_.notify_all();
}

void PagePump::append(const Batch& batch, CheckpointWriter& writer) {
  std::span<const std::byte> rest(batch.bytes.get(), batch.filled);
  for (const Batch::Step& step : batch.steps) {
    switch (step.kind) {
    case Batch::Step::Kind::kBegin:
      runs_ = step.runs;
      break;
    case Batch::Step::Kind::kGap:
      append_run(*runs_, {step.run, step.amount, 0});
      break;
    case Batch::Step::Kind::kData:
      writer.append(rest.first(step.amount), *runs_);
      rest = rest.subspan(step.amount);
      break;
    }
  }
  bytes_ += batch.filled;
}

void PagePump::run(CheckpointWriter& writer, const std::function<void(Source&)>& produce,
                   const std::function<void(std::uint64_t)>& progress) {
  finished_ = false;
  stopped_ = false;
  std::thread reader([&] {
    std::exception_ptr failure;
    try {
      Source source(*this);
      produce(source);
      source.hand_over();
    } catch (const Stopped&) {
      // The other thread knows why.
    } catch (...) {
      failure = std::current_exception();
    }
    std::lock_guard lock(mutex_);
    failure_ = failure;
    finished_ = true;
    changed_.notify_all();
  });
  try {
    for (;;) {
      std::unique_ptr<Batch> batch;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return finished_ || !full_.empty(); });
        if (full_.empty()) {
          break;
        }
        batch = std::move(full_.front());
        full_.pop_front();
      }
      append(*batch, writer);
      if (progress) {
        progress(bytes_);
      }
      std::lock_guard lock(mutex_);
      empty_.push_back(std::move(batch));
      changed_.notify_all();
    }
  } catch (...) {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
      changed_.notify_all();
    }
    reader.join();
    throw;
  }
  reader.join();
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

} // namespace rrpcp::capture
