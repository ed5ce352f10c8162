// The index file of the generations rr-2022 and rr-2024.
#pragma once

#include "legacy/legacy_message.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::compat {

// The name of the index in a trace directory.
inline constexpr const char* kIndexName = "checkpoints";

// A decoded index of one of the two generations.
struct IndexFile {
  Generation generation = Generation::kRr2022;
  std::unique_ptr<capnp::MallocMessageBuilder> message;

  std::uint32_t size() const;
  std::string completion_file(std::uint32_t position) const;
  std::uint64_t id(std::uint32_t position) const;
  // Of the stored state.
  std::int64_t event(std::uint32_t position) const;
  // The entry with the message of its completion file. Throws Error(kDamaged, kIncomplete).
  LegacyMessage load(std::uint32_t position, std::span<const std::byte> completion,
                     legacy::Machine machine) const;
};

// An index decoded as `generation`, and why it cannot be of it: empty where it can. Nothing
// decoded where the bytes are no such message.
struct IndexCandidate {
  std::optional<IndexFile> index;
  std::string objection;
};
IndexCandidate decode_index(std::span<const std::byte> bytes, Generation generation,
                            legacy::Machine machine);

} // namespace rrpcp::compat
