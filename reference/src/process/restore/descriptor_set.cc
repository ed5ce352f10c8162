#include "process/restore/descriptor_set.h"

#include <algorithm>
#include <cassert>

namespace rrpcp::restore {

std::size_t DescriptorSet::add(int own_descriptor) {
  assert(base_ < 0);
  own_.push_back(own_descriptor);
  return own_.size() - 1;
}

void DescriptorSet::freeze(int highest_used) {
  for (int descriptor : own_) {
    highest_used = std::max(highest_used, descriptor);
  }
  base_ = highest_used + 1;
}

} // namespace rrpcp::restore
