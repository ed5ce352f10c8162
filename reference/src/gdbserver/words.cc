#include "gdbserver/words.h"

#include <charconv>

namespace rrpcp::gdbserver {

namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

} // namespace

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

bool Words::take(std::string_view word) {
  if (!text_.starts_with(word)) {
    return false;
  }
  text_.remove_prefix(word.size());
  return true;
}

void Words::expect(std::string_view word) {
  if (!take(word)) {
    throw BadPacket();
  }
}

std::uint64_t Words::hexadecimal() {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value, 16);
  if (error != std::errc()) {
    throw BadPacket();
  }
  text_.remove_prefix(static_cast<std::size_t>(end - text_.data()));
  return value;
}

std::int64_t Words::signed_hexadecimal() {
  const bool negative = take("-");
  const std::uint64_t value = hexadecimal();
  if (value > INT64_MAX) {
    throw BadPacket();
  }
  return negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
}

std::string_view Words::until(char separator) {
  const std::size_t end = text_.find(separator);
  const std::string_view word = text_.substr(0, end);
  text_.remove_prefix(end == text_.npos ? text_.size() : end + 1);
  return word;
}

std::string Words::hexadecimal_bytes() {
  std::optional<std::string> bytes = from_hex(text_);
  if (!bytes) {
    throw BadPacket();
  }
  text_ = {};
  return *std::move(bytes);
}

std::string Words::binary_bytes() {
  std::string bytes;
  bytes.reserve(text_.size());
  for (std::size_t i = 0; i < text_.size(); ++i) {
    if (text_[i] != '}') {
      bytes.push_back(text_[i]);
    } else if (++i < text_.size()) {
      bytes.push_back(static_cast<char>(text_[i] ^ 0x20));
    } else {
      throw BadPacket();
    }
  }
  text_ = {};
  return bytes;
}

void Words::expect_end() const {
  if (!text_.empty()) {
    throw BadPacket();
  }
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

std::optional<std::int64_t> decimal(std::string_view digits) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return value;
}

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

std::string hex_number(std::uint64_t value) {
  char digits[16];
  const auto result = std::to_chars(digits, digits + sizeof digits, value, 16);
  return std::string(digits, result.ptr);
}

std::string signed_hex_number(std::int64_t value) {
  return value < 0 ? "-" + hex_number(-static_cast<std::uint64_t>(value))
                   : hex_number(static_cast<std::uint64_t>(value));
}

std::string hex_byte(unsigned value) {
  return {kDigits[value >> 4 & 15], kDigits[value & 15]};
}

} // namespace rrpcp::gdbserver
