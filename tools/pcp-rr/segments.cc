// `pcp-rr segments`: the pieces of a recording that can be replayed side by side.

#include "common/table.h"
#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_segments.h"

namespace rrpcp::tools {
namespace {

constexpr const char* kSegmentsDetails =
    R"(There is one for the start of the trace and one for each checkpoint that can be used. Of several
checkpoints at one event, or between the same two, all but the last begin segments without events.

'pcp-rr rerun --segment I/N' and 'pcp-validate --replay --segment I/N' do the I-th of N parts of all
segments, with about the same number of events each.

)";

} // namespace

int rr_segments(int argc, char** argv, Console& console) {
  Command command({"pcp-rr segments", "[OPTION]... [TRACE]",
                   "Lists the pieces into which the checkpoints cut a recording.",
                   kSegmentsDetails + std::string(kShowExitCodes)});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  const std::string directory =
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]);
  open_trace(directory, console); // tells where it is not whole
  const std::vector<TraceSegment> segments = trace_segments(directory, [&](const std::string& path,
                                                                           const Error& problem) {
    console.warn(printable(path) + ": no segment begins there: " + printable(problem.message()));
  });
  if (console.json) {
    Json list = Json::array();
    for (const TraceSegment& segment : segments) {
      list.push_back(
          {{"segment", std::uint64_t{list.size() + 1}},
           {"first", segment.first},
           {"end", segment.end},
           {"checkpoint",
            segment.checkpoint.empty() ? Json(nullptr) : json_bytes_as_text(segment.checkpoint)}});
    }
    console.write_json({{"trace", json_bytes_as_text(directory)}, {"segments", std::move(list)}});
    return kExitOk;
  }
  Table table({{"SEGMENT", true}, {"EVENTS", true}, {"COUNT", true}, {"CHECKPOINT"}});
  std::size_t number = 0;
  for (const TraceSegment& segment : segments) {
    const std::int64_t count = segment.end - segment.first;
    table.add(
        {std::to_string(++number),
         count == 0 ? "-" : std::to_string(segment.first) + "-" + std::to_string(segment.end - 1),
         std::to_string(count), segment.checkpoint.empty() ? "-" : printable(segment.checkpoint)});
  }
  if (!table.empty()) {
    table.print(console);
  }
  return kExitOk;
}

} // namespace rrpcp::tools
