// JSON as the commands write it: keys in a fixed order, exact 64-bit integers, bytes as hex digits.
#pragma once

#include "rrpcp/error.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

namespace rrpcp::tools {

using Json = nlohmann::ordered_json;

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
