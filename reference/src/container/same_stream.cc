#include "container/same_stream.h"

#include <vector>

namespace rrpcp {

bool same_stream(const CheckpointReader& a, const CheckpointReader& b) {
  if (a.footer().page_count != b.footer().page_count || a.chunk_count() != b.chunk_count()) {
    return false;
  }
  std::vector<std::byte> left, right;
  for (std::uint64_t i = 0; i < a.chunk_count(); ++i) {
    left.resize(a.chunk(i).length);
    right.resize(b.chunk(i).length);
    a.read_chunk(i, left);
    b.read_chunk(i, right);
    if (left != right) {
      return false;
    }
  }
  return true;
}

} // namespace rrpcp
