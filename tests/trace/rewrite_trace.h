// A trace as a later program might have written it.
#pragma once

#include "rrpcp/trace/trace_reader.h"
#include "trace/stream_chunk.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace rrpcp::test {

// Copies the event stream of the trace `from` to the directory `to`, with another header and, where
// `change_chunk` is given, other chunks. Checksums are right. Chunks are raw where the header has
// not the feature for zstd.
void rewrite_trace(
    const std::string& from, const std::string& to, const std::function<void(TraceHeader&)>& change,
    const std::function<void(trace::StreamChunk&, std::vector<std::byte>&)>& change_chunk = {});

} // namespace rrpcp::test
