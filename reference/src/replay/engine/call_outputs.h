// What a system call writes into the memory of its task.
#pragma once

#include "process/remote_memory.h"
#include "replay/engine/system_call.h"

#include <cstdint>
#include <vector>

namespace rrpcp::replay {

// Addresses [address, address + length) that may have been written.
struct OutputRange {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
};

// Whether call_outputs knows the call. What an unknown one wrote has to be found by comparing
// memory.
bool outputs_known(const SystemCall& call);

// Appends where the call, which has just returned `result`, may have written: at least all that it
// did write, from the manual pages of section 2. Lists of buffers are read from `memory`.
void call_outputs(const SystemCall& call, std::int64_t result, RemoteMemory& memory,
                  std::vector<OutputRange>& out);

// Whether the call writes bytes of its task's memory to descriptor call[0], and where they are once
// it has written `result` bytes.
bool writes_descriptor(const SystemCall& call);
void written_bytes(const SystemCall& call, std::int64_t result, RemoteMemory& memory,
                   std::vector<OutputRange>& out);

} // namespace rrpcp::replay
