// Conditions of breakpoints as gdb compiles them, evaluated here so that a breakpoint whose
// condition does not hold costs no conversation. Source: the manual of gdb, appendix "The GDB Agent
// Expression Mechanism".
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace rrpcp::gdbserver {

// What an expression may ask for. Each gives nothing where there is nothing.
struct AgentContext {
  // A register, by the number that the target description gives it.
  std::function<std::optional<std::uint64_t>(unsigned number)> register_value;
  // Fills all of `out`, or says false.
  std::function<bool(std::uint64_t address, std::span<std::byte> out)> read_memory;
};

// The value on top of the stack at the end; nothing for an expression that is malformed, takes too
// long (100,000 operations), needs what is not there, divides by zero, or wants to collect or
// print. Pure: same arguments, same value.
std::optional<std::uint64_t> evaluate_agent_expression(std::string_view code,
                                                       const AgentContext& context);

} // namespace rrpcp::gdbserver
