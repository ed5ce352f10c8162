// `pcp-rr dump`: the events of a trace.

#include "common/json_writer.h"
#include "rrpcp/message_json.h"
#include "common/text.h"
#include "pcp-rr/event_text.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"

#include <algorithm>
#include <map>
#include <optional>

namespace rrpcp::tools {
namespace {

struct Wishes {
  std::optional<std::int32_t> task;
  bool tasks_only = false;
  bool memory = false;
  bool mappings = false;
  bool raw = false;
};

bool is_wanted(schema::Event::Reader event, const Wishes& wishes) {
  return (!wishes.task || event.getTask() == *wishes.task) &&
         (!wishes.tasks_only || event.isExec() || event.isNewTask() || event.isExit());
}

void show_writes(Console& console, const char* what,
                 capnp::List<schema::MemoryWrite>::Reader writes) {
  for (const schema::MemoryWrite::Reader write : writes) {
    console.print("    { %saddr:0x%llx, length:%llu }\n", what,
                  static_cast<unsigned long long>(write.getAddress()),
                  static_cast<unsigned long long>(write.getLength()));
  }
}

void show(Console& console, std::int64_t number, schema::Event::Reader event,
          const Wishes& wishes) {
  const std::uint64_t time = event.getTime();
  console.print("%lld  task %d  +%llu.%09llu s  %s\n", static_cast<long long>(number),
                event.getTask(), static_cast<unsigned long long>(time / 1'000'000'000),
                static_cast<unsigned long long>(time % 1'000'000'000), event_text(event).c_str());
  if (wishes.raw) {
    if (const std::string registers = registers_text(event); !registers.empty()) {
      console.print("    %s\n", registers.c_str());
    }
  }
  if (wishes.memory) {
    for (const schema::SharedWrite::Reader write : event.getShared()) {
      console.print("    { object:%u, offset:0x%llx, length:%llu }\n", write.getObject(),
                    static_cast<unsigned long long>(write.getOffset()),
                    static_cast<unsigned long long>(write.getLength()));
    }
    show_writes(console, "", event.getMemory());
    if (event.isNewTask()) {
      show_writes(console, "new task, ", event.getNewTask().getChildMemory());
    }
  }
  if (wishes.mappings && event.hasMapping()) {
    const schema::EventMapping::Reader mapping = event.getMapping();
    const std::string_view path(mapping.getPath().asChars().begin(), mapping.getPath().size());
    console.print("    { map:'%s', offset:0x%llx, length:0x%llx, from:%s }\n",
                  printable(path).c_str(), static_cast<unsigned long long>(mapping.getOffset()),
                  static_cast<unsigned long long>(mapping.getLength()),
                  mapping.isFile() ? printable(mapping.getFile().cStr()).c_str()
                                   : format_text("object %u", mapping.getObject()).c_str());
  }
}

// Calls `show_event` with the wanted events of the ranges, in the order of the ranges.
template <typename ShowEvent>
void go_through(const TraceReader& trace, const std::vector<EventRange>& ranges,
                const Wishes& wishes, ShowEvent&& show_event) {
  for (const EventRange& range : ranges) {
    const std::int64_t first = std::max<std::int64_t>(range.first, 1);
    if (first > trace.event_count()) {
      continue;
    }
    for (EventReader events = trace.events(first);
         !events.at_end() && events.number() <= range.last; events.next()) {
      if (is_wanted(events.event(), wishes)) {
        show_event(events);
      }
    }
  }
}

void show_statistics(Console& console, const TraceReader& trace,
                     const std::vector<EventRange>& ranges, const Wishes& wishes) {
  std::map<std::string, std::uint64_t> kinds;
  std::uint64_t data = 0;
  std::uint64_t count = 0;
  go_through(trace, ranges, wishes, [&](EventReader& events) {
    ++kinds[event_kind_name(events.event())];
    ++count;
    data += events.data_length();
  });
  const std::uint64_t decoded =
      trace.chunks().empty() ? 0 : trace.events(trace.event_count() + 1).position().decoded_offset;
  if (console.json) {
    Json by_kind = Json::object();
    for (const auto& [kind, number] : kinds) {
      by_kind[kind] = number;
    }
    console.write_json(Json{{"events", count},
                            {"byKind", std::move(by_kind)},
                            {"dataBytes", data},
                            {"streamBytes", decoded},
                            {"storedBytes", trace.file_size()},
                            {"chunks", trace.chunks().size()}});
    return;
  }
  console.print("%llu events with %s of data\n", static_cast<unsigned long long>(count),
                human_size(data).c_str());
  for (const auto& [kind, number] : kinds) {
    console.print("  %-20s %llu\n", kind.c_str(), static_cast<unsigned long long>(number));
  }
  console.print("%s in all, stored in %s (%s), %zu chunks\n", human_size(decoded).c_str(),
                human_size(trace.file_size()).c_str(),
                human_percent(trace.file_size(), decoded).c_str(), trace.chunks().size());
}

void write_events(Console& console, const TraceReader& trace, const std::vector<EventRange>& ranges,
                  const Wishes& wishes) {
  JsonWriter json(console);
  json.begin_object();
  json.key("trace");
  json.bytes_as_text(trace.directory());
  json.key("events");
  json.begin_array();
  // What can be read before a damaged place is worth having: the document is ended properly.
  std::optional<Error> problem;
  try {
    go_through(trace, ranges, wishes, [&](EventReader& events) {
      json.begin_object();
      json.key("event");
      json.number(events.number());
      json.key("dataLength");
      json.number(events.data_length());
      json.key("message");
      write_message(json, events.event());
      json.end_object();
    });
  } catch (const Error& error) {
    problem = error;
  }
  json.end_array();
  if (problem) {
    json.key("error");
    json.value(json_error(*problem)["error"]);
  }
  json.end_object();
  json.finish();
  if (problem) {
    throw *problem;
  }
}

// The arguments with "0-5000" for "-5000", which is a range and no option.
std::vector<std::string> with_open_ranges(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  for (std::size_t i = 1; i < words.size() && words[i] != "--"; ++i) {
    const bool value = words[i - 1] == "-t" || words[i - 1] == "--tid";
    if (words[i].size() > 1 && words[i][0] == '-' && !value &&
        words[i].find_first_not_of("0123456789", 1) == std::string::npos) {
      words[i].insert(0, "0");
    }
  }
  return words;
}

} // namespace

int rr_dump(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr dump", "[OPTION]... [TRACE] [EVENTS]...",
       "Shows the events of a trace: number, task, seconds since the start, and what happened.",
       "EVENTS is a number as 127, a range as 1000-5000, 1000- or -5000, or 'end' for the last\n"
       "event. Without it, all events.\n\n" +
           std::string(kShowExitCodes)});
  command.add_json().add_quiet();
  command.add("b,syscallbuf", "nothing more than without it: here every call is an event");
  command.add("e,task-events", "only events that make, execute or end a task");
  command.add("m,recorded-metadata", "show where the events wrote");
  command.add("p,mmaps", "show what the events mapped");
  command.add("r,raw", "show the registers before the events");
  command.add("s,statistics", "show statistics instead of the events");
  command.add("t,tid", "only events of this task", "TID");
  const std::vector<std::string> given = with_open_ranges(argc, argv);
  std::vector<const char*> pointers;
  for (const std::string& word : given) {
    pointers.push_back(word.c_str());
  }
  const Arguments arguments = command.parse(argc, pointers.data(), console);
  std::vector<std::string> words = arguments.positional();
  std::string name;
  if (!words.empty() && !reads_like_events(words[0])) {
    name = words[0];
    words.erase(words.begin());
  }
  Wishes wishes;
  wishes.tasks_only = arguments.has("task-events");
  wishes.memory = arguments.has("recorded-metadata");
  wishes.mappings = arguments.has("mmaps");
  wishes.raw = arguments.has("raw");
  if (arguments.has("tid")) {
    wishes.task = static_cast<std::int32_t>(parse_number(arguments.get("tid"), "--tid", INT32_MAX));
  }
  const TraceReader trace = open_trace(name, console);
  std::vector<EventRange> ranges;
  for (const std::string& word : words) {
    ranges.push_back(parse_events(word, trace.event_count()));
  }
  if (ranges.empty()) {
    ranges.emplace_back();
  }
  if (arguments.has("statistics")) {
    show_statistics(console, trace, ranges, wishes);
  } else if (console.json) {
    write_events(console, trace, ranges, wishes);
  } else {
    go_through(trace, ranges, wishes, [&](EventReader& events) {
      show(console, events.number(), events.event(), wishes);
    });
  }
  return kExitOk;
}

} // namespace rrpcp::tools
