// A JSON document as a tree of values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rrpcp {

struct JsonMember;

struct JsonValue {
  enum class Kind { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  // kString: its bytes, escapes resolved; kNumber: as it stands.
  std::string text;
  std::vector<JsonValue> items;
  // In the order of the text; a name may occur twice.
  std::vector<JsonMember> members;
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

// Throws Error(kInvalidArgument), naming the byte, for text that is not one JSON value (RFC 8259),
// or nests deeper than 64 values.
JsonValue parse_json(std::string_view text);

} // namespace rrpcp
