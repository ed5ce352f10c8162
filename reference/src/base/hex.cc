#include "base/hex.h"

#include <charconv>

namespace rrpcp {

namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

} // namespace

std::string to_hex(std::span<const std::byte> bytes) {
  std::string digits;
  digits.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    digits.push_back(kDigits[std::to_integer<unsigned>(byte) >> 4]);
    digits.push_back(kDigits[std::to_integer<unsigned>(byte) & 15]);
  }
  return digits;
}

std::string to_hex(std::string_view bytes) {
  return to_hex(std::as_bytes(std::span(bytes)));
}

std::optional<unsigned> digit_value(char c) {
  if (c >= '0' && c <= '9') {
    return static_cast<unsigned>(c - '0');
  }
  if (c >= 'a' && c <= 'f') {
    return static_cast<unsigned>(c - 'a' + 10);
  }
  if (c >= 'A' && c <= 'F') {
    return static_cast<unsigned>(c - 'A' + 10);
  }
  return std::nullopt;
}

std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) {
    return std::nullopt;
  }
  std::string bytes;
  bytes.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const std::optional<unsigned> high = digit_value(digits[i]);
    const std::optional<unsigned> low = digit_value(digits[i + 1]);
    if (!high || !low) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(*high << 4 | *low));
  }
  return bytes;
}

std::string hex_number(std::uint64_t value) {
  char digits[16];
  const auto result = std::to_chars(digits, digits + sizeof digits, value, 16);
  return std::string(digits, result.ptr);
}

std::string hex_text(std::uint64_t value) {
  return "0x" + hex_number(value);
}

std::string hex_byte(unsigned value) {
  return {kDigits[value >> 4 & 15], kDigits[value & 15]};
}

} // namespace rrpcp
