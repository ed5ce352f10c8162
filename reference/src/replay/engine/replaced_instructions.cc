#include "replay/engine/replaced_instructions.h"

namespace rrpcp::replay {

const ReplacedInstructions::Entry* ReplacedInstructions::find(std::uint64_t address) const {
  auto found = entries_.find(address);
  return found != entries_.end() ? &found->second : nullptr;
}

void ReplacedInstructions::forget(std::uint64_t start, std::uint64_t end) {
  entries_.erase(entries_.lower_bound(start), entries_.lower_bound(end));
}

} // namespace rrpcp::replay
