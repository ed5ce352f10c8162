// Writes a checkpoint of one page into a directory, finds it there and reads the page back.

#include <capnp/message.h>
#include <cstdio>
#include <cstring>
#include <rrpcp/memory_view.h>
#include <rrpcp/reader.h>
#include <rrpcp/store.h>
#include <rrpcp/writer.h>
#include <vector>

namespace {

constexpr std::uint64_t kAddress = 0x10000;

rrpcp::CheckpointId write(rrpcp::Output& output, const rrpcp::HeaderFields& fields,
                          rrpcp::schema::State::Builder state) {
  std::vector<std::byte> page(4096);
  std::memcpy(page.data(), "Hello, replay!", 14);
  rrpcp::CheckpointWriter writer(output, fields, {.profile = rrpcp::Profile::kSmall});
  std::vector<rrpcp::PageRun> runs;
  writer.append(page, runs);
  auto mapping = state.initAddressSpaces(1)[0].initMappings(1)[0];
  mapping.setStart(kAddress);
  mapping.setEnd(kAddress + page.size());
  mapping.setProtection(3);
  mapping.setFlags(0x22);
  rrpcp::set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
  capnp::MallocMessageBuilder provenance;
  auto origin = provenance.initRoot<rrpcp::schema::Provenance>();
  origin.setCreator("example");
  return writer.finish(state, origin.asReader());
}

int run(const char* directory) {
  const rrpcp::Store store(directory);
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<rrpcp::schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  state.setProducer("org.rrpcp.process");
  const rrpcp::HeaderFields fields = rrpcp::header_fields(state.asReader());
  store.publish(fields, [&](rrpcp::Output& output) { return write(output, fields, state); });
  for (const rrpcp::StoreEntry& entry : store.list()) {
    const auto reader = rrpcp::CheckpointReader::open(entry.path);
    rrpcp::MemoryView memory(reader, 0);
    std::vector<std::byte> bytes(14);
    memory.read(kAddress, bytes);
    std::printf("%s: %.14s\n", reader.id().to_string().c_str(),
                reinterpret_cast<const char*>(bytes.data()));
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : ".");
  } catch (const rrpcp::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
