#include "trace/rewrite_trace.h"

#include "base/scoped_fd.h"
#include "trace/stream_writer.h"
#include "trace/trace_state.h"

#include <fcntl.h>

namespace rrpcp::test {

void rewrite_trace(
    const std::string& from, const std::string& to, const std::function<void(TraceHeader&)>& change,
    const std::function<void(trace::StreamChunk&, std::vector<std::byte>&)>& change_chunk) {
  const TraceState state(from, {});
  TraceHeader header = state.header;
  change(header);
  const ScopedFd file(
      ::open((to + "/events").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  Output output(file.get(), to);
  trace::StreamWriter writer(
      output, header,
      (header.incompatible & trace_format::kIncompatZstd) != 0 ? Profile::kFast : Profile::kRaw);
  ChunkBuffer buffer;
  for (std::uint64_t i = 0; i < state.chunks.size(); ++i) {
    state.load(i, buffer);
    trace::StreamChunk chunk = buffer.chunk();
    std::vector<std::byte> bytes(buffer.bytes().begin(), buffer.bytes().end());
    if (change_chunk) {
      change_chunk(chunk, bytes);
    }
    writer.write_chunk(chunk, bytes);
  }
  writer.write_index();
}

} // namespace rrpcp::test
