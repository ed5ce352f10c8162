// `pcp-inspect maps`: mappings and where their bytes are.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/data_text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/interop/segments.h"

namespace rrpcp::tools {
namespace {

// Pages as a size, "-" for none.
std::string size_cell(std::uint64_t pages, std::uint64_t page_size) {
  return pages == 0 ? "-" : human_size(pages * page_size);
}

std::string address_range(schema::Mapping::Reader mapping) {
  return format_text("%012llx-%012llx", static_cast<unsigned long long>(mapping.getStart()),
                     static_cast<unsigned long long>(mapping.getEnd()));
}

// The name, the role where it is a special one, and the memory object.
std::string description(schema::State::Reader state, schema::Mapping::Reader mapping) {
  std::string text = printable(bytes_of(mapping.getName()));
  const auto append = [&](const std::string& part) { text += (text.empty() ? "" : " ") + part; };
  if (mapping.getRole() != schema::MappingRole::ORDINARY) {
    append("<" + enum_name_of(mapping.getRole()) + ">");
  }
  if (mapping.getRr().getUse() != schema::rr::MappingUse::NONE) {
    append("<" + enum_name_of(mapping.getRr().getUse()) + ">");
  }
  if (mapping.getObject() != schema::NO_INDEX) {
    std::string kind = "missing object";
    if (mapping.getObject() < state.getMemoryObjects().size()) {
      const capnp::DynamicStruct::Reader object = state.getMemoryObjects()[mapping.getObject()];
      kind = "object";
      KJ_IF_MAYBE (arm, object.which()) {
        kind = arm->getProto().getName().cStr();
      }
    }
    append("[" + kind + " " + std::to_string(mapping.getObject()) + "]");
  }
  return text;
}

std::uint64_t offset_of(schema::Mapping::Reader mapping) {
  return mapping.getObject() != schema::NO_INDEX ? mapping.getObjectOffset()
                                                 : mapping.getRr().getFileOffset();
}

std::string tasks_with_space(schema::State::Reader state, unsigned space) {
  std::string text;
  for (const auto task : state.getTasks()) {
    if (task.getAddressSpace() == space) {
      text += (text.empty() ? "" : " ") + std::to_string(task.getTid());
    }
  }
  return text.empty() ? "no task" : text;
}

void show_maps(Console& console, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  const std::uint64_t page_size = page_size_of(state);
  const auto spaces = state.getAddressSpaces();
  for (unsigned i = 0; i < spaces.size(); ++i) {
    if (spaces.size() > 1) {
      console.print("%saddress space %u (tasks: %s)\n", i == 0 ? "" : "\n", i,
                    tasks_with_space(state, i).c_str());
    }
    Table table({{"ADDRESS"},
                 {"PERM"},
                 {"OFFSET"},
                 {"DEV"},
                 {"INODE", true},
                 {"SIZE", true},
                 {"STORED", true},
                 {"ZERO", true},
                 {"FILE", true},
                 {"NAME"}});
    for (const auto mapping : spaces[i].getMappings()) {
      SourceCounts counts;
      counts.add(segments_of(state, mapping));
      table.add({address_range(mapping), permissions(mapping.getProtection(), mapping.getFlags()),
                 format_text("%08llx", static_cast<unsigned long long>(offset_of(mapping))),
                 device_name(mapping.getDevice()), std::to_string(mapping.getInode()),
                 human_size(mapping.getEnd() - mapping.getStart()),
                 size_cell(counts.stream, page_size), size_cell(counts.zero, page_size),
                 size_cell(counts.file, page_size), description(state, mapping)});
    }
    table.print(console);
  }
}

Json maps_json(const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  Json spaces = Json::array();
  for (const auto space : state.getAddressSpaces()) {
    Json mappings = Json::array();
    for (const auto mapping : space.getMappings()) {
      SourceCounts counts;
      counts.add(segments_of(state, mapping));
      const bool object = mapping.getObject() != schema::NO_INDEX;
      mappings.push_back({{"start", mapping.getStart()},
                          {"end", mapping.getEnd()},
                          {"permissions", permissions(mapping.getProtection(), mapping.getFlags())},
                          {"offset", offset_of(mapping)},
                          {"device", mapping.getDevice()},
                          {"inode", mapping.getInode()},
                          {"name", json_bytes_as_text(bytes_of(mapping.getName()))},
                          {"role", enum_name_of(mapping.getRole())},
                          {"use", enum_name_of(mapping.getRr().getUse())},
                          {"object", object ? Json(mapping.getObject()) : Json()},
                          {"storedPages", counts.stream},
                          {"inheritedPages", counts.inherited},
                          {"zeroPages", counts.zero},
                          {"filePages", counts.file},
                          {"unstoredPages", counts.unstored},
                          {"guardPages", counts.guard},
                          {"missingPages", counts.nothing},
                          {"unknownPages", counts.unknown}});
    }
    spaces.push_back({{"mappings", std::move(mappings)}});
  }
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"pageSize", page_size_of(state)},
              {"addressSpaces", std::move(spaces)}};
}

} // namespace

int inspect_maps(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-inspect maps", "[OPTION]... FILE...",
       "Shows the mappings as /proc/PID/maps does, and how much of each is stored in the "
       "checkpoint, is zero, and lies in a mapped file.",
       kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  return show_checkpoints(console, arguments.positional(), maps_json,
                          [&](const CheckpointReader& reader) { show_maps(console, reader); });
}

} // namespace rrpcp::tools
