#include "rrpcp/checkpoint_id.h"

namespace rrpcp {

namespace {

constexpr char kDigits[] = "0123456789abcdef";

void append_hex(std::string& out, std::uint8_t byte) {
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15];
}

int digit_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return -1;
}

} // namespace

std::string CheckpointId::to_string() const {
  std::string out;
  for (std::uint8_t byte : bytes) {
    append_hex(out, byte);
  }
  return out;
}

std::optional<CheckpointId> CheckpointId::parse(std::string_view text) {
  CheckpointId id;
  if (text.size() != 2 * id.bytes.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    int high = digit_value(text[2 * i]);
    int low = digit_value(text[2 * i + 1]);
    if (high < 0 || low < 0) {
      return std::nullopt;
    }
    id.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return id;
}

std::string TraceUuid::to_string() const {
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      out += '-';
    }
    append_hex(out, bytes[i]);
  }
  return out;
}

} // namespace rrpcp
