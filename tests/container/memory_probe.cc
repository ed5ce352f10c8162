// Writes or reads a large checkpoint and prints the peak of its own resident memory in KiB:
// memory_probe write|read PATH PROFILE PAGES

#include "base/scoped_fd.h"
#include "rrpcp/reader.h"
#include "rrpcp/writer.h"

#include <capnp/message.h>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/resource.h>

namespace rrpcp {
namespace {

void write_large(const std::string& path, Profile profile, std::uint64_t pages) {
  ScopedFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  Output output(file.get(), path);
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.initPageStream().setPageSize(4096);
  CheckpointWriter writer(output, header_fields(state.asReader()), {.profile = profile});
  std::vector<PageRun> runs;
  std::vector<std::byte> page(4096);
  for (std::uint64_t i = 0; i < pages; ++i) {
    for (std::uint64_t word = 0; word < 512; ++word) {
      std::uint64_t value = i * 512 + word; // no page equals another
      std::memcpy(&page[word * 8], &value, 8);
    }
    writer.append(page, runs);
  }
  if (runs.size() != 1) {
    throw std::runtime_error("the pages are not one run");
  }
  capnp::MallocMessageBuilder provenance;
  writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
}

void read_large(const std::string& path, std::uint64_t pages) {
  CheckpointReader reader = CheckpointReader::open(path);
  std::uint64_t expected = 0;
  reader.read_stream(0, pages, [&](std::span<const std::byte> bytes) {
    for (; !bytes.empty(); bytes = bytes.subspan(8), ++expected) {
      std::uint64_t value;
      std::memcpy(&value, bytes.data(), 8);
      if (value != expected) {
        throw std::runtime_error("the page stream came back different");
      }
    }
  });
  if (expected != pages * 512) {
    throw std::runtime_error("the page stream came back short");
  }
}

} // namespace
} // namespace rrpcp

int main(int argc, char** argv) {
  try {
    if (argc != 5) {
      throw std::runtime_error("usage: memory_probe write|read PATH PROFILE PAGES");
    }
    std::uint64_t pages = std::stoull(argv[4]);
    if (std::string(argv[1]) == "write") {
      rrpcp::write_large(argv[2], rrpcp::parse_profile(argv[3]), pages);
    } else {
      rrpcp::read_large(argv[2], pages);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "memory_probe: %s\n", error.what());
    return 1;
  }
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf("%ld\n", usage.ru_maxrss);
  return 0;
}
