// Descriptors of this process that a new process needs under numbers that it can rely on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rrpcp::process::restore {

// A list of descriptors of this process, not owned, that a child inherits. Above all numbers that
// the child uses for itself there is a row of numbers, one for each, to which the restorer moves
// them first; they are closed at the end. Fill it, then freeze() it, then ask for numbers.
class DescriptorSet {
public:
  // Returns the index of the descriptor in the set.
  std::size_t add(int own_descriptor);

  // Fixes the numbers: the row begins above everything that was added and above those that the
  // program has `used`, in order; where that is above `limit`, which numbers have to be below,
  // between two of these, if there is such a place.
  void freeze(const std::vector<int>& used, std::uint64_t limit);

  // First number of the row. After freeze().
  int base() const { return base_; }
  // Number of descriptor `index` in the new process. After freeze().
  int number(std::size_t index) const { return base_ + static_cast<int>(index); }
  const std::vector<int>& own() const { return own_; }

private:
  std::vector<int> own_;
  int base_ = -1;
};

} // namespace rrpcp::process::restore
