// A Cap'n Proto struct as JSON and back, by reflection: spec/inspect-json.md, "Messages".
#pragma once

#include "rrpcp/export.h"

#include <capnp/dynamic.h>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace RRPCP_PUBLIC rrpcp {

// Where a JSON document goes, piece by piece. Calls nest as JSON does: in an object every value
// follows a key().
class JsonSink {
public:
  virtual ~JsonSink() = default;

  virtual void begin_object() = 0;
  virtual void end_object() = 0;
  virtual void begin_array() = 0;
  virtual void end_array() = 0;
  virtual void key(std::string_view name) = 0;
  // `text` must be UTF-8.
  virtual void string(std::string_view text) = 0;
  // Text of the system: a string where it is UTF-8, {"bytes": HEX} otherwise.
  virtual void bytes_as_text(std::string_view bytes) = 0;
  // A value that is written as it stands: a number, true, false, null.
  virtual void scalar(std::string_view text) = 0;

  void null() { scalar("null"); }
  void boolean(bool value) { scalar(value ? "true" : "false"); }
  // The type decides whether a string is written (64 bits) or a number.
  template <std::integral T> void number(T value) {
    if constexpr (sizeof(T) == 8) {
      string(std::to_string(value));
    } else {
      scalar(std::to_string(value));
    }
  }
};

// How a field of type Data is shown.
enum class DataForm { kText, kHex };

// The form of a field of type Data or List(Data): text where the schema marks it so.
DataForm data_form(capnp::StructSchema::Field field);

// Writes every field of `value` that the schema knows. Throws kj::Exception for a malformed
// message.
void write_message(JsonSink& json, capnp::DynamicStruct::Reader value);

// Value of a struct's union tag that the schema does not know, or nothing where it does know it or
// the struct has no union.
std::optional<std::uint16_t> unknown_union_tag(capnp::DynamicStruct::Reader value);

// A struct or list as a document without white space. Throws kj::Exception as write_message().
std::string message_json(capnp::DynamicStruct::Reader value);
std::string message_json(capnp::DynamicList::Reader value, DataForm form);

// Sets `target` to what a document of the same form says: the reverse of message_json(). Members
// that the document does not have are left as they are. Throws Error(kInvalidArgument), naming the
// place, for text that is no JSON, a member that the schema does not have and a value that does not
// fit it; `target` may be half set then.
void read_message(std::string_view json, capnp::DynamicStruct::Builder target);

} // namespace rrpcp
