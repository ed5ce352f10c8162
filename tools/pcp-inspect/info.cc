// `pcp-inspect info`: a checkpoint on one screen.

#include "common/names.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/interop/segments.h"
#include "rrpcp/message_json.h"

#include <algorithm>
#include <map>

namespace rrpcp::tools {
namespace {

struct ChunkStatistics {
  std::map<std::uint16_t, std::uint64_t> by_codec;
  std::uint64_t length = 0;
  std::uint64_t stored = 0;
};

struct MemoryStatistics {
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;      // of all mappings
  SourceCounts mapped;          // pages of the mappings, with objects followed
  std::uint64_t references = 0; // pages of the stream that runs of mappings and objects name
};

ChunkStatistics chunk_statistics(const CheckpointReader& reader) {
  ChunkStatistics statistics;
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    const ChunkEntry chunk = reader.chunk(i);
    ++statistics.by_codec[chunk.codec];
    statistics.length += chunk.length;
    statistics.stored += chunk.stored_length;
  }
  return statistics;
}

std::uint64_t stream_references(capnp::List<schema::PageRun>::Reader runs) {
  std::uint64_t pages = 0;
  for (const auto run : runs) {
    pages += run.getKind() == schema::RunKind::STREAM ? run.getPages() : 0;
  }
  return pages;
}

MemoryStatistics memory_statistics(schema::State::Reader state) {
  MemoryStatistics statistics;
  for (const auto space : state.getAddressSpaces()) {
    for (const auto mapping : space.getMappings()) {
      ++statistics.mappings;
      statistics.bytes += mapping.getEnd() - mapping.getStart();
      statistics.mapped.add(segments_of(state, mapping));
      statistics.references += stream_references(mapping.getRuns());
    }
  }
  for (const auto object : state.getMemoryObjects()) {
    statistics.references += stream_references(object.getRuns());
  }
  return statistics;
}

std::string uuid_text(const TraceUuid& uuid) {
  return uuid.is_nil() ? "none" : uuid.to_string();
}

std::string feature_text(const Header& header) {
  struct Word {
    const char* kind;
    std::uint64_t bits;
  };
  std::string text;
  const auto append = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  for (const Word& word : {Word{"incompatible", header.incompatible},
                           Word{"read-only compatible", header.read_only_compatible},
                           Word{"compatible", header.compatible}}) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      if ((word.bits >> bit & 1) == 0) {
        continue;
      }
      const bool incompatible = std::string_view(word.kind) == "incompatible";
      const std::uint64_t mask = std::uint64_t{1} << bit;
      append(incompatible && mask == format::kIncompatZstd ? "zstd"
             : incompatible && mask == format::kIncompatBaseRuns
                 ? "base-runs"
                 : std::string(word.kind) + " bit " + std::to_string(bit));
    }
  }
  return text.empty() ? "none" : text;
}

std::string position_text(const Header& header) {
  const std::string at =
      "event " + std::to_string(header.event) + ", ticks " + std::to_string(header.ticks);
  switch (header.position_kind) {
  case format::kPositionNone:
    return "a live process, without a trace";
  case format::kPositionAtEvent:
    return at + ", at the event's boundary";
  case format::kPositionForwardTo:
    return at + ", to be replayed forward to a mark in event " + std::to_string(header.mark_event);
  case format::kPositionBetween:
    return at + ", inside the event (order " + std::to_string(header.order) + ")";
  default:
    return at + ", position kind " + std::to_string(header.position_kind);
  }
}

std::string codec_text(const ChunkStatistics& chunks) {
  std::string text;
  for (const auto& [codec, count] : chunks.by_codec) {
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + codec_name(codec);
  }
  return text.empty() ? "none" : text;
}

std::string foreign(capnp::Text::Reader text) {
  return printable(std::string_view(text.begin(), text.size()));
}

std::string foreign(capnp::Data::Reader bytes) {
  return printable(std::string_view(bytes.asChars().begin(), bytes.size()));
}

std::string pages_text(std::uint64_t pages, std::uint64_t page_size) {
  return human_count(pages, "page", "pages") + " (" + human_size(pages * page_size) + ")";
}

void show_memory(Console& console, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  const std::uint64_t page_size = page_size_of(state);
  const MemoryStatistics memory = memory_statistics(state);
  const SourceCounts& mapped = memory.mapped;
  console.print("  memory        %s in %s\n", human_size(memory.bytes).c_str(),
                human_count(memory.mappings, "mapping", "mappings").c_str());
  const auto source = [&](const char* name, std::uint64_t pages) {
    if (pages != 0) {
      console.print("    %-12s%s\n", name, pages_text(pages, page_size).c_str());
    }
  };
  source("stored", mapped.stream - mapped.inherited);
  source("inherited", mapped.inherited);
  source("zero", mapped.zero);
  source("in files", mapped.file);
  source("not stored", mapped.unstored);
  source("guard", mapped.guard);
  source("nothing", mapped.nothing);
  source("unknown", mapped.unknown);

  const std::uint64_t pages = reader.footer().page_count;
  const ChunkStatistics chunks = chunk_statistics(reader);
  console.print("  page stream   %s", pages_text(pages, page_size).c_str());
  if (memory.references > pages) {
    const std::uint64_t shared = memory.references - pages;
    console.print("; %s stored once instead of again", pages_text(shared, page_size).c_str());
  }
  console.print("\n  chunks        %llu (%s)",
                static_cast<unsigned long long>(reader.chunk_count()), codec_text(chunks).c_str());
  if (chunks.length != 0) {
    console.print(", stored in %s: %s", human_size(chunks.stored).c_str(),
                  human_percent(chunks.stored, chunks.length).c_str());
  }
  console.write("\n");
}

void show_trace(Console& console, const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  if (!state.hasTrace()) {
    return;
  }
  const auto trace = state.getTrace();
  console.print("  trace         %s (%s, version %u", uuid_text(reader.header().trace_uuid).c_str(),
                foreign(trace.getFormat()).c_str(), trace.getFormatVersion());
  console.print(trace.getCursor().size() == 0 ? ", no cursor)\n" : ", with cursor)\n");
}

void show_provenance(Console& console, schema::Provenance::Reader provenance) {
  std::string text = foreign(provenance.getCreator());
  if (provenance.getHostName().size() != 0) {
    text += " on " + foreign(provenance.getHostName());
  }
  if (provenance.getKernelRelease().size() != 0) {
    text += " (" + foreign(provenance.getKernelRelease()) + ")";
  }
  if (provenance.getCreatedAt() != 0) {
    text += ", " + human_time(provenance.getCreatedAt());
  }
  console.print("  written by    %s\n", text.empty() ? "not recorded" : text.c_str());
  if (provenance.getConvertedFrom().size() != 0) {
    const auto directory = provenance.getOriginalDirectory();
    console.print("  converted     from %s", foreign(provenance.getConvertedFrom()).c_str());
    console.write(directory.size() == 0 ? "\n" : " in " + foreign(directory) + "\n");
  }
  if (provenance.getFrozenNanoseconds() != 0) {
    console.print("  frozen        %s\n",
                  human_duration(provenance.getFrozenNanoseconds()).c_str());
  }
  if (provenance.getComment().size() != 0) {
    console.print("  comment       %s\n", foreign(provenance.getComment()).c_str());
  }
}

void show_info(Console& console, const CheckpointReader& reader) {
  const Header& header = reader.header();
  const Footer& footer = reader.footer();
  const schema::State::Reader state = reader.state();
  console.print("checkpoint %s\n", footer.id.to_string().c_str());
  console.print("  format        %u.%u, features: %s\n", header.major, header.minor,
                feature_text(header).c_str());
  if (header.minor > format::kMinorVersion) {
    console.print("                newer than this program: fields that it does not know are not "
                  "shown\n");
  }
  console.print("  position      %s\n", position_text(header).c_str());
  show_trace(console, reader);
  console.print("  machine       %s, pages of %s\n", machine_name(header.machine).c_str(),
                human_size(header.page_size).c_str());
  console.print("  state of      %s\n", foreign(state.getProducer()).c_str());
  console.print(
      "  tasks         %s in %s, %s\n",
      human_count(state.getTasks().size(), "thread", "threads").c_str(),
      human_count(state.getProcesses().size(), "process", "processes").c_str(),
      human_count(state.getAddressSpaces().size(), "address space", "address spaces").c_str());
  show_memory(console, reader);
  for (const auto base : state.getBases()) {
    const std::span<const std::uint8_t> id(base.getId().begin(), base.getId().size());
    console.print("  base          %s%s\n", hex(id).c_str(),
                  base.getEvent() == 0 ? ""
                                       : (", event " + std::to_string(base.getEvent())).c_str());
  }
  console.print("  file          %s: page data %s, manifest %s\n",
                human_size(footer.file_length).c_str(),
                human_size(reader.sections()[0].offset - format::kHeaderSize).c_str(),
                human_size(reader.find_section(format::kSectionManifest)->length).c_str());
  for (const Section& section : reader.sections()) {
    if (section.kind > format::kSectionSeal) {
      console.print("  section       kind %u, %s, not known to this program\n", section.kind,
                    human_size(section.length).c_str());
    }
  }
  if (const auto seal = reader.seal_digest()) {
    console.print("  seal          SHA-256 %s\n",
                  hex(std::span<const std::uint8_t>(*seal)).c_str());
  }
  for (const auto extension : state.getExtensions()) {
    console.print("  extension     %s version %u, %s, %s\n", foreign(extension.getId()).c_str(),
                  extension.getVersion(), human_size(extension.getPayload().size()).c_str(),
                  extension.getCritical() ? "critical" : "not critical");
  }
  show_provenance(console, reader.manifest().getProvenance());
}

Json info_json(const CheckpointReader& reader) {
  const Header& header = reader.header();
  const Footer& footer = reader.footer();
  const schema::State::Reader state = reader.state();
  const auto provenance = reader.manifest().getProvenance();
  const MemoryStatistics memory = memory_statistics(state);
  const ChunkStatistics chunks = chunk_statistics(reader);
  const auto text = [](capnp::Text::Reader value) {
    return json_bytes_as_text(std::string_view(value.begin(), value.size()));
  };
  Json json;
  json["file"] = json_bytes_as_text(reader.name());
  json["checkpointId"] = footer.id.to_string();
  json["version"] = {{"major", header.major}, {"minor", header.minor}};
  json["features"] = {{"incompatible", header.incompatible},
                      {"readOnlyCompatible", header.read_only_compatible},
                      {"compatible", header.compatible}};
  json["position"] = {{"kind", position_kind_name(header.position_kind)},
                      {"event", header.event},
                      {"ticks", header.ticks},
                      {"markEvent", header.mark_event},
                      {"markTicks", header.mark_ticks},
                      {"order", header.order}};
  json["trace"] = state.hasTrace() ? Json{{"uuid", header.trace_uuid.to_string()},
                                          {"format", text(state.getTrace().getFormat())},
                                          {"formatVersion", state.getTrace().getFormatVersion()},
                                          {"cursorStreams", state.getTrace().getCursor().size()}}
                                   : Json();
  json["machine"] = {{"number", header.machine}, {"name", machine_name(header.machine)}};
  json["producer"] = text(state.getProducer());
  json["pageSize"] = header.page_size;
  json["processes"] = state.getProcesses().size();
  json["tasks"] = state.getTasks().size();
  json["addressSpaces"] = state.getAddressSpaces().size();
  json["memory"] = {{"mappings", memory.mappings},
                    {"bytes", memory.bytes},
                    {"storedPages", memory.mapped.stream},
                    {"inheritedPages", memory.mapped.inherited},
                    {"zeroPages", memory.mapped.zero},
                    {"filePages", memory.mapped.file},
                    {"unstoredPages", memory.mapped.unstored},
                    {"guardPages", memory.mapped.guard},
                    {"missingPages", memory.mapped.nothing},
                    {"unknownPages", memory.mapped.unknown}};
  json["pageStream"] = {{"pages", footer.page_count}, {"references", memory.references}};
  Json codecs = Json::object();
  for (const auto& [codec, count] : chunks.by_codec) {
    codecs[codec_name(codec)] = count;
  }
  json["chunks"] = {{"count", reader.chunk_count()},
                    {"bytes", chunks.length},
                    {"storedBytes", chunks.stored},
                    {"codecs", codecs}};
  json["fileLength"] = footer.file_length;
  json["manifestLength"] = reader.find_section(format::kSectionManifest)->length;
  json["bases"] = Json::array();
  for (const auto base : state.getBases()) {
    json["bases"].push_back(
        {{"id", hex(std::span<const std::uint8_t>(base.getId().begin(), base.getId().size()))},
         {"event", base.getEvent()}});
  }
  const auto seal = reader.seal_digest();
  json["seal"] = seal ? Json(hex(std::span<const std::uint8_t>(*seal))) : Json();
  json["unknownSections"] = Json::array();
  for (const Section& section : reader.sections()) {
    if (section.kind > format::kSectionSeal) {
      json["unknownSections"].push_back({{"kind", section.kind}, {"bytes", section.length}});
    }
  }
  json["extensions"] = Json::array();
  for (const auto extension : state.getExtensions()) {
    json["extensions"].push_back({{"id", text(extension.getId())},
                                  {"version", extension.getVersion()},
                                  {"critical", extension.getCritical()},
                                  {"bytes", extension.getPayload().size()}});
  }
  json["provenance"] = {
      {"creator", text(provenance.getCreator())},
      {"createdAt", provenance.getCreatedAt()},
      {"hostName", text(provenance.getHostName())},
      {"kernelRelease", text(provenance.getKernelRelease())},
      {"convertedFrom", text(provenance.getConvertedFrom())},
      {"originalDirectory",
       json_bytes_as_text(std::string_view(provenance.getOriginalDirectory().asChars().begin(),
                                           provenance.getOriginalDirectory().size()))},
      {"frozenNanoseconds", provenance.getFrozenNanoseconds()},
      {"comment", text(provenance.getComment())}};
  return json;
}

} // namespace

int inspect_info(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect info", "[OPTION]... FILE...",
                   "Shows where a checkpoint was taken, of what, and what it costs.",
                   kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  return show_checkpoints(console, arguments.positional(), info_json,
                          [&](const CheckpointReader& reader) { show_info(console, reader); });
}

} // namespace rrpcp::tools
