// Hashes, compresses and writes chunks in parallel, in order.
#pragma once

#include "base/page_buffer.h"
#include "base/sha256.h"
#include "container/chunk_codec.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <sched.h>
#include <thread>
#include <vector>

namespace rrpcp {

// Takes full chunks from one thread, lets `threads` workers checksum and compress them, and one
// more thread writes them to the output in the order they came. Where nothing is compressed, that
// thread does the checksums too: handing over costs more than they do. Holds a fixed number of
// chunk buffers, so memory is bounded and a slow output slows the producer. The threads begin with
// the second chunk, and run where the one may that made the pipeline; where there is but one chunk,
// finish() does everything.
class ChunkPipeline {
public:
  ChunkPipeline(Output& output, Profile profile, std::uint32_t page_size, std::size_t chunk_length,
                unsigned threads, bool seal);
  // Stops the threads; chunks that are not written are dropped.
  ~ChunkPipeline();
  ChunkPipeline(const ChunkPipeline&) = delete;
  ChunkPipeline& operator=(const ChunkPipeline&) = delete;

  // An empty buffer of at least chunk_length bytes for the next chunk; waits for one. Throws what a
  // thread of the pipeline met.
  PageBuffer take_buffer();
  // Hands over the first `length` bytes of `buffer` as the next chunk.
  void submit(PageBuffer buffer, std::size_t length);
  // Waits until everything is written and returns the chunk table. Throws as take_buffer().
  std::vector<ChunkEntry> finish();
  // SHA-256 of every chunk's decoded bytes, where `seal` was asked for; after finish().
  const std::vector<Sha256Digest>& seals() const { return seals_; }

private:
  struct Job {
    PageBuffer chunk;
    std::size_t length = 0;
    ChunkEntry entry; // of a job that is done; `chunk` then begins with the stored bytes
    Sha256Digest seal{};
    bool done = false;
  };

  // Whether the thread that writes is the only one.
  bool writer_encodes() const { return profile_ == Profile::kRaw; }
  // Fills in `job.entry`, and `job.chunk` with what is to be stored.
  void encode(Job& job, ChunkEncoder& encoder) const;
  void start_threads();
  void work();
  void write_in_order();
  void write(Job& job);
  void fail();
  void wake_all();
  void rethrow_failure();

  Output& output_;
  const Profile profile_;
  const std::uint32_t page_size_;
  const std::size_t chunk_length_;
  const bool seal_;
  const unsigned workers_;
  cpu_set_t processors_;

  std::mutex mutex_;
  // Each for one kind of waiting, so that nobody is woken for nothing.
  std::condition_variable has_buffer_;  // take_buffer: or failed
  std::condition_variable has_work_;    // workers: or closed, or failed
  std::condition_variable front_done_;  // writing thread: or closed, or failed; where there are no
                                        // workers, that there is a chunk
  std::condition_variable all_written_; // finish: or failed
  std::size_t buffer_count_ = 0;        // the most that there are
  std::size_t buffers_made_ = 0;
  std::vector<PageBuffer> free_buffers_;
  std::deque<std::shared_ptr<Job>> jobs_;    // in order, until written
  std::deque<std::shared_ptr<Job>> waiting_; // not yet taken by a worker
  std::vector<ChunkEntry> entries_;
  std::vector<Sha256Digest> seals_;
  std::exception_ptr failure_;
  bool closed_ = false;

  std::vector<std::thread> threads_;
};

} // namespace rrpcp
