// Series of checkpoints: what one takes over from others (spec/series.md).
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// What reading a checkpoint costs beside reading one that has all pages in its own stream.
struct SeriesCost {
  std::uint64_t pages = 0;         // of page streams that runs refer to, each once
  std::uint64_t own_pages = 0;     // of them, of the checkpoint's own stream
  std::uint64_t decoded_pages = 0; // of all chunks that have one of them
};

// Thread-safe. Throws kj::Exception for a message that cannot be read.
SeriesCost series_cost(schema::State::Reader state);

// Ids of the checkpoints that `checkpoint` takes over pages of, in the order of State.bases; none
// of them need be there. Throws Error(kDamaged) for ids that are none.
std::vector<CheckpointId> base_ids(const CheckpointReader& checkpoint);

} // namespace rrpcp
