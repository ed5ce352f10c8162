// Finding instructions that cannot be replayed in a program's code.
#pragma once

#include "replay/engine/trapped_instructions.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace rrpcp::replay {

struct FoundInstruction {
  std::uint64_t offset = 0; // of its first byte
  TrappedCode code;

  bool operator==(const FoundInstruction&) const = default;
};

struct ScannedCode {
  std::vector<FoundInstruction> certain;
  // Bytes that look like one, of which disassembling could not tell.
  std::vector<FoundInstruction> uncertain;
};

// What is known of the surroundings of a byte that is not known to be data.
struct CodeStart {
  std::uint64_t offset = 0; // an instruction begins here, at or before the byte
  bool function = false;    // it is a function's first, and the byte belongs to that function
};

// Looks through `code`, whose first byte has the offset `offset`, for the bytes of these
// instructions, and disassembles from where `start_of` says that code begins to tell whether an
// instruction begins there. In order of offset. Of those whose 0F is at `from` or
// behind it, and before `to`: places in `code`.
ScannedCode scan_code(std::span<const std::byte> code, std::uint64_t offset,
                      const std::function<std::optional<CodeStart>(std::uint64_t offset)>& start_of,
                      std::size_t from = 0, std::size_t to = ~std::size_t{0});

} // namespace rrpcp::replay
