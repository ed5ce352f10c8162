// Carries pages from processes and files into a checkpoint.
#pragma once

#include "process/remote_memory.h"
#include "rrpcp/page_run.h"
#include "rrpcp/writer.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <sys/uio.h>
#include <vector>

namespace rrpcp::capture {

struct Batch;

// One thread reads pages, in batches of a fixed size, while the calling thread appends them to the
// checkpoint: reading and hashing go on at the same time, in bounded memory.
class PagePump {
public:
  // What the reading thread does: it calls the methods below, list by list and page by page.
  class Source {
  public:
    // From now on, runs go to the end of `*runs`, which must live until the pump is done.
    void begin(std::vector<PageRun>* runs);
    // A row of pages without data: ZERO or BACKING.
    void gap(schema::RunKind kind, std::uint64_t pages);
    // Pages of process `memory.pid()`: [address, address + length).
    void remote(RemoteMemory& memory, std::uint64_t address, std::uint64_t length);
    // Pages of a file; what lies beyond its end reads as zeros. `name` is for errors.
    void file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name);
    // Reads what waits to be read; then a RemoteMemory may go.
    void flush() { read_remote(); }

  private:
    friend class PagePump;
    explicit Source(PagePump& pump);
    ~Source();
    // Room in the current batch, at least a page.
    std::size_t room();
    void read_remote();
    void hand_over();

    PagePump& pump_;
    std::unique_ptr<Batch> batch_;
    RemoteMemory* memory_ = nullptr; // of the ranges that wait
    std::vector<iovec> remote_;      // ranges that wait to be read into the batch
    std::size_t remote_start_ = 0;   // where in the batch they go
  };

  PagePump();
  ~PagePump();

  // Runs `produce` in a thread of its own and appends what it reads to `writer`. `progress` is
  // called from the calling thread with the bytes read so far. Throws what either thread throws.
  void run(CheckpointWriter& writer, const std::function<void(Source&)>& produce,
           const std::function<void(std::uint64_t)>& progress);

  // Bytes of pages read so far.
  std::uint64_t bytes() const { return bytes_; }

private:
  struct Stopped {}; // thrown in the reading thread when the other one has failed

  std::unique_ptr<Batch> take_empty();
  void put_full(std::unique_ptr<Batch> batch);
  void append(const Batch& batch, CheckpointWriter& writer);

  std::uint64_t bytes_ = 0;
  std::vector<PageRun>* runs_ = nullptr; // of the appending thread

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Batch>> empty_;
  std::deque<std::unique_ptr<Batch>> full_;
  bool finished_ = false;
  bool stopped_ = false;
  std::exception_ptr failure_;
};

} // namespace rrpcp::capture
