// rr's register records and the model's register sets.
#pragma once

#include "rrpcp/legacy/rr_common.capnp.h"
#include "rrpcp/schema/task.capnp.h"

#include <capnp/blob.h>
#include <capnp/list.h>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace rrpcp::compat {

// Note type of what rr's record of an aarch64 task has behind the general registers: x0 as it was
// before the system call (8 bytes), the system call's number (4) and 4 bytes of padding. Not of
// ELF: the type is from the range that spec/registry.md reserves.
inline constexpr std::uint32_t kNoteRrAarch64 = 0x72720001;

// One register set as a value.
struct RegisterBytes {
  std::uint32_t note_type = 0;
  std::vector<std::byte> bytes;
};

// The register sets of rr's two records, ordered by note type. `machine` is ELF's number.
std::vector<RegisterBytes> to_register_sets(std::uint16_t machine, capnp::Data::Reader registers,
                                            capnp::Data::Reader extra_registers);
void set_register_sets(capnp::List<schema::RegisterSet>::Builder out,
                       const std::vector<RegisterBytes>& sets);

// The reverse. Throws Error(kUnsupportedState) for sets that rr's records have no place for.
struct RegisterRecords {
  std::vector<std::byte> registers;
  std::vector<std::byte> extra_registers;
};
RegisterRecords from_register_sets(std::uint16_t machine,
                                   capnp::List<schema::RegisterSet>::Reader sets);

// XSTATE_BV of an XSAVE area (Intel SDM volume 1, 13.4.2); 0 where it is too short.
std::uint64_t xstate_bv(capnp::Data::Reader xsave);

} // namespace rrpcp::compat
