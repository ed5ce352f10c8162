#include "support/random_message.h"

#include <capnp/schema.h>
#include <string>

namespace rrpcp::test {

namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;
using capnp::schema::Type;

// Small, negative and extreme values are as likely as any others.
std::uint64_t number(std::mt19937_64& random) {
  switch (random() % 4) {
  case 0:
    return random() % 4;
  case 1:
    return ~std::uint64_t{0} - random() % 4;
  default:
    return random() >> random() % 64;
  }
}

std::string text(std::mt19937_64& random) {
  std::string out(random() % 12, ' ');
  for (char& c : out) {
    c = static_cast<char>('a' + random() % 26);
  }
  return out;
}

void fill_list(DynamicList::Builder list, std::mt19937_64& random);

// Sets a field or element through `set` (a value) or `init` (a list, by its length).
template <typename SetValue, typename InitStruct, typename InitList>
void fill_value(capnp::Type type, std::mt19937_64& random, SetValue set, InitStruct init_struct,
                InitList init_list) {
  switch (type.which()) {
  case Type::VOID:
    set(capnp::VOID);
    break;
  case Type::BOOL:
    set(random() % 2 == 0);
    break;
  case Type::INT8:
    set(static_cast<std::int8_t>(number(random)));
    break;
  case Type::INT16:
    set(static_cast<std::int16_t>(number(random)));
    break;
  case Type::INT32:
    set(static_cast<std::int32_t>(number(random)));
    break;
  case Type::INT64:
    set(static_cast<std::int64_t>(number(random)));
    break;
  case Type::UINT8:
    set(static_cast<std::uint8_t>(number(random)));
    break;
  case Type::UINT16:
    set(static_cast<std::uint16_t>(number(random)));
    break;
  case Type::UINT32:
    set(static_cast<std::uint32_t>(number(random)));
    break;
  case Type::UINT64:
    set(number(random));
    break;
  case Type::ENUM: {
    auto enumerants = type.asEnum().getEnumerants();
    set(capnp::DynamicEnum(enumerants[static_cast<unsigned>(random() % enumerants.size())]));
    break;
  }
  case Type::TEXT: {
    std::string value = text(random);
    set(capnp::Text::Reader(value.c_str(), value.size()));
    break;
  }
  case Type::DATA: {
    std::string value(random() % 40, '\0');
    for (char& c : value) {
      c = static_cast<char>(random());
    }
    set(capnp::Data::Reader(reinterpret_cast<const capnp::byte*>(value.data()), value.size()));
    break;
  }
  case Type::STRUCT:
    fill_at_random(init_struct(), random);
    break;
  case Type::LIST:
    fill_list(init_list(static_cast<unsigned>(random() % 4)), random);
    break;
  default:
    KJ_FAIL_REQUIRE("the schema has a type that the generator does not know");
  }
}

void fill_list(DynamicList::Builder list, std::mt19937_64& random) {
  for (unsigned i = 0; i < list.size(); ++i) {
    fill_value(
        list.getSchema().getElementType(), random,
        [&](const DynamicValue::Reader& value) { list.set(i, value); },
        [&] { return list[i].as<DynamicStruct>(); },
        [&](unsigned size) { return list.init(i, size).as<DynamicList>(); });
  }
}

void fill_field(DynamicStruct::Builder target, capnp::StructSchema::Field field,
                std::mt19937_64& random) {
  if (field.getProto().isGroup()) {
    fill_at_random(target.init(field).as<DynamicStruct>(), random);
    return;
  }
  capnp::Type type = field.getType();
  const bool is_pointer = type.isStruct() || type.isList() || type.isText() || type.isData();
  if (is_pointer && random() % 4 == 0) {
    return;
  }
  fill_value(
      type, random, [&](const DynamicValue::Reader& value) { target.set(field, value); },
      [&] { return target.init(field).as<DynamicStruct>(); },
      [&](unsigned size) { return target.init(field, size).as<DynamicList>(); });
}

} // namespace

void fill_at_random(DynamicStruct::Builder target, std::mt19937_64& random) {
  capnp::StructSchema schema = target.getSchema();
  for (capnp::StructSchema::Field field : schema.getNonUnionFields()) {
    fill_field(target, field, random);
  }
  auto arms = schema.getUnionFields();
  if (arms.size() > 0) {
    capnp::StructSchema::Field arm = arms[static_cast<unsigned>(random() % arms.size())];
    if (arm.getType().isVoid()) {
      target.set(arm, capnp::VOID);
    } else {
      fill_field(target, arm, random);
    }
  }
}

} // namespace rrpcp::test
