#include "support/checkpoint_bytes.h"

#include "base/scoped_fd.h"

#include <capnp/message.h>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <stdexcept>

namespace rrpcp::test {

std::vector<std::byte> sample_pages(std::size_t count, unsigned seed) {
  std::vector<std::byte> pages(count * 4096);
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < pages.size(); i += 16) {
    std::uint32_t word = random() % 977;
    std::memcpy(&pages[i], &word, sizeof word);
  }
  return pages;
}

CheckpointId write_sample(const std::string& path, std::span<const std::byte> pages,
                          const WriterOptions& options) {
  ScopedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file) {
    throw std::runtime_error("cannot create " + path);
  }
  Output output(file.get(), path);
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  state.setProducer("org.rrpcp.process");
  CheckpointWriter writer(output, header_fields(state.asReader()), options);
  std::vector<PageRun> runs;
  writer.append(pages, runs);
  auto mapping = state.initAddressSpaces(1)[0].initMappings(1)[0];
  mapping.setStart(0x10000);
  mapping.setEnd(0x10000 + pages.size());
  mapping.setProtection(3);
  mapping.setFlags(0x22);
  state.initProcesses(1)[0].setPid(100);
  auto task = state.initTasks(1)[0];
  task.setTid(100);
  auto registers = task.initRegisters(1)[0];
  registers.setNoteType(1); // NT_PRSTATUS
  registers.initData(216);
  set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
  capnp::MallocMessageBuilder provenance;
  auto origin = provenance.initRoot<schema::Provenance>();
  origin.setCreator("test");
  return writer.finish(state, origin.asReader());
}

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::vector<std::byte> out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

} // namespace rrpcp::test
