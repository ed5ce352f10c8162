#include "document/json_tree.h"
#include "rrpcp/error.h"
#include "rrpcp/message_json.h"

#include <capnp/schema.capnp.h>
#include <charconv>
#include <cstring>
#include <limits>

namespace rrpcp {

namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;
using capnp::schema::Type;
using JsonKind = JsonValue::Kind;

constexpr std::uint64_t kMaxListSize = std::uint64_t{1} << 29;

[[noreturn]] void fail(const std::string& place, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, (place.empty() ? "the document" : place) + " " + what);
}

std::string unhex(const std::string& place, std::string_view digits) {
  const auto value = [&](char c) {
    if (c >= '0' && c <= '9') {
      return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
      return c - 'a' + 10;
    }
    fail(place, "is not a string of lower-case hexadecimal digits");
  };
  if (digits.size() % 2 != 0) {
    fail(place, "has half a byte of hexadecimal digits");
  }
  std::string bytes;
  bytes.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    bytes += static_cast<char>(value(digits[i]) << 4 | value(digits[i + 1]));
  }
  return bytes;
}

// Bytes that are text: a string, or {"bytes": HEX}.
std::string text_bytes(const std::string& place, const JsonValue& json) {
  if (json.kind == JsonKind::kString) {
    return json.text;
  }
  if (json.kind == JsonKind::kObject && json.members.size() == 1 &&
      json.members[0].name == "bytes" && json.members[0].value.kind == JsonKind::kString) {
    return unhex(place, json.members[0].value.text);
  }
  fail(place, "is neither a string nor an object with \"bytes\"");
}

template <typename T> T integer(const std::string& place, const JsonValue& json) {
  const bool wide = sizeof(T) == 8;
  if (json.kind != (wide ? JsonKind::kString : JsonKind::kNumber)) {
    fail(place, wide ? "is not a string of decimal digits" : "is not a number");
  }
  T value = 0;
  const char* end = json.text.data() + json.text.size();
  const auto result = std::from_chars(json.text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) {
    fail(place, "is not an integer that the field has room for: " + json.text);
  }
  return value;
}

class MessageReader {
public:
  void read_struct(const std::string& place, const JsonValue& json,
                   DynamicStruct::Builder target) const {
    if (json.kind != JsonKind::kObject) {
      fail(place, "is not an object");
    }
    const JsonValue* which = nullptr;
    for (const auto& [name, value] : json.members) {
      if (name == "which" && target.getSchema().getUnionFields().size() != 0) {
        which = &value;
      }
    }
    for (const auto& [name, value] : json.members) {
      if (&value == which) {
        continue;
      }
      const std::string at = place.empty() ? name : place + "." + name;
      KJ_IF_MAYBE (field, target.getSchema().findFieldByName(name.c_str())) {
        if (in_union(*field) && (which == nullptr || which->text != name)) {
          fail(at, "is an arm that \"which\" does not name");
        }
        read_field(at, value, target, *field);
      } else {
        fail(at, "is no field of " + name_of(target.getSchema()));
      }
    }
    if (which != nullptr) {
      set_arm(place, *which, target);
    }
  }

private:
  static std::string name_of(capnp::StructSchema schema) {
    const std::string full = schema.getProto().getDisplayName();
    return full.substr(full.rfind(':') + 1);
  }

  static bool in_union(capnp::StructSchema::Field field) {
    return field.getProto().getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT;
  }

  // An arm without a value has no key of its own.
  static void set_arm(const std::string& place, const JsonValue& which,
                      DynamicStruct::Builder target) {
    if (which.kind != JsonKind::kString) {
      fail(place + ".which", "is not the name of an arm");
    }
    KJ_IF_MAYBE (field, target.getSchema().findFieldByName(which.text.c_str())) {
      if (!in_union(*field)) {
        fail(place + ".which", "names no arm: " + which.text);
      }
      KJ_IF_MAYBE (set, target.which()) {
        if (*set == *field && !field->getType().isVoid()) {
          return;
        }
      }
      if (field->getType().isVoid() && field->getProto().isSlot()) {
        target.set(*field, capnp::VOID);
      } else if (field->getProto().isGroup()) {
        target.init(*field);
      } else {
        fail(place + "." + which.text, "is missing, and \"which\" names it");
      }
    } else {
      fail(place + ".which", "names no arm: " + which.text);
    }
  }

  void read_field(const std::string& place, const JsonValue& json, DynamicStruct::Builder target,
                  capnp::StructSchema::Field field) const {
    if (field.getProto().isGroup()) {
      auto group = in_union(field) ? target.init(field) : target.get(field);
      read_struct(place, json, group.as<DynamicStruct>());
      return;
    }
    const capnp::Type type = field.getType();
    if (type.isStruct() && json.kind == JsonKind::kNull) {
      target.clear(field);
      return;
    }
    read_value(
        place, json, type, data_form(field),
        [&](const DynamicValue::Reader& value) { target.set(field, value); },
        [&] { return target.init(field).as<DynamicStruct>(); },
        [&](unsigned size) { return target.init(field, size).as<DynamicList>(); },
        [&] { target.clear(field); });
  }

  template <typename Set, typename InitStruct, typename InitList, typename Clear>
  void read_value(const std::string& place, const JsonValue& json, capnp::Type type, DataForm form,
                  Set set, InitStruct init_struct, InitList init_list, Clear clear) const {
    switch (type.which()) {
    case Type::BOOL:
      if (json.kind != JsonKind::kTrue && json.kind != JsonKind::kFalse) {
        fail(place, "is neither true nor false");
      }
      set(json.kind == JsonKind::kTrue);
      return;
    case Type::INT8:
      set(integer<std::int8_t>(place, json));
      return;
    case Type::INT16:
      set(integer<std::int16_t>(place, json));
      return;
    case Type::INT32:
      set(integer<std::int32_t>(place, json));
      return;
    case Type::INT64:
      set(integer<std::int64_t>(place, json));
      return;
    case Type::UINT8:
      set(integer<std::uint8_t>(place, json));
      return;
    case Type::UINT16:
      set(integer<std::uint16_t>(place, json));
      return;
    case Type::UINT32:
      set(integer<std::uint32_t>(place, json));
      return;
    case Type::UINT64:
      set(integer<std::uint64_t>(place, json));
      return;
    case Type::TEXT: {
      const std::string text = text_bytes(place, json);
      if (text.empty()) {
        clear();
      } else {
        set(capnp::Text::Reader(text.c_str(), text.size()));
      }
      return;
    }
    case Type::DATA: {
      if (form == DataForm::kHex && json.kind != JsonKind::kString) {
        fail(place, "is not a string of hexadecimal digits");
      }
      const std::string bytes =
          form == DataForm::kText ? text_bytes(place, json) : unhex(place, json.text);
      if (bytes.empty()) {
        clear();
      } else {
        set(capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()));
      }
      return;
    }
    case Type::ENUM:
      read_enum(place, json, type.asEnum(), set);
      return;
    case Type::STRUCT:
      read_struct(place, json, init_struct());
      return;
    case Type::LIST:
      if (json.kind != JsonKind::kArray || json.items.size() >= kMaxListSize) {
        fail(place, "is not an array");
      }
      if (json.items.empty()) {
        clear();
      } else {
        read_list(place, json, type.asList(), form,
                  init_list(static_cast<unsigned>(json.items.size())));
      }
      return;
    default:
      fail(place, "is of a type that documents do not have");
    }
  }

  template <typename Set>
  static void read_enum(const std::string& place, const JsonValue& json, capnp::EnumSchema schema,
                        Set set) {
    if (json.kind == JsonKind::kNumber) {
      set(capnp::DynamicEnum(schema, integer<std::uint16_t>(place, json)));
      return;
    }
    if (json.kind == JsonKind::kString) {
      KJ_IF_MAYBE (enumerant, schema.findEnumerantByName(json.text.c_str())) {
        set(capnp::DynamicEnum(*enumerant));
        return;
      }
    }
    fail(place, "is not the name of a value");
  }

  void read_list(const std::string& place, const JsonValue& json, capnp::ListSchema schema,
                 DataForm form, DynamicList::Builder list) const {
    for (unsigned i = 0; i < list.size(); ++i) {
      read_value(
          place + "[" + std::to_string(i) + "]", json.items[i], schema.getElementType(), form,
          [&](const DynamicValue::Reader& value) { list.set(i, value); },
          [&] { return list[i].as<DynamicStruct>(); },
          [&](unsigned size) { return list.init(i, size).as<DynamicList>(); }, [] {});
    }
  }
};

} // namespace

void read_message(std::string_view json, DynamicStruct::Builder target) {
  const JsonValue tree = parse_json(json);
  MessageReader().read_struct({}, tree, target);
}

} // namespace rrpcp
