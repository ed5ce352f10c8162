// Carries pages from processes and files into a checkpoint.
#pragma once

#include "base/page_buffer.h"
#include "model/base_memory.h"
#include "process/remote_memory.h"
#include "rrpcp/page_run.h"
#include "rrpcp/writer.h"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <sys/uio.h>
#include <thread>
#include <vector>

namespace rrpcp::process::capture {

// Pages of processes are read by another thread, some at a time, while those before them are hashed
// and stored: the kernel takes longer for the one than we for the other.
class PagePump {
public:
  // `progress` is called with the bytes read so far. `base`, where given, is what pages are
  // compared with: those that it holds at their place are not stored again.
  PagePump(CheckpointWriter& writer, std::function<void(std::uint64_t)> progress,
           BaseMemory* base = nullptr);
  ~PagePump();
  PagePump(const PagePump&) = delete;
  PagePump& operator=(const PagePump&) = delete;

  // From now on, runs go to the end of `*runs`, which must live until the next begin() or flush().
  // What follows begins, in the base, at `area`.
  void begin(std::vector<PageRun>* runs, std::optional<BaseArea> area = std::nullopt);
  // A row of pages without data: ZERO or BACKING.
  void gap(schema::RunKind kind, std::uint64_t pages);
  // Pages of process `memory.pid()`: [address, address + length). Read later, together with what
  // follows; `memory` is not to be used otherwise until flush().
  void remote(const std::shared_ptr<RemoteMemory>& memory, std::uint64_t address,
              std::uint64_t length);
  // Pages that are known to be as the base has them in the area of begin(), stored or as zeros. Not
  // looked at.
  void unchanged(std::uint64_t length);
  // Pages of a file; what lies beyond its end, or beyond `end`, is zeros. `name` is for errors.
  void file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name,
            std::uint64_t end = UINT64_MAX);
  // Pages that lie in memory, and stay there until flush().
  void memory(std::span<const std::byte> pages);
  // Reads and appends what waits.
  void flush();

  // Bytes of pages read so far.
  std::uint64_t bytes() const { return bytes_; }

private:
  struct Step {
    enum class Kind { kBegin, kGap, kUnchanged, kData, kElsewhere };
    Kind kind;
    std::vector<PageRun>* runs = nullptr;        // kBegin
    schema::RunKind run = schema::RunKind::ZERO; // kGap
    std::uint64_t amount = 0;                    // kGap: pages; else bytes
    std::optional<BaseArea> area = {};           // kBegin
    const std::byte* place = nullptr;            // kElsewhere
  };
  // What has to be read of one process.
  struct Reading {
    std::shared_ptr<RemoteMemory> memory;
    std::vector<iovec> ranges;
    std::size_t start; // in the buffer
    std::size_t length;
  };
  // What goes through the stages together.
  struct Batch {
    PageBuffer buffer;
    std::size_t filled = 0; // bytes of it that are or will be read
    std::vector<Reading> readings;
    std::vector<Step> steps; // what to do with them
    bool failed = false;     // to read it all
  };

  // Numbers of batches, which only grow.
  Batch& batch(std::uint64_t number) { return batches_[number % kBatches]; }
  Batch& current() { return batch(handed_over_); }
  // Room for more pages, at least one.
  std::span<std::byte> room();
  void add(const Step& step);
  // Has the current batch read. Stores the oldest one where there is no other for what follows.
  void hand_over();
  // Returns at once where all batches below `needed` are read; else waits until those below
  // `wanted` are.
  void await_read(std::uint64_t needed, std::uint64_t wanted);
  // Stores the oldest batch when it is read.
  void store_oldest();
  void store(Batch& batch);
  static void read(Batch& batch);
  void read_batches(); // in the other thread
  void append(std::span<const std::byte> pages);
  void take_over(std::uint64_t length);
  std::optional<BaseMemory::Row> base_row() const;

  CheckpointWriter& writer_;
  BaseMemory* const base_; // may be null
  std::optional<BaseArea> area_;
  std::uint64_t position_ = 0; // bytes that were appended since begin()
  std::function<void(std::uint64_t)> progress_;
  const std::uint64_t page_size_;
  std::uint64_t bytes_ = 0;
  std::vector<PageRun>* runs_ = nullptr;
  // Some are read while one is stored and one is planned. To wake a thread costs more than to read
  // a page: each thread goes on until it has nothing more to do, and is woken for several batches.
  static constexpr std::size_t kBatches = 8;
  static constexpr std::size_t kWorthWaking = kBatches / 2;
  std::array<Batch, kBatches> batches_;
  std::uint64_t stored_ = 0; // number of the oldest that is not

  std::mutex mutex_; // of what follows; handed_over_ is changed by the thread that stores only
  std::condition_variable to_read_;
  std::condition_variable was_read_;
  std::uint64_t handed_over_ = 0; // number of the current batch
  std::uint64_t read_ = 0;        // number of the first that is not read
  std::uint64_t wanted_ = 0; // number of the first that the thread that stores does not wait for
  bool closed_ = false;
  std::thread reader_; // from the first reading on
};

} // namespace rrpcp::process::capture
