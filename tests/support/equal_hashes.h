// Different bytes with equal hashes.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

namespace rrpcp::test {

// Two different pages of 4096 bytes with equal XXH3-64 and equal XXH3-128, written down without any
// search. XXH3 multiplies the two halves of (8 bytes of input XOR 8 bytes of its secret): where the
// low half of the input is that of the secret, the product is 0 whatever the high half is. The high
// halves still enter a sum, once for each stripe of 64 bytes; two stripes that change it by
// opposite amounts leave no trace. `variant` gives other pairs.
std::array<std::vector<std::byte>, 2> pages_of_equal_hash(unsigned variant = 0);

} // namespace rrpcp::test
