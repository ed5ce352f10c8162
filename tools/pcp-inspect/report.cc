// `pcp-inspect report`: checkpoints, what differs between them and their recording, as one page.

#include "common/names.h"
#include "common/text.h"
#include "diff/registers.h"
#include "diff/state_diff.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "pcp-inspect/report_page.h"
#include "pcp-inspect/report_parts.h"
#include "rrpcp/store.h"

#include <map>
#include <optional>

namespace rrpcp::tools {
namespace {

constexpr std::size_t kMostThreads = 200;
constexpr std::size_t kMostFrames = 40;
constexpr std::size_t kMostDifferences = 200;

struct ReportRequest {
  BackingFiles files;
  bool names = true;
};

std::string html_of(capnp::Data::Reader data) {
  return html({reinterpret_cast<const char*>(data.begin()), data.size()});
}

std::string html_of(capnp::Text::Reader text) {
  return html({text.begin(), text.size()});
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string position_of(const Header& header) {
  switch (header.position_kind) {
  case format::kPositionNone:
    return "a live process";
  case format::kPositionForwardTo:
    return "event " + std::to_string(header.event) + ", forward to " +
           std::to_string(header.mark_event);
  default:
    return "event " + std::to_string(header.event);
  }
}

std::string command_of(schema::Process::Reader process) {
  std::string text;
  for (const capnp::Data::Reader word : process.getCommandLine()) {
    text += (text.empty() ? "" : " ") + html_of(word);
  }
  return text;
}

void report_overview(ReportPage& page, const std::vector<CheckpointReader>& readers) {
  page.begin_table({"checkpoint", "taken at", ">size", ">processes", ">threads", "written by"});
  for (std::size_t i = 0; i < readers.size(); ++i) {
    const CheckpointReader& reader = readers[i];
    const schema::State::Reader state = reader.state();
    const schema::Provenance::Reader provenance = reader.manifest().getProvenance();
    page.row(
        {"<a href=\"#c" + std::to_string(i) + "\">" + html(base_name(reader.name())) + "</a>",
         position_of(reader.header()), human_size(reader.file_size()),
         std::to_string(state.getProcesses().size()), std::to_string(state.getTasks().size()),
         html_of(provenance.getCreator()) +
             (provenance.getCreatedAt() != 0 ? ", " + human_time(provenance.getCreatedAt()) : "")});
  }
  page.end_table();
}

std::string frame_text(const StackFrame& frame, std::size_t& number) {
  std::string text;
  for (const std::string& name : frame.inlined) {
    text += format_text("#%-3zu ", number++) + html(name) + " (inlined)\n";
  }
  text += format_text("#%-3zu ", number++) +
          (frame.symbol ? html(frame.symbol->text())
                        : format_text("0x%llx", static_cast<unsigned long long>(frame.pc)));
  if (frame.symbol && frame.symbol->line != 0) {
    text +=
        " at " + html(base_name(frame.symbol->source)) + ":" + std::to_string(frame.symbol->line);
  }
  return text + (frame.mapping.empty() ? "" : " from " + html(base_name(frame.mapping))) + "\n";
}

// Threads, each with its chain of calls.
void report_threads(ReportPage& page, const CheckpointReader& reader,
                    const ReportRequest& request) {
  const schema::State::Reader state = reader.state();
  std::map<std::uint32_t, std::optional<Symbols>> spaces;
  std::size_t shown = 0;
  for (const schema::Task::Reader task : state.getTasks()) {
    if (++shown > kMostThreads) {
      page.paragraph("… and " + std::to_string(state.getTasks().size() - kMostThreads) +
                     " more threads.");
      break;
    }
    std::string summary =
        "thread " + std::to_string(task.getTid()) + " <b>" + html_of(task.getName()) + "</b>";
    const auto pc = program_counter(state, task);
    std::string frames;
    if (request.names && task.getAddressSpace() < state.getAddressSpaces().size()) {
      const auto [symbols, fresh] = spaces.try_emplace(task.getAddressSpace());
      if (fresh) {
        symbols->second.emplace(reader, task.getAddressSpace(), request.files);
      }
      if (pc) {
        summary += " at <span class=\"mono\">" + html(symbols->second->describe(*pc)) + "</span>";
      }
      const ThreadStack stack = symbols->second->unwind(task.getTid(), kMostFrames);
      std::size_t number = 0;
      for (const StackFrame& frame : stack.frames) {
        frames += frame_text(frame, number);
      }
      if (!stack.problem.empty()) {
        frames += "     the chain ends here: " + html(stack.problem) + "\n";
      }
    } else if (pc) {
      summary += format_text(" at <span class=\"mono\">0x%llx</span>",
                             static_cast<unsigned long long>(*pc));
    }
    if (task.getPendingSignals().size() != 0) {
      summary +=
          ", " + human_count(task.getPendingSignals().size(), "signal", "signals") + " pending";
    }
    if (frames.empty()) {
      page.paragraph(summary);
      continue;
    }
    page.begin_details(summary, false);
    page.raw("<pre>" + frames + "</pre>");
    page.end_details();
  }
}

void report_processes(ReportPage& page, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  page.heading(3, "Processes and threads");
  page.begin_table({">pid", ">parent", ">threads", "command"});
  const auto processes = state.getProcesses();
  for (unsigned i = 0; i < processes.size(); ++i) {
    std::size_t threads = 0;
    std::string name;
    for (const schema::Task::Reader task : state.getTasks()) {
      if (task.getProcess() == i) {
        ++threads;
        name = name.empty() ? html_of(task.getName()) : name;
      }
    }
    const std::string command = command_of(processes[i]);
    page.row({std::to_string(processes[i].getPid()), std::to_string(processes[i].getParentPid()),
              std::to_string(threads), command.empty() ? name : command});
  }
  page.end_table();
}

void report_checkpoint(ReportPage& page, const CheckpointReader& reader, std::size_t index,
                       const ReportRequest& request) {
  const schema::State::Reader state = reader.state();
  page.raw("<section id=\"c" + std::to_string(index) + "\">");
  page.heading(2, html(base_name(reader.name())));
  std::vector<std::pair<std::string, std::string>> facts = {
      {"file", html(reader.name())},
      {"id", "<span class=\"mono\">" + reader.id().to_string() + "</span>"},
      {"taken at", position_of(reader.header())},
      {"machine", html(machine_name(state.getMachine()))},
      {"producer", html_of(state.getProducer())}};
  if (state.hasTrace()) {
    facts.emplace_back("trace", "<span class=\"mono\">" + reader.header().trace_uuid.to_string() +
                                    "</span>");
  }
  if (state.getInspectOnly()) {
    facts.emplace_back("use", "for looking at only: it cannot be restored");
  }
  const schema::Provenance::Reader provenance = reader.manifest().getProvenance();
  if (provenance.getComment().size() != 0) {
    facts.emplace_back("comment", html_of(provenance.getComment()));
  }
  for (const schema::Omission::Reader omission : state.getOmissions()) {
    facts.emplace_back("left out", html_of(omission.getWhat()));
  }
  page.facts(facts);
  report_processes(page, reader);
  report_threads(page, reader, request);
  report_memory(page, reader);
  page.raw("</section>\n");
}

// Numbers of 64 bits are texts in documents (spec/inspect-json.md).
std::string json_text_of(const Json& value) {
  if (value.is_string()) {
    return html(value.get_ref<const std::string&>());
  }
  const std::string text = html(value.dump(-1, ' ', false, Json::error_handler_t::replace));
  return text.size() > 120 ? text.substr(0, text.find('&', 100)).substr(0, 120) + "…" : text;
}

std::string difference_text(const Json& entry) {
  const std::string& kind = entry["kind"].get_ref<const std::string&>();
  if (kind == "changed") {
    return json_text_of(entry["a"]) + " → " + json_text_of(entry["b"]);
  }
  if (kind == "memory") {
    const std::uint64_t start = std::stoull(entry["start"].get<std::string>());
    std::string name;
    if (!entry["symbol"].is_null()) {
      const std::uint64_t offset = std::stoull(entry["symbol"]["offset"].get<std::string>());
      name = " " + json_text_of(entry["symbol"]["name"]) +
             (offset != 0 ? format_text("+0x%llx", static_cast<unsigned long long>(offset)) : "");
    }
    return format_text("<span class=\"mono\">0x%llx</span>",
                       static_cast<unsigned long long>(start)) +
           name + ": " + json_text_of(entry["differentBytes"]) + " bytes differ";
  }
  if (kind == "moreMemory") {
    return json_text_of(entry["ranges"]) + " more ranges, " +
           json_text_of(entry["differentBytes"]) + " bytes in all";
  }
  if (kind == "onlyInA" || kind == "onlyInB") {
    return std::string(kind == "onlyInA" ? "gone" : "new") + " " + json_text_of(entry["what"]);
  }
  return entry.contains("text") ? json_text_of(entry["text"]) : json_text_of(entry);
}

void report_differences(ReportPage& page, const CheckpointReader& a, const CheckpointReader& b,
                        const ReportRequest& request) {
  page.heading(3, html(base_name(a.name())) + " → " + html(base_name(b.name())));
  Console quiet("pcp-inspect", -1);
  quiet.json = true; // differences are kept, not printed
  quiet.quiet = true;
  DiffReport report(quiet);
  DiffOptions options;
  options.files = request.files;
  options.max_ranges = 4;
  options.names = request.names;
  compare_checkpoints(report, a, b, options, quiet);
  const std::uint64_t count = report.count();
  const Json differences = report.take();
  std::map<std::string, std::uint64_t> kinds;
  for (const Json& entry : differences) {
    ++kinds[entry["kind"].get<std::string>()];
  }
  if (count == 0) {
    page.paragraph(report.incomplete() ? "Not all of it could be compared." : "Equal.");
    return;
  }
  page.begin_details(human_count(count, "difference", "differences") +
                         (report.incomplete() ? "; not all of it could be compared" : ""),
                     count <= 40);
  page.begin_table({"where", "what"});
  std::size_t shown = 0;
  for (const Json& entry : differences) {
    if (++shown > kMostDifferences) {
      break;
    }
    page.row({"<span class=\"mono\">" + json_text_of(entry["path"]) + "</span>",
              difference_text(entry)});
  }
  page.end_table();
  if (shown > kMostDifferences) {
    page.paragraph("… and " + std::to_string(count - kMostDifferences) +
                   " more: " + "<span class=\"mono\">pcp-inspect diff</span> lists them.");
  }
  page.end_details();
}

} // namespace

int inspect_report(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect report", "[OPTION]... FILE... -o REPORT.html",
       "Writes one page of HTML about checkpoints: processes, threads and their calls, "
       "pictures of the address spaces, what is stored and what it costs, what differs "
       "from one to the next, and with --trace the recording over time.",
       std::string("The page needs no network and has no script.\n\n") + kInspectExitCodes});
  command.add_quiet();
  command.add("o,output", "the page to write", "REPORT.html");
  command.add("trace", "directory of the trace that the checkpoints belong to", "DIR");
  command.add("no-names", "do not look for names of functions and variables");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  if (!arguments.has("output")) {
    throw UsageError("missing option: -o REPORT.html");
  }
  ReportRequest request;
  request.files.trace_directory = arguments.get_or("trace", "");
  request.names = !arguments.has("no-names");
  std::vector<CheckpointReader> readers;
  for (const std::string& file : arguments.positional()) {
    readers.push_back(open_checkpoint(file));
  }
  ReportPage page(readers.size() == 1 ? "Checkpoint " + html(base_name(readers[0].name()))
                                      : std::to_string(readers.size()) + " checkpoints");
  std::vector<ReportMark> marks;
  for (const CheckpointReader& reader : readers) {
    if (reader.header().position_kind != format::kPositionNone) {
      marks.push_back({reader.header().mark_event, html(base_name(reader.name()))});
    }
  }
  with_manifest(readers[0], [&] { report_overview(page, readers); });
  if (!request.files.trace_directory.empty()) {
    report_trace(page, request.files.trace_directory, marks);
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    with_manifest(readers[i], [&] { report_checkpoint(page, readers[i], i, request); });
  }
  if (readers.size() > 1) {
    page.heading(2, "What differs from one to the next");
  }
  for (std::size_t i = 1; i < readers.size(); ++i) {
    with_manifest(readers[i],
                  [&] { report_differences(page, readers[i - 1], readers[i], request); });
  }
  const std::string document = page.finish();
  const std::string& output = arguments.get("output");
  write_file_atomically(output, true,
                        [&](Output& file) { file.write(std::as_bytes(std::span(document))); });
  if (!console.quiet) {
    console.print("%s: %s\n", printable(output).c_str(), human_size(document.size()).c_str());
  }
  return kExitOk;
}

} // namespace rrpcp::tools
