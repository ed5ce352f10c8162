// Which instructions of an address space were replaced by `ud2`.
#pragma once

#include "replay/engine/trapped_instructions.h"

#include <cstdint>
#include <map>

namespace rrpcp::replay {

class ReplacedInstructions {
public:
  struct Entry {
    TrappedCode code;
    std::array<std::byte, 2> original{}; // the bytes that ud2 took the place of
  };

  // Nothing where there is none at `address`.
  const Entry* find(std::uint64_t address) const;
  void add(std::uint64_t address, const Entry& entry) { entries_[address] = entry; }
  // Forgets those that begin in [start, end).
  void forget(std::uint64_t start, std::uint64_t end);
  // Calls `visit` with address and entry of those that begin in [start, end).
  template <typename Visit>
  void visit(std::uint64_t start, std::uint64_t end, const Visit& visit) const {
    for (auto at = entries_.lower_bound(start); at != entries_.end() && at->first < end; ++at) {
      visit(at->first, at->second);
    }
  }
  bool empty() const { return entries_.empty(); }
  // The program translates others instead of executing them: what it maps is data to it.
  bool translates() const { return translates_; }
  void set_translates(bool translates) { translates_ = translates; }

private:
  std::map<std::uint64_t, Entry> entries_;
  bool translates_ = false;
};

} // namespace rrpcp::replay
