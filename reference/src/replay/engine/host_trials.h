// What is tried before work begins.
#pragma once

#include "rrpcp/error.h"

namespace rrpcp::replay {

// Whether it works, tried in a child or on the calling process. See examine_host.
bool can_trace();
bool can_skip_calls();
bool can_step();
bool breakpoints_fire();
bool can_change_code();
bool can_choose_ids();
bool can_scan_pages();
bool can_compare_objects();
bool can_open_mapped_files();
bool can_suspend_filters();
bool can_filter_calls();

// Throws Error where a replay could not even begin: kPermission where nobody may trace,
// kUnsupportedState. Takes a millisecond or two.
void require_tracing();

// What a recording says that could not begin for that reason.
Error tracing_refused();

} // namespace rrpcp::replay
