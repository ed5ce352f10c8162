#include "rrpcp/message_json.h"

#include "base/hex.h"
#include "document/json_text.h"

#include <capnp/any.h>
#include <capnp/schema.capnp.h>

namespace rrpcp {

namespace {

using capnp::DynamicStruct;
using capnp::DynamicValue;

// The annotation `text` of schema/common.capnp.
constexpr std::uint64_t kTextAnnotation = 0xec9df113c2505aa9;

std::string_view view_of(capnp::Data::Reader data) {
  return {data.asChars().begin(), data.size()};
}

class MessageWriter {
public:
  explicit MessageWriter(JsonSink& json) : json_(json) {}

  void write_struct(DynamicStruct::Reader value) {
    json_.begin_object();
    for (const capnp::StructSchema::Field field : value.getSchema().getNonUnionFields()) {
      write_field(value, field);
    }
    if (value.getSchema().getUnionFields().size() != 0) {
      json_.key("which");
      KJ_IF_MAYBE (field, value.which()) {
        json_.string(field->getProto().getName().cStr());
        if (!is_void(*field)) {
          write_field(value, *field);
        }
      } else {
        json_.number(unknown_union_tag(value).value_or(0));
      }
    }
    json_.end_object();
  }

  void write_list(capnp::DynamicList::Reader list, DataForm form) {
    json_.begin_array();
    for (const DynamicValue::Reader element : list) {
      write_value(element, list.getSchema().getElementType(), form);
    }
    json_.end_array();
  }

private:
  static bool is_void(capnp::StructSchema::Field field) {
    return field.getProto().isSlot() && field.getType().isVoid();
  }

  void write_field(DynamicStruct::Reader value, capnp::StructSchema::Field field) {
    json_.key(field.getProto().getName().cStr());
    const bool absent =
        field.getProto().isSlot() && field.getType().isStruct() && !value.has(field);
    if (absent) {
      json_.null();
    } else {
      write_value(value.get(field), field.getType(), data_form(field));
    }
  }

  void write_value(DynamicValue::Reader value, capnp::Type type, DataForm form) {
    switch (value.getType()) {
    case DynamicValue::BOOL:
      json_.boolean(value.as<bool>());
      return;
    case DynamicValue::INT:
      if (type.isInt64()) {
        json_.number(value.as<std::int64_t>());
      } else {
        json_.number(value.as<std::int32_t>());
      }
      return;
    case DynamicValue::UINT:
      if (type.isUInt64()) {
        json_.number(value.as<std::uint64_t>());
      } else {
        json_.number(value.as<std::uint32_t>());
      }
      return;
    case DynamicValue::TEXT: {
      const auto text = value.as<capnp::Text>();
      json_.bytes_as_text({text.begin(), text.size()});
      return;
    }
    case DynamicValue::DATA:
      write_data(value.as<capnp::Data>(), form);
      return;
    case DynamicValue::ENUM:
      write_enum(value.as<capnp::DynamicEnum>());
      return;
    case DynamicValue::STRUCT:
      write_struct(value.as<DynamicStruct>());
      return;
    case DynamicValue::LIST:
      write_list(value.as<capnp::DynamicList>(), form);
      return;
    case DynamicValue::FLOAT: // no schema of the project has one
    case DynamicValue::UNKNOWN:
    case DynamicValue::VOID:
    case DynamicValue::CAPABILITY:
    case DynamicValue::ANY_POINTER:
      json_.null();
      return;
    }
  }

  void write_data(capnp::Data::Reader data, DataForm form) {
    if (form == DataForm::kText) {
      json_.bytes_as_text(view_of(data));
    } else {
      json_.string(to_hex(view_of(data)));
    }
  }

  void write_enum(capnp::DynamicEnum value) {
    KJ_IF_MAYBE (enumerant, value.getEnumerant()) {
      json_.string(enumerant->getProto().getName().cStr());
    } else {
      json_.number(value.getRaw());
    }
  }

  JsonSink& json_;
};

} // namespace

DataForm data_form(capnp::StructSchema::Field field) {
  for (const auto annotation : field.getProto().getAnnotations()) {
    if (annotation.getId() == kTextAnnotation) {
      return DataForm::kText;
    }
  }
  return DataForm::kHex;
}

std::optional<std::uint16_t> unknown_union_tag(DynamicStruct::Reader value) {
  if (value.getSchema().getUnionFields().size() == 0) {
    return std::nullopt;
  }
  KJ_IF_MAYBE (field, value.which()) {
    (void)field;
    return std::nullopt;
  }
  const std::size_t offset =
      value.getSchema().getProto().getStruct().getDiscriminantOffset() * sizeof(std::uint16_t);
  const auto data = value.as<capnp::AnyStruct>().getDataSection();
  if (data.size() < offset + 2) {
    return 0;
  }
  return static_cast<std::uint16_t>(data[offset] | data[offset + 1] << 8);
}

void write_message(JsonSink& json, DynamicStruct::Reader value) {
  MessageWriter(json).write_struct(value);
}

std::string message_json(DynamicStruct::Reader value) {
  JsonText json;
  write_message(json, value);
  return json.take();
}

std::string message_json(capnp::DynamicList::Reader value, DataForm form) {
  JsonText json;
  MessageWriter(json).write_list(value, form);
  return json.take();
}

} // namespace rrpcp
