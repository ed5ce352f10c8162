// A Cap'n Proto struct as JSON, by reflection: spec/inspect-json.md, "Messages".
#pragma once

#include "common/json_writer.h"

#include <capnp/dynamic.h>
#include <optional>

namespace rrpcp::tools {

// How a field of type Data is shown.
enum class DataForm { kText, kHex };

// The form of a field of type Data or List(Data): text where the schema marks it so.
DataForm data_form(capnp::StructSchema::Field field);

// Writes every field of `value` that the schema knows. Throws kj::Exception for a malformed
// message.
void write_message(JsonWriter& json, capnp::DynamicStruct::Reader value);

// Value of a struct's union tag that the schema does not know, or nothing where it does know it or
// the struct has no union.
std::optional<std::uint16_t> unknown_union_tag(capnp::DynamicStruct::Reader value);

} // namespace rrpcp::tools
