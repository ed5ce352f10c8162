// Identities: of a checkpoint's content and of a trace.
#pragma once

#include "rrpcp/export.h"

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace RRPCP_PUBLIC rrpcp {

// 128-bit digest of what a checkpoint stores (spec/format.md, "Checkpoint id"). Value type.
struct CheckpointId {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const CheckpointId&) const = default;
  // 32 lower-case hexadecimal digits.
  std::string to_string() const;
  // The reverse; nothing for any other text.
  static std::optional<CheckpointId> parse(std::string_view text);
};

// A trace's uuid: 16 bytes; all zero means "no trace". Value type.
struct TraceUuid {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const TraceUuid&) const = default;
  bool is_nil() const { return *this == TraceUuid{}; }
  // 8-4-4-4-12 lower-case hexadecimal digits (RFC 9562).
  std::string to_string() const;
};

} // namespace rrpcp
