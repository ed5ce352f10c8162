// The checkpoints whose page streams another one refers to: found beside it, and verified before a
// byte of them is used (spec/series.md).
#pragma once

#include "base/sha256.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace rrpcp {

// One entry of State.bases.
struct BaseReference {
  CheckpointId id;
  std::uint64_t page_count = 0;
  std::uint32_t chunk_pages = 0;
  std::int64_t event = 0;
  std::optional<Sha256Digest> seal;
};

// Throws Error(kDamaged) where id or seal have another length than they can have.
BaseReference base_reference(schema::BaseCheckpoint::Reader base, const std::string& file);

// What a base must have in common with the file that refers to it.
struct BaseContext {
  std::string file; // that file, for errors
  TraceUuid trace;
  std::uint32_t page_size = 0;
  // Where to look; empty: nowhere.
  std::string directory;
};

// The directory in which an open file lies, or lay when its name was removed; empty where it has
// none.
std::string directory_of(int fd);

// Finds the base in the directory and compares trace, geometry and id, which is computed anew.
// Throws Error: kNotFound [base.missing]; kDamaged, kForeignTrace, … [base.unusable] where a file
// claims the id but cannot be the base; kDamaged [base.ambiguous] where several files have the id
// and hold different pages.
std::unique_ptr<CheckpointReader> open_base(const BaseReference& base, const BaseContext& context,
                                            const ReadLimits& limits);

} // namespace rrpcp
