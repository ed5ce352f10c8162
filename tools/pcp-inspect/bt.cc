// `pcp-inspect bt`: the call chain of every thread, without restoring it.

#include "common/names.h"
#include "common/text.h"
#include "diff/symbol_json.h"
#include "pcp-inspect/data_text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/interop/symbols.h"

#include <map>
#include <optional>

namespace rrpcp::tools {
namespace {

struct CallsRequest {
  std::optional<std::int32_t> task;
  std::size_t frames = 0;
  BackingFiles files;
};

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// Calls `use` with each thread asked for, its stack and the symbols of its address space.
template <typename Use>
void for_each_stack(const CheckpointReader& reader, const CallsRequest& request, Use use) {
  std::map<std::uint32_t, Symbols> spaces;
  bool found = false;
  for (const schema::Task::Reader task : reader.state().getTasks()) {
    if (request.task && *request.task != task.getTid()) {
      continue;
    }
    found = true;
    auto symbols = spaces.find(task.getAddressSpace());
    const bool fresh = symbols == spaces.end();
    if (fresh) {
      symbols = spaces
                    .emplace(task.getAddressSpace(),
                             Symbols(reader, task.getAddressSpace(), request.files))
                    .first;
    }
    use(task, symbols->second.unwind(task.getTid(), request.frames), symbols->second, fresh);
  }
  if (!found && request.task) {
    throw Error(ErrorCode::kInvalidArgument, "there is no thread " + std::to_string(*request.task))
        .in_file(reader.name());
  }
}

Json calls_json(const CheckpointReader& reader, const CallsRequest& request) {
  Json threads = Json::array();
  Json problems = Json::array();
  for_each_stack(
      reader, request,
      [&](schema::Task::Reader task, const ThreadStack& stack, const Symbols& symbols, bool fresh) {
        for (std::size_t i = 0; fresh && i < symbols.problems().size(); ++i) {
          problems.push_back(json_bytes_as_text(symbols.problems()[i]));
        }
        Json frames = Json::array();
        for (const StackFrame& frame : stack.frames) {
          Json inlined = Json::array();
          for (const std::string& name : frame.inlined) {
            inlined.push_back(json_bytes_as_text(name));
          }
          frames.push_back(Json{{"pc", frame.pc},
                                {"exact", frame.exact},
                                {"symbol", symbol_json(frame.symbol)},
                                {"inlined", std::move(inlined)},
                                {"mapping", json_bytes_as_text(frame.mapping)}});
        }
        const auto name = task.getName();
        threads.push_back(
            Json{{"tid", task.getTid()},
                 {"name",
                  json_bytes_as_text({reinterpret_cast<const char*>(name.begin()), name.size()})},
                 {"frames", std::move(frames)},
                 {"problem",
                  stack.problem.empty() ? Json(nullptr) : json_bytes_as_text(stack.problem)}});
      });
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"machine", machine_name(reader.state().getMachine())},
              {"threads", std::move(threads)},
              {"problems", std::move(problems)}};
}

void show_frame(Console& console, std::size_t& number, const StackFrame& frame) {
  const std::string source =
      frame.symbol && frame.symbol->line != 0
          ? " at " + printable(frame.symbol->source) + ":" + std::to_string(frame.symbol->line)
          : "";
  // The place in the source is that of the innermost function.
  bool first = true;
  for (const std::string& name : frame.inlined) {
    console.print("#%-3zu 0x%016llx in %s (inlined)%s\n", number++,
                  static_cast<unsigned long long>(frame.pc), printable(name).c_str(),
                  first ? source.c_str() : "");
    first = false;
  }
  const std::string name = frame.symbol ? printable(frame.symbol->text()) : "??";
  const std::string from =
      frame.mapping.empty() ? "" : " from " + printable(base_name(frame.mapping));
  console.print("#%-3zu 0x%016llx in %s%s%s\n", number++, static_cast<unsigned long long>(frame.pc),
                name.c_str(), first ? source.c_str() : "", from.c_str());
}

void show_calls(Console& console, const CheckpointReader& reader, const CallsRequest& request) {
  bool any = false;
  for_each_stack(
      reader, request,
      [&](schema::Task::Reader task, const ThreadStack& stack, const Symbols& symbols, bool fresh) {
        for (std::size_t i = 0; fresh && i < symbols.problems().size(); ++i) {
          console.note("names may be missing: " + printable(symbols.problems()[i]));
        }
        console.print("%sThread %d \"%s\":\n", any ? "\n" : "", static_cast<int>(task.getTid()),
                      text_of(task.getName()).c_str());
        any = true;
        std::size_t number = 0;
        for (const StackFrame& frame : stack.frames) {
          show_frame(console, number, frame);
        }
        if (!stack.problem.empty()) {
          console.print("     the chain ends here: %s\n", printable(stack.problem).c_str());
        }
      });
}

} // namespace

int inspect_bt(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect bt", "[OPTION]... FILE...",
                   "Shows the chain of calls of every thread. Nothing is restored: the stacks are "
                   "read from the checkpoint, names from the mapped files where they are still the "
                   "same, and from debug files found by build id.",
                   kInspectExitCodes});
  command.add_json().add_quiet();
  command.add("t,task", "only this thread", "TID");
  command.add("frames", "show at most so many calls of a thread", "N", "4096");
  command.add("trace", "directory of the trace, for files that lie in it", "DIR");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  CallsRequest request;
  if (arguments.has("task")) {
    request.task =
        static_cast<std::int32_t>(parse_number(arguments.get("task"), "the thread id", INT32_MAX));
  }
  request.frames = parse_number(arguments.get("frames"), "--frames", 1 << 20);
  request.files.trace_directory = arguments.get_or("trace", "");
  return show_checkpoints(
      console, arguments.positional(),
      [&](const CheckpointReader& reader) { return calls_json(reader, request); },
      [&](const CheckpointReader& reader) { show_calls(console, reader, request); });
}

} // namespace rrpcp::tools
