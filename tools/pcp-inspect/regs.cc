// `pcp-inspect regs`: register sets.

#include "common/names.h"
#include "common/text.h"
#include "diff/registers.h"
#include "diff/symbol_json.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/interop/symbols.h"

#include <elf.h>
#include <map>

namespace rrpcp::tools {
namespace {

struct Selection {
  std::optional<std::int64_t> task;
  std::optional<std::uint32_t> set;
  bool all = false; // vector registers that are zero too
  bool names = true;
  BackingFiles files;
};

// The symbols of each address space, made when they are first needed.
class SpaceSymbols {
public:
  SpaceSymbols(const CheckpointReader& reader, const Selection& selection)
      : reader_(reader), selection_(selection) {}

  // Of the general registers in `set`, those that hold an address with a name.
  std::vector<std::pair<std::string, SymbolName>> names(schema::Task::Reader task,
                                                        schema::RegisterSet::Reader set,
                                                        const std::vector<Register>& registers) {
    std::vector<std::pair<std::string, SymbolName>> out;
    if (!selection_.names || set.getNoteType() != NT_PRSTATUS ||
        task.getAddressSpace() >= reader_.state().getAddressSpaces().size()) {
      return out;
    }
    const auto [it, fresh] = spaces_.try_emplace(task.getAddressSpace());
    if (fresh) {
      it->second.emplace(reader_, task.getAddressSpace(), selection_.files);
    }
    for (const Register& reg : registers) {
      if (!reg.is_scalar() || reg.name == "orig_rax") {
        continue;
      }
      if (auto symbol = it->second->find(reg.value())) {
        out.emplace_back(reg.name, std::move(*symbol));
      }
    }
    return out;
  }

private:
  const CheckpointReader& reader_;
  const Selection& selection_;
  std::map<std::uint32_t, std::optional<Symbols>> spaces_;
};

std::span<const std::uint8_t> span_of(capnp::Data::Reader data) {
  return {data.begin(), data.size()};
}

void show_hex(Console& console, std::span<const std::uint8_t> data) {
  for (std::size_t i = 0; i < data.size(); i += 32) {
    console.print("    %04zx  %s\n", i,
                  hex(data.subspan(i, std::min<std::size_t>(32, data.size() - i))).c_str());
  }
}

void show_registers(Console& console, const std::vector<Register>& registers, bool all) {
  std::size_t hidden = 0;
  std::string line; // up to three registers of 64 bits
  std::size_t column = 0;
  const auto end_line = [&] {
    line.erase(line.find_last_not_of(' ') + 1);
    console.write(line.empty() ? "" : line + "\n");
    line.clear();
    column = 0;
  };
  for (const Register& reg : registers) {
    if (reg.is_scalar()) {
      line += format_text("%s%-10s %-18s", column == 0 ? "    " : "  ", reg.name.c_str(),
                          reg.text().c_str());
      if (++column == 3) {
        end_line();
      }
      continue;
    }
    end_line();
    if (reg.is_zero() && !all) {
      ++hidden;
      continue;
    }
    console.print("    %-10s %s\n", reg.name.c_str(), reg.text().c_str());
  }
  end_line();
  if (hidden != 0) {
    console.print("    (%s not shown: zero; --all shows them)\n",
                  human_count(hidden, "wide register", "wide registers").c_str());
  }
}

// Calls `visit` with the tasks and sets that are selected. Throws UsageError where none is.
template <typename VisitTask>
void for_each_task(schema::State::Reader state, const Selection& selection, VisitTask visit) {
  bool found = false;
  for (const auto task : state.getTasks()) {
    if (!selection.task || *selection.task == task.getTid()) {
      found = true;
      visit(task);
    }
  }
  if (!found && selection.task) {
    throw Error(ErrorCode::kInvalidArgument, "there is no task " + std::to_string(*selection.task))
        .with_hint("'pcp-inspect tasks' lists them");
  }
}

void show_registers(Console& console, const CheckpointReader& reader, const Selection& selection) {
  const schema::State::Reader state = reader.state();
  SpaceSymbols symbols(reader, selection);
  for_each_task(state, selection, [&](schema::Task::Reader task) {
    const auto name = task.getName();
    console.print("task %d %s\n", task.getTid(),
                  printable(std::string_view(name.asChars().begin(), name.size())).c_str());
    for (const auto set : task.getRegisters()) {
      if (selection.set && *selection.set != set.getNoteType()) {
        continue;
      }
      console.print("  %s, %s\n", note_name(set.getNoteType()).c_str(),
                    human_count(set.getData().size(), "byte", "bytes").c_str());
      if (const auto registers = decode_registers(state, set)) {
        show_registers(console, *registers, selection.all);
        for (const auto& [reg, symbol] : symbols.names(task, set, *registers)) {
          console.print("    %-10s is %s in %s\n", reg.c_str(), printable(symbol.text()).c_str(),
                        printable(symbol.module.substr(symbol.module.rfind('/') + 1)).c_str());
        }
      } else {
        show_hex(console, span_of(set.getData()));
      }
    }
  });
}

Json set_json(schema::State::Reader state, schema::Task::Reader task,
              schema::RegisterSet::Reader set, SpaceSymbols& symbols) {
  Json json;
  json["noteType"] = set.getNoteType();
  json["name"] = note_name(set.getNoteType());
  json["registers"] = nullptr;
  json["names"] = Json::object();
  if (const auto registers = decode_registers(state, set)) {
    json["registers"] = Json::object();
    for (const Register& reg : *registers) {
      json["registers"][reg.name] =
          reg.is_scalar() ? Json(reg.value()) : Json(hex(std::span<const std::uint8_t>(reg.bytes)));
    }
    for (const auto& [reg, symbol] : symbols.names(task, set, *registers)) {
      json["names"][reg] = symbol_json(symbol);
    }
  }
  json["data"] = hex(span_of(set.getData()));
  return json;
}

Json registers_json(const CheckpointReader& reader, const Selection& selection) {
  const schema::State::Reader state = reader.state();
  Json tasks = Json::array();
  SpaceSymbols symbols(reader, selection);
  for_each_task(state, selection, [&](schema::Task::Reader task) {
    Json sets = Json::array();
    for (const auto set : task.getRegisters()) {
      if (!selection.set || *selection.set == set.getNoteType()) {
        sets.push_back(set_json(state, task, set, symbols));
      }
    }
    tasks.push_back({{"tid", task.getTid()}, {"sets", std::move(sets)}});
  });
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"machine", machine_name(state.getMachine())},
              {"tasks", std::move(tasks)}};
}

} // namespace

int inspect_regs(int argc, char** argv, Console& console) {
  std::string more =
      "With --json registers of up to 8 bytes are integers, wider ones their bytes in "
      "memory order.\n\n";
  more += kInspectExitCodes;
  Command command({"pcp-inspect regs", "[OPTION]... FILE...",
                   "Shows the registers of every thread, decoded where the set is known and as "
                   "hexadecimal bytes otherwise.",
                   more});
  command.add_json().add_quiet();
  command.add("t,task", "only this thread", "TID");
  command.add("s,set", "only this set: a name as NT_PRSTATUS, or a number", "NT");
  command.add("a,all", "show wide registers that are zero too");
  command.add("no-names", "do not look for the functions and variables that registers point to");
  command.add("trace", "directory of the trace, for files that lie in it", "DIR");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  Selection selection;
  if (arguments.has("task")) {
    selection.task =
        static_cast<std::int64_t>(parse_number(arguments.get("task"), "the thread id", INT32_MAX));
  }
  if (arguments.has("set")) {
    selection.set = parse_note(arguments.get("set"));
  }
  selection.all = arguments.has("all");
  selection.names = !arguments.has("no-names");
  selection.files.trace_directory = arguments.get_or("trace", "");
  return show_checkpoints(
      console, arguments.positional(),
      [&](const CheckpointReader& reader) { return registers_json(reader, selection); },
      [&](const CheckpointReader& reader) { show_registers(console, reader, selection); });
}

} // namespace rrpcp::tools
