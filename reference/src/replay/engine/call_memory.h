// What memory of its task a system call reads and writes, from the table of calls.
#pragma once

#include "process/remote_memory.h"
#include "trace/system_call.h"

#include <cstdint>
#include <vector>

namespace rrpcp::replay {

// Addresses [address, address + length), of which any part may not be mapped.
struct CallRange {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
};

// Whether the table says all that the call writes. What another one wrote has to be found by
// comparing memory.
bool outputs_known(const trace::SystemCall& call);

// Appends where the call, which has just returned `result`, may have written: at least all that it
// did write, as far as the table knows. Lists of buffers are read from `memory`. Throws
// kProcessGone.
void call_outputs(const trace::SystemCall& call, std::int64_t result, process::RemoteMemory& memory,
                  std::vector<CallRange>& out);
// The same of a call that has begun and blocks.
void outputs_so_far(const trace::SystemCall& call, process::RemoteMemory& memory,
                    std::vector<CallRange>& out);

// Appends what the call, which is about to begin, reads: the buffers that it writes from, texts,
// structures. Throws kProcessGone.
void call_inputs(const trace::SystemCall& call, process::RemoteMemory& memory,
                 std::vector<CallRange>& out);

// Whether the call writes bytes of its task's memory to descriptor call[0], and where they are once
// it has returned `result`.
bool writes_descriptor(const trace::SystemCall& call);
void written_bytes(const trace::SystemCall& call, std::int64_t result,
                   process::RemoteMemory& memory, std::vector<CallRange>& out);

// Appends the first `length` bytes of the `count` buffers whose iovecs are at `list`.
void buffer_ranges(process::RemoteMemory& memory, std::uint64_t list, std::uint64_t count,
                   std::uint64_t length, std::vector<CallRange>& out);

} // namespace rrpcp::replay
