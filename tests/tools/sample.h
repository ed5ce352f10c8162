// Checkpoints with many kinds of content, for tests of the commands.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/schema/state.capnp.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace rrpcp::test {

inline constexpr std::uint64_t kSampleCode = 0x400000; // 4 pages of a file, the second one changed
inline constexpr std::uint64_t kSampleHeap = 0x600000; // 8 pages: 3 stored, 1 zero, 4 stored
inline constexpr std::uint64_t kSampleShared = 0x700000; // 2 pages of shared memory, in both spaces
inline constexpr std::uint64_t kSampleMemfd = 0x710000;  // 1 page of a memfd
inline constexpr std::uint64_t kSampleGuard = 0x7e0000000000; // 1 TiB, never touched
inline constexpr std::uint64_t kSampleStack = 0x7ffffff00000; // 4 pages, equal to heap pages
inline constexpr std::uint64_t kSampleVvar = 0x7ffffffa0000;  // 4 pages that are never stored

// What may be changed about a sample.
struct SampleOptions {
  std::uint16_t machine = 62; // 62 x86-64, 183 AArch64
  WriterOptions writer;
  // Bytes of the heap, 8 pages; empty: the usual ones.
  std::vector<std::byte> heap;
  // Called on the finished state before it is written.
  std::function<void(schema::State::Builder)> change;
  std::string creator = "sample";
};

// The heap of a sample that was not changed.
std::vector<std::byte> sample_heap();

// Writes a checkpoint of two processes with three threads into `directory`/`name`, beside the file
// "program", which it makes and which some of its pages are in. Returns its path.
std::string write_rich_sample(const std::string& directory, const std::string& name,
                              const SampleOptions& options = {});

} // namespace rrpcp::test
