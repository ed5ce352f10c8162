// The notes of a core file that is written.
#pragma once

#include "core/core_layout.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp {

// A row of NT_FILE: addresses, the byte offset in the file, and its path.
struct CoreFileRow {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t offset;
  std::string path;
};

// What a core file is made of, besides memory.
struct CoreProcess {
  const CoreLayout* layout = nullptr;
  schema::State::Reader state;
  schema::Process::Reader process;
  schema::AddressSpace::Reader space;
  // The one that a debugger looks at first comes first.
  std::vector<schema::Task::Reader> tasks;
  // Signal that ended the process, of the first task; 0: none.
  int signal = 0;
};

// The content of the PT_NOTE segment. Throws Error(kUnsupportedState) for a thread whose general
// registers are not those of the layout.
std::vector<std::byte>
core_notes(const CoreProcess& process, const std::vector<CoreFileRow>& files,
           std::uint64_t page_size,
           const std::vector<std::pair<std::uint64_t, std::uint64_t>>& zero_ranges);

} // namespace rrpcp
