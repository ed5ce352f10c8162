// `pcp-inspect --json FILE`: the whole checkpoint as one document (spec/inspect-json.md).

#include "common/json_writer.h"
#include "common/names.h"
#include "common/progress.h"
#include "common/text.h"
#include "diff/contents.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"
#include "rrpcp/message_json.h"
#include "rrpcp/page_run.h"

namespace rrpcp::tools {
namespace {

constexpr unsigned kDocumentVersion = 1;

Json header_json(const Header& header) {
  Json json;
  json["major"] = header.major;
  json["minor"] = header.minor;
  json["incompatibleFeatures"] = header.incompatible;
  json["readOnlyCompatibleFeatures"] = header.read_only_compatible;
  json["compatibleFeatures"] = header.compatible;
  json["traceUuid"] = hex(std::span<const std::uint8_t>(header.trace_uuid.bytes));
  json["event"] = header.event;
  json["ticks"] = header.ticks;
  json["markEvent"] = header.mark_event;
  json["markTicks"] = header.mark_ticks;
  json["order"] = header.order;
  json["instructions"] = header.instructions;
  json["currentTask"] = header.current_task;
  json["positionKind"] = header.position_kind;
  json["machine"] = header.machine;
  json["elfClass"] = header.elf_class;
  json["dataEncoding"] = header.data_encoding;
  json["digestAlgorithm"] = header.digest_algorithm;
  json["pageSize"] = header.page_size;
  json["chunkPages"] = header.chunk_pages;
  json["checksum"] = header.checksum;
  return json;
}

Json footer_json(const Footer& footer) {
  Json json;
  json["directoryOffset"] = footer.directory_offset;
  json["sectionCount"] = footer.section_count;
  json["sectionEntrySize"] = footer.section_entry_size;
  json["directoryDigest"] = hex(std::span<const std::uint8_t>(footer.directory_digest));
  json["checkpointId"] = footer.id.to_string();
  json["pageCount"] = footer.page_count;
  json["chunkCount"] = footer.chunk_count;
  json["chunkEntrySize"] = footer.chunk_entry_size;
  json["fileLength"] = footer.file_length;
  json["footerLength"] = footer.length;
  return json;
}

Json sections_json(const std::vector<Section>& sections) {
  Json list = Json::array();
  for (const Section& section : sections) {
    Json json;
    json["kind"] = section.kind;
    json["flags"] = section.flags;
    json["offset"] = section.offset;
    json["sectionLength"] = section.length;
    json["digest"] = hex(std::span<const std::uint8_t>(section.digest));
    list.push_back(std::move(json));
  }
  return list;
}

void write_chunks(JsonWriter& json, const CheckpointReader& reader) {
  json.begin_array();
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    const ChunkEntry chunk = reader.chunk(i);
    json.begin_object();
    json.key("offset");
    json.number(chunk.offset);
    json.key("storedLength");
    json.number(chunk.stored_length);
    json.key("length");
    json.number(chunk.length);
    json.key("checksum");
    json.number(chunk.checksum);
    json.key("storedChecksum");
    json.number(chunk.stored_checksum);
    json.key("codec");
    json.number(chunk.codec);
    json.end_object();
  }
  json.end_array();
}

void write_digest(JsonWriter& json, const ContentDigest& content) {
  json.key("storedPages");
  json.number(content.pages);
  json.key("digest");
  json.string(content.digest);
  json.end_object();
}

// The kStream and kZero pages that the runs of a mapping itself name: what it gets from its memory
// object is counted with that.
std::vector<Segment> own_segments(schema::State::Reader state, schema::Mapping::Reader mapping) {
  std::vector<Segment> segments;
  if (mapping.getRuns().size() == 0) {
    return segments;
  }
  std::uint64_t page = 0;
  const std::uint64_t page_size = page_size_of(state);
  const std::uint64_t end = mapping.getEnd() > mapping.getStart()
                                ? (mapping.getEnd() - mapping.getStart()) / page_size
                                : 0;
  for (const auto run : mapping.getRuns()) {
    const std::uint64_t pages = std::min(run.getPages(), end - page);
    if (pages != 0 && is_of_stream(run.getKind())) {
      const bool own = run.getKind() == schema::RunKind::STREAM;
      segments.push_back({page, pages, Source::kStream, run.getFirst(), schema::NO_INDEX,
                          own ? schema::NO_INDEX : run.getSource()});
    }
    page += pages;
  }
  return segments;
}

std::uint64_t stream_pages(const std::vector<Segment>& segments) {
  SourceCounts counts;
  counts.add(segments);
  return counts.stream;
}

// As for validating (ReadLimits::max_decoded_bytes).
std::uint64_t usual_limit(std::uint64_t file_bytes) {
  constexpr std::uint64_t kLeast = std::uint64_t{16} << 30;
  constexpr std::uint64_t kRatio = 256;
  return file_bytes > (UINT64_MAX - kLeast) / kRatio ? UINT64_MAX : kLeast + file_bytes * kRatio;
}

void write_contents(JsonWriter& json, const CheckpointReader& reader, std::uint64_t limit,
                    Console& console) {
  const schema::State::Reader state = reader.state();
  const std::uint64_t page_size = page_size_of(state);
  StreamPages stream(reader);
  Progress progress(console, "Reading page data");
  std::uint64_t done = 0;
  const auto digest = [&](const std::vector<Segment>& segments) {
    const std::uint64_t bytes = stream_pages(segments) * page_size;
    if (bytes > limit - done) {
      throw Error(ErrorCode::kLimit, "the page data that the runs refer to has more than the limit "
                                     "of " +
                                         std::to_string(limit) + " bytes when it is decoded")
          .in_file(reader.name())
          .with_hint("raise the limit (--max-decoded SIZE) if the file can be trusted");
    }
    const ContentDigest content = digest_contents(stream, segments, page_size);
    done += bytes;
    progress.update(done, 0);
    return content;
  };
  json.begin_object();
  json.key("addressSpaces");
  json.begin_array();
  for (const auto space : state.getAddressSpaces()) {
    json.begin_object();
    json.key("mappings");
    json.begin_array();
    for (const auto mapping : space.getMappings()) {
      json.begin_object();
      json.key("start");
      json.number(mapping.getStart());
      write_digest(json, digest(own_segments(state, mapping)));
    }
    json.end_array();
    json.end_object();
  }
  json.end_array();
  json.key("memoryObjects");
  json.begin_array();
  for (std::uint32_t i = 0; i < state.getMemoryObjects().size(); ++i) {
    json.begin_object();
    write_digest(json, digest(object_segments(state, i)));
  }
  json.end_array();
  json.end_object();
}

// `contents`: how many bytes of page data may be looked at for digests; nothing: none are made.
void write_document(JsonWriter& json, const CheckpointReader& reader,
                    std::optional<std::uint64_t> contents, Console& console) {
  json.begin_object();
  json.key("document");
  json.string("org.rrpcp.checkpoint");
  json.key("documentVersion");
  json.number(kDocumentVersion);
  json.key("header");
  json.value(header_json(reader.header()));
  json.key("footer");
  json.value(footer_json(reader.footer()));
  json.key("sections");
  json.value(sections_json(reader.sections()));
  json.key("chunks");
  write_chunks(json, reader);
  json.key("manifest");
  write_message(json, reader.manifest());
  json.key("contents");
  if (contents) {
    write_contents(json, reader, *contents, console);
  } else {
    json.null();
  }
  json.end_object();
  json.finish();
}

} // namespace

int inspect_document(int argc, char** argv, Console& console) {
  std::string more = "The document is described in spec/inspect-json.md. Page data is in it as "
                     "digests only.\n\n";
  more += kInspectExitCodes;
  Command command({"pcp-inspect --json", "[OPTION]... FILE",
                   "Writes everything that a checkpoint file says as one JSON document.", more});
  command.add_json().add_quiet().add("contents", "add digests of the page data of every mapping");
  command.add(
      "max-decoded",
      "with --contents: give up where more is to be decoded (default: 16G and 256 times the "
      "file's size)",
      "SIZE");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "FILE");
  const CheckpointReader reader = open_checkpoint(arguments.positional()[0]);
  std::optional<std::uint64_t> contents;
  if (arguments.has("contents")) {
    contents = arguments.has("max-decoded")
                   ? parse_size(arguments.get("max-decoded"), "--max-decoded")
                   : usual_limit(reader.file_size());
  }
  with_manifest(reader, [&] {
    JsonWriter json(console);
    write_document(json, reader, contents, console);
  });
  return kExitOk;
}

} // namespace rrpcp::tools
