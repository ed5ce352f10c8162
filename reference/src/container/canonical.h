// The one form in which a message is stored (spec/format.md, "Manifest"): Cap'n Proto's canonical
// form, in which moreover what is empty is null. Fields that this program does not know keep their
// bytes.
#pragma once

#include "container/value_plan.h"

#include <capnp/any.h>
#include <capnp/common.h>
#include <cstddef>
#include <cstdint>
#include <kj/array.h>
#include <optional>
#include <span>
#include <string>

namespace rrpcp {

// The struct as a message of one segment, without framing: root pointer, then the struct and what
// it refers to, in pre-order. Only `plan`, the root's, tells an empty Text, which has one byte,
// from Data of one byte; without it texts stay as they are. Throws Error (kLimit) where that is
// more than Cap'n Proto's pointers reach, 2^29 words.
kj::Array<capnp::word> canonical_message(capnp::AnyStruct::Reader root,
                                         const ValuePlan* plan = nullptr);

// Where a message (without framing) whose layout is right is not in that form, and why.
struct CanonicalProblem {
  std::string what;
  std::uint64_t word;
};
std::optional<CanonicalProblem> find_noncanonical(std::span<const std::byte> segment);

} // namespace rrpcp
