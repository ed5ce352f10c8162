// Which calls are made without a stop, in the words of the code that makes them.
#pragma once

#include "replay/buffer/buffer_abi.h"
#include "trace/call_row.h"
#include "trace/system_call.h"

#include <array>

namespace rrpcp::replay::buffer {

// By number; from the table of system calls, for those that do not block, whose effects are what
// that table says and nothing else, and that a recorder has nothing to look at of.
const std::array<CallShape, kNumbers>& call_shapes();

// The descriptor that a call of that number needs something to be known of; -1: none.
int descriptor_of(const trace::SystemCall& call);

} // namespace rrpcp::replay::buffer
