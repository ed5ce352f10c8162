// What is known when a recording begins.
#pragma once

#include "rrpcp/schema/recording.capnp.h"

#include <string>
#include <vector>

namespace rrpcp::replay {

// Describes this machine, the environment of the calling process and `command`.
void describe_start(const std::vector<std::string>& command, schema::TraceStart::Builder out);

} // namespace rrpcp::replay
