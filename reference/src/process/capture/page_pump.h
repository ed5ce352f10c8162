// Carries pages from processes and files into a checkpoint.
#pragma once

#include "model/base_memory.h"
#include "process/remote_memory.h"
#include "rrpcp/page_run.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <sys/uio.h>
#include <vector>

namespace rrpcp::process::capture {

// Reads pages straight into the writer's buffer, where they are hashed while they are in the
// processor's cache: a page is copied once on its way from the process to the kernel's write.
class PagePump {
public:
  // `progress` is called with the bytes read so far. `base`, where given, is what pages are
  // compared with: those that it holds at their place are not stored again.
  PagePump(CheckpointWriter& writer, std::function<void(std::uint64_t)> progress,
           BaseMemory* base = nullptr);

  // From now on, runs go to the end of `*runs`, which must live until the next begin() or flush().
  // What follows begins, in the base, at `area`.
  void begin(std::vector<PageRun>* runs, std::optional<BaseArea> area = std::nullopt);
  // A row of pages without data: ZERO or BACKING.
  void gap(schema::RunKind kind, std::uint64_t pages);
  // Pages of process `memory.pid()`: [address, address + length). Read later, together with what
  // follows; `memory` must live until flush().
  void remote(RemoteMemory& memory, std::uint64_t address, std::uint64_t length);
  // Pages that are known to be as the base has them in the area of begin(), stored or as zeros. Not
  // looked at.
  void unchanged(std::uint64_t length);
  // Pages of a file; what lies beyond its end, or beyond `end`, is zeros. `name` is for errors.
  void file(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name,
            std::uint64_t end = UINT64_MAX);
  // Pages that lie in memory.
  void memory(std::span<const std::byte> pages);
  // Reads and appends what waits.
  void flush();

  // Bytes of pages read so far.
  std::uint64_t bytes() const { return bytes_; }

private:
  struct Step {
    enum class Kind { kBegin, kGap, kUnchanged, kData };
    Kind kind;
    std::vector<PageRun>* runs = nullptr;        // kBegin
    schema::RunKind run = schema::RunKind::ZERO; // kGap
    std::uint64_t amount = 0;                    // kGap: pages; else bytes
    std::optional<BaseArea> area = {};           // kBegin
  };

  // Room for more pages, at least one.
  std::span<std::byte> room();
  void add(const Step& step);
  void read_remote();
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
  std::span<std::byte> buffer_; // the writer's; empty: nothing waits in it
  std::size_t filled_ = 0;      // bytes of it that are or will be read
  std::vector<Step> steps_;     // what to do with them
  RemoteMemory* memory_ = nullptr;
  std::vector<iovec> remote_;    // ranges of it that are still to be read
  std::size_t remote_start_ = 0; // where in the buffer they go
};

} // namespace rrpcp::process::capture
