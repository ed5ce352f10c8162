#include "model/find_mapping.h"

namespace rrpcp {

std::optional<unsigned> find_mapping(capnp::List<schema::Mapping>::Reader mappings,
                                     std::uint64_t address) {
  unsigned low = 0;
  unsigned high = mappings.size();
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    if (mappings[middle].getEnd() <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == mappings.size() || mappings[low].getStart() > address) {
    return std::nullopt;
  }
  return low;
}

} // namespace rrpcp
