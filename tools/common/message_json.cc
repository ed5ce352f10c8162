#include "common/message_json.h"

#include "common/text.h"

#include <algorithm>
#include <array>
#include <capnp/any.h>

namespace rrpcp::tools {
namespace {

using capnp::DynamicStruct;
using capnp::DynamicValue;

// The bytes of paths and names, which are text more often than not.
constexpr std::array<std::string_view, 18> kTextFields = {"arguments",
                                                          "clonedFileDataPath",
                                                          "commandLine",
                                                          "controlGroups",
                                                          "domainName",
                                                          "environment",
                                                          "executable",
                                                          "executablePath",
                                                          "legacyPageFile",
                                                          "name",
                                                          "nodeName",
                                                          "originalDirectory",
                                                          "originalExecutable",
                                                          "path",
                                                          "rootDirectory",
                                                          "securityLabel",
                                                          "where",
                                                          "workingDirectory"};

std::string_view view_of(capnp::Data::Reader data) {
  return {data.asChars().begin(), data.size()};
}

class MessageWriter {
public:
  explicit MessageWriter(JsonWriter& json) : json_(json) {}

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

private:
  static bool is_void(capnp::StructSchema::Field field) {
    return field.getProto().isSlot() && field.getType().isVoid();
  }

  void write_field(DynamicStruct::Reader value, capnp::StructSchema::Field field) {
    const std::string_view name = field.getProto().getName().cStr();
    json_.key(name);
    const bool absent =
        field.getProto().isSlot() && field.getType().isStruct() && !value.has(field);
    if (absent) {
      json_.null();
    } else {
      write_value(value.get(field), name);
    }
  }

  void write_value(DynamicValue::Reader value, std::string_view field) {
    switch (value.getType()) {
    case DynamicValue::BOOL:
      json_.boolean(value.as<bool>());
      return;
    case DynamicValue::INT:
      json_.signed_number(value.as<std::int64_t>());
      return;
    case DynamicValue::UINT:
      json_.number(value.as<std::uint64_t>());
      return;
    case DynamicValue::FLOAT:
      json_.value(value.as<double>());
      return;
    case DynamicValue::TEXT: {
      const auto text = value.as<capnp::Text>();
      json_.bytes_as_text({text.begin(), text.size()});
      return;
    }
    case DynamicValue::DATA:
      write_data(value.as<capnp::Data>(), field);
      return;
    case DynamicValue::ENUM:
      write_enum(value.as<capnp::DynamicEnum>());
      return;
    case DynamicValue::STRUCT:
      write_struct(value.as<DynamicStruct>());
      return;
    case DynamicValue::LIST:
      json_.begin_array();
      for (const DynamicValue::Reader element : value.as<capnp::DynamicList>()) {
        write_value(element, field);
      }
      json_.end_array();
      return;
    case DynamicValue::UNKNOWN:
    case DynamicValue::VOID:
    case DynamicValue::CAPABILITY:
    case DynamicValue::ANY_POINTER:
      json_.null();
      return;
    }
  }

  void write_data(capnp::Data::Reader data, std::string_view field) {
    if (data_form(field) == DataForm::kText) {
      json_.bytes_as_text(view_of(data));
    } else {
      json_.string(hex(std::span(data.begin(), data.size())));
    }
  }

  void write_enum(capnp::DynamicEnum value) {
    KJ_IF_MAYBE (enumerant, value.getEnumerant()) {
      json_.string(enumerant->getProto().getName().cStr());
    } else {
      json_.number(value.getRaw());
    }
  }

  JsonWriter& json_;
};

} // namespace

DataForm data_form(std::string_view field) {
  const bool text = std::find(kTextFields.begin(), kTextFields.end(), field) != kTextFields.end();
  return text ? DataForm::kText : DataForm::kHex;
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

void write_message(JsonWriter& json, DynamicStruct::Reader value) {
  MessageWriter(json).write_struct(value);
}

} // namespace rrpcp::tools
