// Where a program sets the number of a system call that can be made without a stop, or what it asks
// CPUID for.
#pragma once

#include "replay/engine/code_functions.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp::replay::buffer {

// An instruction before a `syscall` or `cpuid`, in whose place a jump can stand: no other byte of
// the program has to be touched, and whoever jumps to what is behind it, to the `syscall` itself
// for one, finds it there. Between the two are at most some that do the same wherever they are
// (plain_instruction.h).
struct CallSite {
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};
  enum class To : std::uint8_t { kCall, kCpuid };

  std::uint64_t offset = 0; // in the file
  std::uint8_t length =
      0; // up to the `syscall`: 5 and more, or 2: room for a short jump only, to …
  // … five bytes of filling between functions.
  std::uint64_t filling = kNowhere;
  To to = To::kCall;
};

// In the executable bytes `code` of a file, which begin at `offset`. Those of which `functions`
// knows the function, so that it is certain that an instruction begins there. Those whose
// `syscall`, or `cpuid`, and filling are at `from` or behind it, and before `to`: places in `code`.
std::vector<CallSite> find_call_sites(std::span<const std::byte> code, std::uint64_t offset,
                                      const CodeFunctions& functions, std::size_t from = 0,
                                      std::size_t to = ~std::size_t{0});

} // namespace rrpcp::replay::buffer
