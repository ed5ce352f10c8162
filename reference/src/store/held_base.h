// A checkpoint to which a new one will refer: kept from being removed until the new one is there.
#pragma once

#include "base/scoped_fd.h"
#include "model/base_memory.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <memory>
#include <string>

namespace rrpcp {

// Open as long as the new checkpoint is being written, under a shared lock (flock(2)) that whoever
// removes checkpoints respects (spec/series.md, "Removing").
class HeldBase {
public:
  // Throws Error: as CheckpointReader::open() and base() do; kNotFound where it was just removed.
  explicit HeldBase(const std::string& path);

  const CheckpointReader& checkpoint() const { return *reader_; }
  BaseMemory& memory() { return memory_; }

private:
  std::unique_ptr<const CheckpointReader> reader_;
  BaseMemory memory_;
};

} // namespace rrpcp
