// Whole, valid states for tests: every part of the model is used by one of them.
#pragma once

#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <vector>

namespace rrpcp::test {

enum class SamplePosition { kNone, kAtEvent, kForwardTo, kBetween };

// Which state to make. Equal samples give equal states and pages.
struct Sample {
  std::uint16_t machine = 62; // 3 i386, 62 x86-64, 183 AArch64
  std::uint32_t page_size = 4096;
  std::uint32_t chunk_pages = 4;
  // kNone: a live process; else a replay with session, monitors and trace.
  SamplePosition position = SamplePosition::kNone;
  bool extensions = false;
  // Pages and registers that compress to nearly nothing, for small files.
  bool plain = false;
  // Chooses the content of the pages.
  unsigned seed = 1;
};

// Fills `manifest` and returns the page stream that its runs refer to. The pages have, in turn,
// content that compresses well, badly, and not at all.
std::vector<std::byte> build_sample(schema::Manifest::Builder manifest, const Sample& sample);

// Writes the sample as a checkpoint and returns the file.
std::vector<std::byte> write_sample_checkpoint(const Sample& sample, const WriterOptions& options);

} // namespace rrpcp::test
