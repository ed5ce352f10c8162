// Diversions: copies of a replay's processes in which anything may be done.
#pragma once

#include "replay/travel/traveller.h"
#include "rrpcp/replay/timeline.h"

namespace rrpcp::replay {

Diversion make_diversion(Traveller& traveller);

} // namespace rrpcp::replay
