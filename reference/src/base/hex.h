// Bytes and numbers in hexadecimal digits, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace rrpcp {

// Two lower-case digits a byte.
std::string to_hex(std::span<const std::byte> bytes);
std::string to_hex(std::string_view bytes);
// The same of digests, ids and Cap'n Proto's Data.
template <typename Bytes, typename = std::enable_if_t<sizeof(*std::declval<Bytes>().begin()) == 1>,
          typename = std::enable_if_t<!std::is_convertible_v<Bytes, std::string_view>>>
std::string to_hex(const Bytes& bytes) {
  return to_hex(std::as_bytes(std::span(bytes.begin(), bytes.size())));
}

// The value of a digit of either case; nothing for another character.
std::optional<unsigned> digit_value(char c);
// Decodes pairs of digits; nothing where there is something else.
std::optional<std::string> from_hex(std::string_view digits);

// A number without leading zeros.
std::string hex_number(std::uint64_t value);
// The same with "0x" before it, as messages have it.
std::string hex_text(std::uint64_t value);
// Exactly two digits.
std::string hex_byte(unsigned value);

} // namespace rrpcp
