// Where XSAVE, XSAVEOPT and XSAVEC store, and how much.
#pragma once

#include "process/remote_memory.h"
#include "replay/buffer/call_buffer.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/trapped_instructions.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/user.h>

namespace rrpcp::replay {

// Whether the processor of `model` has the instruction, one that saves_state().
bool has_instruction(const CpuidModel& model, schema::TrappedInstruction instruction);

// The address of the XSAVE area that the instruction of bytes `code` stores to, with `registers`
// before it. Throws Error(kInternal) where it has no memory operand.
std::uint64_t stored_at(std::span<const std::byte> code, const user_regs_struct& registers);

// Bytes of the area at `address` up to the end of the last component that was stored there, of
// those that were `requested` (EDX:EAX). XSAVE stores all; of the others the header tells which
// (Intel SDM volume 1, sections 13.4 and 13.7 to 13.10). Throws Error.
std::uint64_t stored_length(process::RemoteMemory& memory, std::uint64_t address,
                            schema::TrappedInstruction instruction, std::uint64_t requested);

// How the processor lays out what XSAVEC stores.
buffer::CallBuffer::StateLayout state_layout();

} // namespace rrpcp::replay
