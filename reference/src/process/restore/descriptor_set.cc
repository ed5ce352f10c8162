#include "process/restore/descriptor_set.h"

#include <algorithm>
#include <cassert>

namespace rrpcp::process::restore {

std::size_t DescriptorSet::add(int own_descriptor) {
  assert(base_ < 0);
  own_.push_back(own_descriptor);
  return own_.size() - 1;
}

void DescriptorSet::freeze(const std::vector<int>& used, std::uint64_t limit) {
  int own = 2;
  for (int descriptor : own_) {
    own = std::max(own, descriptor);
  }
  const int highest = used.empty() ? 0 : used.back();
  base_ = std::max(own, highest) + 1;
  if (static_cast<std::uint64_t>(base_) + own_.size() <= limit) {
    return;
  }
  int start = own + 1;
  for (int number : used) {
    if (number >= start && static_cast<std::size_t>(number - start) >= own_.size()) {
      base_ = start;
      return;
    }
    start = std::max(start, number + 1);
  }
}

} // namespace rrpcp::process::restore
