#include "container/chunk_pipeline.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <csignal>

namespace rrpcp {

namespace {

// Chunks for which it is worth waking the thread that writes them as they are: that costs about as
// much as writing one.
constexpr std::size_t kWorthWaking = 4;

} // namespace

ChunkPipeline::ChunkPipeline(Output& output, Profile profile, std::uint32_t page_size,
                             std::size_t chunk_length, unsigned threads, bool seal)
    : output_(output), profile_(profile), page_size_(page_size), chunk_length_(chunk_length),
      seal_(seal), workers_(writer_encodes() ? 0 : threads),
      // Some chunks per worker keep everybody busy; chunks of the largest size get fewer buffers.
      buffer_count_(std::clamp<std::size_t>((32u << 20) / chunk_length, 3, 4 * threads + 4)) {
  CPU_ZERO(&processors_);
  ::sched_getaffinity(0, sizeof processors_, &processors_);
}

void ChunkPipeline::start_threads() {
  sigset_t all; // signals are for the threads of whoever has a pipeline
  sigset_t mask;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &mask);
  const auto start = [this](void (ChunkPipeline::*function)()) {
    threads_.emplace_back([this, function] {
      ::sched_setaffinity(0, sizeof processors_, &processors_);
      (this->*function)();
    });
  };
  try {
    for (unsigned i = 0; i < workers_; ++i) {
      start(&ChunkPipeline::work);
    }
    start(&ChunkPipeline::write_in_order);
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    fail();
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

ChunkPipeline::~ChunkPipeline() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    if (!jobs_.empty() && !failure_) {
      failure_ = std::make_exception_ptr(Error(ErrorCode::kIncomplete, "the writer was abandoned"));
    }
  }
  wake_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void ChunkPipeline::wake_all() {
  has_buffer_.notify_all();
  has_work_.notify_all();
  front_done_.notify_all();
  all_written_.notify_all();
}

void ChunkPipeline::fail() {
  std::lock_guard lock(mutex_);
  if (!failure_) {
    failure_ = std::current_exception();
  }
  wake_all();
}

void ChunkPipeline::rethrow_failure() {
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

PageBuffer ChunkPipeline::take_buffer() {
  std::unique_lock lock(mutex_);
  if (free_buffers_.empty() && buffers_made_ < buffer_count_) {
    rethrow_failure();
    ++buffers_made_;
    return PageBuffer(ChunkEncoder::buffer_size(chunk_length_));
  }
  if (free_buffers_.empty() && writer_encodes()) {
    front_done_.notify_one(); // of what was not worth it
  }
  has_buffer_.wait(lock, [this] { return failure_ || !free_buffers_.empty(); });
  rethrow_failure();
  PageBuffer buffer = std::move(free_buffers_.back());
  free_buffers_.pop_back();
  return buffer;
}

void ChunkPipeline::submit(PageBuffer buffer, std::size_t length) {
  auto job = std::make_shared<Job>();
  job->chunk = std::move(buffer);
  job->length = length;
  bool wakes_writer = false;
  bool second = false;
  {
    std::lock_guard lock(mutex_);
    rethrow_failure();
    jobs_.push_back(job);
    if (writer_encodes()) {
      wakes_writer = jobs_.size() >= kWorthWaking;
    } else {
      waiting_.push_back(job);
    }
    second = threads_.empty() && jobs_.size() > 1;
  }
  if (second) {
    start_threads();
  }
  if (wakes_writer) {
    front_done_.notify_one();
  } else if (!writer_encodes()) {
    has_work_.notify_one();
  }
}

std::vector<ChunkEntry> ChunkPipeline::finish() {
  if (threads_.empty() && !jobs_.empty()) {
    ChunkEncoder encoder(profile_, chunk_length_);
    encode(*jobs_.front(), encoder);
    write(*jobs_.front());
    jobs_.clear();
    waiting_.clear();
  }
  std::unique_lock lock(mutex_);
  front_done_.notify_one(); // of what was not worth it
  all_written_.wait(lock, [this] { return failure_ || jobs_.empty(); });
  rethrow_failure();
  return std::move(entries_);
}

void ChunkPipeline::encode(Job& job, ChunkEncoder& encoder) const {
  const std::span<const std::byte> chunk = job.chunk.span().first(job.length);
  const ChunkEncoder::Result result = encoder.encode(chunk);
  ChunkEntry& entry = job.entry;
  entry.codec = result.codec;
  entry.length = static_cast<std::uint32_t>(job.length);
  entry.stored_length = static_cast<std::uint32_t>(result.stored.size());
  entry.checksum = xxh3_64(chunk);
  entry.stored_checksum = entry.checksum;
  if (seal_) {
    job.seal = sha256(chunk);
  }
  if (result.codec != format::kCodecRaw) {
    entry.stored_checksum = xxh3_64(result.stored);
    encoder.swap_buffer(job.chunk);
  }
}

void ChunkPipeline::work() {
  try {
    ChunkEncoder encoder(profile_, chunk_length_);
    std::unique_lock lock(mutex_);
    for (;;) {
      has_work_.wait(lock, [this] { return failure_ || closed_ || !waiting_.empty(); });
      if (failure_ || waiting_.empty()) {
        return;
      }
      std::shared_ptr<Job> job = waiting_.front();
      waiting_.pop_front();
      lock.unlock();

      encode(*job, encoder);

      lock.lock();
      job->done = true;
      if (job == jobs_.front()) {
        front_done_.notify_one();
      }
    }
  } catch (...) {
    fail();
  }
}

// By one thread: the next in order.
void ChunkPipeline::write(Job& job) {
  const std::span<const std::byte> stored = job.chunk.span().first(job.entry.stored_length);
  if (job.entry.codec == format::kCodecRaw) {
    output_.pad_to(page_size_);
  }
  job.entry.offset = output_.offset();
  output_.reserve(stored.size());
  output_.write(stored);
  entries_.push_back(job.entry);
  if (seal_) {
    seals_.push_back(job.seal);
  }
}

void ChunkPipeline::write_in_order() {
  try {
    const bool encodes = writer_encodes();
    ChunkEncoder encoder(Profile::kRaw, chunk_length_);
    std::unique_lock lock(mutex_);
    for (;;) {
      front_done_.wait(lock, [&] {
        return failure_ || (closed_ && jobs_.empty()) ||
               (!jobs_.empty() && (encodes || jobs_.front()->done));
      });
      if (failure_ || jobs_.empty()) {
        return;
      }
      std::shared_ptr<Job> job = jobs_.front();
      lock.unlock();

      if (encodes) {
        encode(*job, encoder);
      }
      write(*job);

      lock.lock();
      free_buffers_.push_back(std::move(job->chunk));
      jobs_.pop_front();
      // Not for every single one: the producer has the rest of them to go on with.
      if (free_buffers_.size() >= buffer_count_ / 2 || jobs_.empty()) {
        has_buffer_.notify_one();
      }
      if (jobs_.empty()) {
        all_written_.notify_one();
      }
    }
  } catch (...) {
    fail();
  }
}

} // namespace rrpcp
