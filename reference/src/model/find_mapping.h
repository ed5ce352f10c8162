// Finding a mapping by address.
#pragma once

#include "rrpcp/schema/memory.capnp.h"

#include <cstdint>
#include <optional>

namespace rrpcp {

// Index of the mapping that holds `address`, in mappings that are ordered and do not overlap.
std::optional<unsigned> find_mapping(capnp::List<schema::Mapping>::Reader mappings,
                                     std::uint64_t address);

} // namespace rrpcp
