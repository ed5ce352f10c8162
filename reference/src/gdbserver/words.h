// Reading and writing the words of a packet: numbers and bytes in hexadecimal digits.
#pragma once

#include "base/hex.h"

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace rrpcp::gdbserver {

// A packet that breaks the protocol's rules, or asks for what cannot be: it is answered by an
// error.
class BadPacket : public std::exception {
public:
  // `code` is what the answer "Enn" says; debuggers show it and attach no meaning to it.
  explicit BadPacket(std::uint8_t code = 1) : code_(code) {}
  std::uint8_t code() const { return code_; }
  const char* what() const noexcept override { return "a packet that cannot be answered"; }

private:
  std::uint8_t code_;
};

// Goes through a packet from its start. Every function but those that say otherwise throws
// BadPacket where the text is not what it wants. The text must outlive the object.
class Words {
public:
  explicit Words(std::string_view text) : text_(text) {}

  bool at_end() const { return text_.empty(); }
  std::string_view rest() const { return text_; }
  // Takes `word` if the rest begins with it.
  bool take(std::string_view word);
  void expect(std::string_view word);
  // Digits up to the first other character, at least one; at most 64 bits.
  std::uint64_t hexadecimal();
  // As hexadecimal(), with a sign before it or not.
  std::int64_t signed_hexadecimal();
  // Up to `separator` or the end, without it; the separator is taken as well.
  std::string_view until(char separator);
  // The rest as hexadecimal pairs, or as binary data in which '}' escapes.
  std::string hexadecimal_bytes();
  std::string binary_bytes();
  void expect_end() const;

private:
  std::string_view text_;
};

// A number in decimal digits alone, signed or not.
std::optional<std::int64_t> decimal(std::string_view digits);

// Hexadecimal digits without leading zeros; "-" before negative ones.
std::string signed_hex_number(std::int64_t value);

} // namespace rrpcp::gdbserver
