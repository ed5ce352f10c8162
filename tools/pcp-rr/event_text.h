// Events as text.
#pragma once

#include "rrpcp/schema/trace.capnp.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace rrpcp::tools {

// The arm of the event's union: "systemCall", …; "unknown (77)" for one that is newer.
std::string event_kind_name(schema::Event::Reader event);

// What happened, on one line: "openat(0xffffff9c, 0x7f…, 0x80000, 0, 0, 0) = 3".
std::string event_text(schema::Event::Reader event);

// The general registers that the event compares, as "rip=0x… rax=0x… …"; empty: it has none.
std::string registers_text(schema::Event::Reader event);

} // namespace rrpcp::tools
