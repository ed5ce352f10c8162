#include "legacy_trace_directory.h"

#include "rrpcp/compat/legacy.h"
#include "rrpcp/legacy/rr_trace.capnp.h"

#include <capnp/serialize-packed.h>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <unistd.h>

namespace rrpcp::fuzz {

namespace fs = std::filesystem;

TraceDirectory::TraceDirectory() {
  std::string pattern = ::access("/dev/shm", W_OK) == 0
                            ? "/dev/shm/rrpcp-fuzz-XXXXXX"
                            : (fs::temp_directory_path() / "rrpcp-fuzz-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw std::runtime_error("cannot make a temporary directory");
  }
  path_ = pattern;
  capnp::MallocMessageBuilder message;
  const char uuid[] = "0123456789abcdef";
  message.initRoot<legacy::trace::Header>().setUuid(
      capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(uuid), 16));
  kj::VectorOutputStream packed;
  capnp::writePackedMessage(packed, message);
  write("version", "85\n" + std::string(reinterpret_cast<const char*>(packed.getArray().begin()),
                                        packed.getArray().size()));
  for (const char* stream : {"events", "data", "mmaps", "tasks"}) {
    write(stream, std::string());
  }
}

TraceDirectory::~TraceDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void TraceDirectory::write(const std::string& name, std::span<const std::uint8_t> bytes) const {
  const fs::path file = fs::path(path_) / name;
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

void TraceDirectory::write(const std::string& name, const std::string& text) const {
  write(name, std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

void import_all(const std::string& trace_directory) {
  static const int kNowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  try {
    const LegacyTrace trace = LegacyTrace::open(trace_directory);
    for (const LegacyEntry& entry : trace.entries()) {
      if (entry.problem) {
        continue;
      }
      try {
        const LegacyCheckpoint legacy = trace.load(entry);
        import_header(legacy);
        if (legacy.importable()) {
          Output output(kNowhere, "nowhere");
          import_checkpoint(legacy, output, {.writer = {.profile = Profile::kRaw, .threads = 1}});
        }
      } catch (const Error&) {
      }
    }
  } catch (const Error&) {
  }
}

} // namespace rrpcp::fuzz
