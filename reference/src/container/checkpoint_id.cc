#include "rrpcp/checkpoint_id.h"

#include "base/hex.h"

#include <algorithm>

namespace rrpcp {

std::string CheckpointId::to_string() const {
  return to_hex(bytes);
}

std::optional<CheckpointId> CheckpointId::parse(std::string_view text) {
  const std::optional<std::string> bytes = from_hex(text);
  CheckpointId id;
  if (!bytes || bytes->size() != id.bytes.size()) {
    return std::nullopt;
  }
  std::copy(bytes->begin(), bytes->end(), id.bytes.begin());
  // Capital digits are not an id's text.
  return id.to_string() == text ? std::optional(id) : std::nullopt;
}

std::string TraceUuid::to_string() const {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      out += '-';
    }
    out += hex_byte(bytes[i]);
  }
  return out;
}

} // namespace rrpcp
