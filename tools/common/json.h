// JSON as the commands write it: keys in a fixed order, bytes as hex digits, integers as
// spec/inspect-json.md says ("Numbers").
#pragma once

#include "rrpcp/error.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rrpcp::tools {

// Integers whose type has 64 bits become strings of decimal digits: many programs read JSON numbers
// as floating point, which is exact to 2^53 only. The type decides, not the value, so a key has one
// type in every document.
template <typename T, typename Enable = void>
struct JsonConversion : nlohmann::adl_serializer<T, Enable> {};

template <std::integral T> struct JsonConversion<T, std::enable_if_t<sizeof(T) == 8>> {
  template <typename Target> static void to_json(Target& json, T value) {
    json = std::to_string(value);
  }
};

using Json =
    nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, std::int64_t,
                         std::uint64_t, double, std::allocator, JsonConversion>;

// Lower-case hexadecimal digits, two per byte, nothing between.
std::string hex(std::span<const std::uint8_t> bytes);
std::string hex(std::span<const std::byte> bytes);

// Text from outside (a path, a thread name): a JSON string where the bytes are valid UTF-8, and
// {"bytes": HEX} otherwise. So nothing is lost and the two never look alike.
Json json_bytes_as_text(std::string_view bytes);

// {"error":{"code","message","file","offset","hint"}}; "file" and "hint" are null where unknown,
// "offset" (bytes) too. "errno" and "diagnostic" are there where the error has them.
Json json_error(const Error& error);

// Indented by two spaces, UTF-8, no newline at the end. Never throws for a document made of the
// helpers above; other invalid UTF-8 is replaced by U+FFFD.
std::string json_text(const Json& document);

} // namespace rrpcp::tools
