// Filling any Cap'n Proto struct with random content, by reflection.
#pragma once

#include <capnp/dynamic.h>
#include <random>

namespace rrpcp::test {

// Sets every field of `target` to a random value: numbers over their whole range, enums and union
// arms among the known ones, lists of 0 to 3 elements, about a quarter of the pointers left null.
// No field of the schema is left out, whatever is added later.
void fill_at_random(capnp::DynamicStruct::Builder target, std::mt19937_64& random);

} // namespace rrpcp::test
