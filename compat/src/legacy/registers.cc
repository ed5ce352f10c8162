#include "legacy/registers.h"

#include "base/hex.h"
#include "legacy/findings.h"
#include "legacy/machine.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <span>

namespace rrpcp::compat {

namespace {

constexpr std::size_t kAarch64General = 34 * 8;
// user_fpsimd_state, and TPIDR_EL0 where the trace has it (rr's ExtraRegisters.h).
constexpr std::size_t kAarch64Extra = 528, kAarch64Tpidr = 8;
constexpr std::size_t kXstateBv = 512;

std::vector<std::byte> bytes_of(capnp::Data::Reader data) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data.begin());
  return {bytes, bytes + data.size()};
}

std::uint32_t extra_note(std::uint16_t machine) {
  return machine == EM_AARCH64 ? NT_PRFPREG : NT_X86_XSTATE;
}

} // namespace

std::vector<RegisterBytes> to_register_sets(std::uint16_t machine, capnp::Data::Reader registers,
                                            capnp::Data::Reader extra_registers) {
  std::vector<RegisterBytes> sets;
  if (machine == EM_AARCH64 && registers.size() == register_record_size(machine)) {
    const std::vector<std::byte> all = bytes_of(registers);
    const auto split = all.begin() + kAarch64General;
    sets.push_back({NT_PRSTATUS, {all.begin(), split}});
    sets.push_back({NT_ARM_SYSTEM_CALL, {split + 8, split + 12}});
    sets.push_back({kNoteRrAarch64, {split, all.end()}});
  } else if (registers.size() != 0) {
    sets.push_back({NT_PRSTATUS, bytes_of(registers)});
  }
  if (machine == EM_AARCH64 && extra_registers.size() == kAarch64Extra + kAarch64Tpidr) {
    const std::vector<std::byte> all = bytes_of(extra_registers);
    sets.push_back({NT_PRFPREG, {all.begin(), all.begin() + kAarch64Extra}});
    sets.push_back({NT_ARM_TLS, {all.begin() + kAarch64Extra, all.end()}});
  } else if (extra_registers.size() != 0) {
    sets.push_back({extra_note(machine), bytes_of(extra_registers)});
  }
  std::sort(sets.begin(), sets.end(), [](const RegisterBytes& a, const RegisterBytes& b) {
    return a.note_type < b.note_type;
  });
  return sets;
}

void set_register_sets(capnp::List<schema::RegisterSet>::Builder out,
                       const std::vector<RegisterBytes>& sets) {
  for (unsigned s = 0; s < sets.size(); ++s) {
    out[s].setNoteType(sets[s].note_type);
    out[s].setData(
        {reinterpret_cast<const capnp::byte*>(sets[s].bytes.data()), sets[s].bytes.size()});
  }
}

RegisterRecords from_register_sets(std::uint16_t machine,
                                   capnp::List<schema::RegisterSet>::Reader sets) {
  RegisterRecords records;
  std::vector<std::byte> tail;
  std::vector<std::byte> system_call;
  std::vector<std::byte> tpidr;
  for (const auto set : sets) {
    const std::uint32_t type = set.getNoteType();
    if (type == NT_PRSTATUS) {
      records.registers = bytes_of(set.getData());
    } else if (type == extra_note(machine)) {
      records.extra_registers = bytes_of(set.getData());
    } else if (machine == EM_AARCH64 && type == kNoteRrAarch64) {
      tail = bytes_of(set.getData());
    } else if (machine == EM_AARCH64 && type == NT_ARM_TLS &&
               set.getData().size() == kAarch64Tpidr) {
      tpidr = bytes_of(set.getData());
    } else if (machine == EM_AARCH64 && type == NT_ARM_SYSTEM_CALL) {
      system_call = bytes_of(set.getData());
    } else if (type == NT_PRFPREG && machine != EM_AARCH64) {
      continue; // the XSAVE area contains it
    } else {
      throw Error(ErrorCode::kUnsupportedState,
                  "rr's checkpoints have no place for register set " + hex_text(type));
    }
  }
  records.extra_registers.insert(records.extra_registers.end(), tpidr.begin(), tpidr.end());
  if (machine == EM_AARCH64 && !records.registers.empty()) {
    if (tail.empty()) {
      // Built by another producer: x0 before the call is not known, the call's number is.
      tail.resize(16);
      if (system_call.size() == 4) {
        std::copy(system_call.begin(), system_call.end(), tail.begin() + 8);
      }
    }
    records.registers.insert(records.registers.end(), tail.begin(), tail.end());
  }
  return records;
}

std::uint64_t xstate_bv(capnp::Data::Reader xsave) {
  std::uint64_t bits = 0;
  if (xsave.size() >= kXstateBv + sizeof bits) {
    std::memcpy(&bits, xsave.begin() + kXstateBv, sizeof bits);
  }
  return bits;
}

} // namespace rrpcp::compat
