// `pcp-inspect chunks`: how the page data is stored.

#include "common/names.h"
#include "common/table.h"
#include "common/text.h"
#include "pcp-inspect/inspect.h"
#include "pcp-inspect/open.h"

namespace rrpcp::tools {
namespace {

void show_chunks(Console& console, const CheckpointReader& reader) {
  Table table({{"CHUNK", true},
               {"OFFSET", true},
               {"STORED", true},
               {"LENGTH", true},
               {"RATIO", true},
               {"CODEC"},
               {"CHECKSUM"}});
  std::uint64_t stored = 0;
  std::uint64_t length = 0;
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    const ChunkEntry chunk = reader.chunk(i);
    stored += chunk.stored_length;
    length += chunk.length;
    table.add({std::to_string(i),
               format_text("0x%llx", static_cast<unsigned long long>(chunk.offset)),
               std::to_string(chunk.stored_length), std::to_string(chunk.length),
               human_percent(chunk.stored_length, chunk.length), codec_name(chunk.codec),
               format_text("%016llx", static_cast<unsigned long long>(chunk.checksum))});
  }
  if (!table.empty()) {
    table.print(console);
  }
  console.print("%s, %s of pages stored in %s (%s)\n",
                human_count(reader.chunk_count(), "chunk", "chunks").c_str(),
                human_size(length).c_str(), human_size(stored).c_str(),
                human_percent(stored, length).c_str());
}

Json chunks_json(const CheckpointReader& reader) {
  Json chunks = Json::array();
  for (std::uint64_t i = 0; i < reader.chunk_count(); ++i) {
    const ChunkEntry chunk = reader.chunk(i);
    chunks.push_back({{"offset", chunk.offset},
                      {"storedLength", chunk.stored_length},
                      {"length", chunk.length},
                      {"checksum", chunk.checksum},
                      {"storedChecksum", chunk.stored_checksum},
                      {"codec", codec_name(chunk.codec)}});
  }
  return Json{{"file", json_bytes_as_text(reader.name())},
              {"pageSize", reader.header().page_size},
              {"chunkPages", reader.header().chunk_pages},
              {"chunks", std::move(chunks)}};
}

} // namespace

int inspect_chunks(int argc, char** argv, Console& console) {
  Command command({"pcp-inspect chunks", "[OPTION]... FILE...",
                   "Shows how the page data is stored, chunk by chunk.", kInspectExitCodes});
  command.add_json().add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "FILE");
  return show_checkpoints(console, arguments.positional(), chunks_json,
                          [&](const CheckpointReader& reader) { show_chunks(console, reader); });
}

} // namespace rrpcp::tools
