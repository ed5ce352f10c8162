#include "gdbserver/words.h"

#include <charconv>

namespace rrpcp::gdbserver {

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

std::optional<std::int64_t> decimal(std::string_view digits) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return value;
}

std::string signed_hex_number(std::int64_t value) {
  return value < 0 ? "-" + hex_number(-static_cast<std::uint64_t>(value))
                   : hex_number(static_cast<std::uint64_t>(value));
}

} // namespace rrpcp::gdbserver
