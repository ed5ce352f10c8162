// The parts of a report.
#pragma once

#include "pcp-inspect/report_page.h"
#include "rrpcp/interop/symbols.h"
#include "rrpcp/reader.h"

#include <string>
#include <vector>

namespace rrpcp::tools {

// Memory of every address space as pictures and as a table, and what it costs.
void report_memory(ReportPage& page, const CheckpointReader& reader);

// A checkpoint's place in a recording, as the trace's part marks it.
struct ReportMark {
  std::int64_t event;
  std::string label; // escaped
};

// Threads and events of the trace in `directory` over time. Throws Error.
void report_trace(ReportPage& page, const std::string& directory,
                  const std::vector<ReportMark>& marks);

} // namespace rrpcp::tools
