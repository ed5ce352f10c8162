// Any bytes as a core file: what is not refused becomes a checkpoint that is valid.

#include "rrpcp/error.h"
#include "rrpcp/interop/core_file.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int fd = ::memfd_create("checkpoint", MFD_CLOEXEC);
  if (fd < 0) {
    std::abort();
  }
  try {
    rrpcp::Output output(fd, "checkpoint");
    rrpcp::CoreImportOptions options;
    options.writer.threads = 1;
    options.writer.profile = rrpcp::Profile::kRaw;
    options.reproducible = true;
    options.look_for_files = false;
    rrpcp::import_core({reinterpret_cast<const std::byte*>(data), size}, "core", output, options);
  } catch (const rrpcp::Error&) {
    ::close(fd);
    return 0;
  }
  const auto reader = rrpcp::CheckpointReader::open_fd(fd, "checkpoint");
  if (!reader.state().getInspectOnly() || reader.state().getTasks().size() == 0) {
    std::abort();
  }
  return 0;
}
