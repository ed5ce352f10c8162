// What must hold for a decoded message, whatever generation it is of.
#pragma once

#include "legacy/legacy_message.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rrpcp::compat {

// What messages are checked against.
struct Expectations {
  // ELF e_machine of the trace.
  std::uint16_t machine = 0;
  // Bytes.
  std::uint64_t page_size = 4096;
};

// A mark's own plausibility; appends one sentence per violation.
void check_mark(legacy::MarkData::Reader mark, const std::string& name,
                std::vector<std::string>& violations);

// All invariants of a message: marks, at least one space, task and mapping, register records of the
// machine's size, mappings in page units that do not overlap, absolute page-file paths. Returns one
// sentence per violation, at most 20.
std::vector<std::string> check_message(const LegacyMessage& message, const Expectations& expected);

// The sentences as one text.
std::string join_violations(const std::vector<std::string>& violations);

} // namespace rrpcp::compat
