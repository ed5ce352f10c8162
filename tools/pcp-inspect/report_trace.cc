// A recording over time in a report.

#include "common/console.h"
#include "common/text.h"
#include "pcp-inspect/report_parts.h"
#include "rrpcp/compat/rr_trace.h"
#include "rrpcp/schema/trace.capnp.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_reader.h"

#include <algorithm>
#include <capnp/dynamic.h>
#include <functional>
#include <map>

namespace rrpcp::tools {
namespace {

constexpr std::size_t kColumns = 240;
constexpr std::size_t kMostLanes = 60;

struct Lane {
  std::int32_t tid = 0;
  std::string what; // escaped
  std::int64_t first = 0;
  std::int64_t last = 0;
};

// What both kinds of traces tell. Places are nanoseconds, or events where a trace has no clock.
struct Recording {
  std::int64_t events = 0;
  std::uint64_t length = 1; // place of the last event
  bool timed = false;
  std::vector<Lane> lanes;
  std::map<std::string, std::uint64_t> kinds;
  std::vector<std::uint64_t> density = std::vector<std::uint64_t>(kColumns);
  std::map<std::int64_t, std::uint64_t> places; // of the events that are asked for

  void add(std::int64_t event, std::uint64_t place) {
    ++density[std::min<std::uint64_t>(
        static_cast<std::uint64_t>(static_cast<double>(place) / static_cast<double>(length) *
                                   kColumns),
        kColumns - 1)];
    if (const auto wanted = places.find(event); wanted != places.end()) {
      wanted->second = place;
    }
  }

  double percent(std::int64_t event) const {
    const auto place = places.find(event);
    const std::uint64_t at = place != places.end() ? place->second : 0;
    return std::min(100.0, 100.0 * static_cast<double>(at) / static_cast<double>(length));
  }
};

void want(Recording& recording, const std::vector<ReportMark>& marks) {
  for (const Lane& lane : recording.lanes) {
    recording.places[lane.first] = 0;
    recording.places[lane.last] = recording.length;
  }
  for (const ReportMark& mark : marks) {
    recording.places[mark.event] = recording.length;
  }
}

std::string command_text(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : " ") + html(word);
  }
  return text;
}

Recording read_ours(const std::string& directory, const std::vector<ReportMark>& marks) {
  const TraceReader trace = TraceReader::open(directory);
  Recording out;
  out.timed = true;
  out.events = trace.event_count();
  for (const TaskRecord& task : trace.tasks()) {
    Lane lane{task.tid, "", task.first_event, task.last_event};
    if (!task.executions.empty()) {
      lane.what = command_text(task.executions.back().command_line);
    }
    out.lanes.push_back(std::move(lane));
  }
  if (out.events == 0) {
    return out;
  }
  out.length = std::max<std::uint64_t>(trace.events(out.events).event().getTime(), 1);
  want(out, marks);
  for (EventReader events = trace.events(); !events.at_end(); events.next()) {
    const schema::Event::Reader event = events.event();
    out.add(events.number(), event.getTime());
    KJ_IF_MAYBE (field, capnp::DynamicStruct::Reader(event).which()) {
      ++out.kinds[field->getProto().getName().cStr()];
    } else {
      ++out.kinds["unknown"];
    }
  }
  return out;
}

const char* frame_name(FrameKind kind) {
  switch (kind) {
  case FrameKind::kSyscall:
    return "system calls";
  case FrameKind::kUnknown:
    return "unknown";
  default:
    return "others";
  }
}

Recording read_rr(const std::string& directory, const std::vector<ReportMark>& marks) {
  const RrTrace trace = RrTrace::open(directory);
  Recording out;
  std::map<std::int32_t, std::size_t> open; // lanes of tasks that have not ended
  const auto lane = [&](std::int32_t tid, std::int64_t event) -> Lane& {
    const auto [it, fresh] = open.try_emplace(tid, out.lanes.size());
    if (fresh) {
      out.lanes.push_back({tid, "", event, 0});
    }
    return out.lanes[it->second];
  };
  for (const RrTraceTask& task : trace.tasks()) {
    Lane& of = lane(task.tid, task.event);
    if (task.kind == RrTraceTask::Kind::kExec) {
      of.what = command_text(task.command_line);
    } else if (task.kind != RrTraceTask::Kind::kClone) {
      of.last = task.event;
      open.erase(task.tid);
    }
  }
  RrTraceFrameReader counting = trace.frames();
  while (counting.next()) {
    ++out.events;
  }
  out.length = static_cast<std::uint64_t>(std::max<std::int64_t>(out.events, 1));
  for (Lane& of : out.lanes) {
    of.last = of.last == 0 ? out.events : of.last;
  }
  want(out, marks);
  RrTraceFrameReader frames = trace.frames();
  while (const auto frame = frames.next()) {
    out.add(frame->event, static_cast<std::uint64_t>(frame->event));
    ++out.kinds[frame_name(frame->kind)];
  }
  return out;
}

void draw_density(ReportPage& page, const Recording& recording,
                  const std::vector<ReportMark>& marks) {
  const std::uint64_t most = std::max<std::uint64_t>(
      *std::max_element(recording.density.begin(), recording.density.end()), 1);
  std::string svg = format_text("<div class=\"time\"><svg viewBox=\"0 0 %zu 100\" "
                                "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"events "
                                "over time\">",
                                kColumns);
  for (std::size_t i = 0; i < kColumns; ++i) {
    if (recording.density[i] != 0) {
      const double height = std::max(1.5, 92.0 * static_cast<double>(recording.density[i]) /
                                              static_cast<double>(most));
      svg += format_text("<rect class=\"stored\" x=\"%zu\" y=\"%.1f\" width=\"1\" "
                         "height=\"%.1f\"><title>%llu events</title></rect>",
                         i, 100 - height, height,
                         static_cast<unsigned long long>(recording.density[i]));
    }
  }
  for (const ReportMark& mark : marks) {
    const double x = recording.percent(mark.event) / 100 * kColumns;
    svg += format_text("<line class=\"mark\" x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"100\"><title>",
                       x, x) +
           mark.label + "</title></line>";
  }
  const std::string end = recording.timed ? human_duration(recording.length)
                                          : "event " + std::to_string(recording.events);
  page.raw(svg + "</svg><div class=\"ends\"><span>" + (recording.timed ? "0 s" : "event 1") +
           "</span><span>" + end + "</span></div></div>\n");
}

} // namespace

void report_trace(ReportPage& page, const std::string& directory,
                  const std::vector<ReportMark>& marks) {
  const Recording recording =
      is_pcp_trace(directory) ? read_ours(directory, marks) : read_rr(directory, marks);
  page.heading(2, "The recording");
  page.paragraph(html(directory) + ": " +
                 human_count(static_cast<std::uint64_t>(recording.events), "event", "events") +
                 (recording.timed ? " in " + human_duration(recording.length) : "") +
                 ". The red lines are the checkpoints of this report.");
  draw_density(page, recording, marks);
  page.heading(3, "Threads");
  for (std::size_t i = 0; i < recording.lanes.size() && i < kMostLanes; ++i) {
    const Lane& lane = recording.lanes[i];
    const double first = recording.percent(lane.first);
    std::string text =
        "<div class=\"soft mono\">" + std::to_string(lane.tid) + " " + lane.what +
        "</div><div class=\"lane\">" +
        format_text("<i style=\"left:%.2f%%;width:%.2f%%\" title=\"events %lld to "
                    "%lld\"></i>",
                    first, std::max(0.0, recording.percent(lane.last) - first),
                    static_cast<long long>(lane.first), static_cast<long long>(lane.last));
    for (const ReportMark& mark : marks) {
      text += format_text("<b style=\"left:%.2f%%\" title=\"", recording.percent(mark.event)) +
              mark.label + "\"></b>";
    }
    page.raw(text + "</div>\n");
  }
  if (recording.lanes.size() > kMostLanes) {
    page.paragraph("… and " + std::to_string(recording.lanes.size() - kMostLanes) + " more.");
  }
  page.heading(3, "Events by kind");
  page.begin_table({"kind", ">events"});
  for (const auto& [kind, count] : recording.kinds) {
    page.row({html(kind), std::to_string(count)});
  }
  page.end_table();
}

} // namespace rrpcp::tools
