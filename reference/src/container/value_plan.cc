#include "container/value_plan.h"

#include "rrpcp/format.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <algorithm>
#include <array>
#include <capnp/schema.capnp.h>
#include <cstring>
#include <iterator>

namespace rrpcp {

namespace {

// Annotations of schema/common.capnp.
constexpr std::uint64_t kText = 0xec9df113c2505aa9;
constexpr std::uint64_t kNotNegative = 0x8bdccbb6900a07e7;
constexpr std::uint64_t kRequired = 0xf42719b1e1b12890;
constexpr std::uint64_t kSince = 0xb5a7c0e19d3f4b26;

bool has_annotation(capnp::schema::Field::Reader field, std::uint64_t id) {
  for (const auto annotation : field.getAnnotations()) {
    if (annotation.getId() == id) {
      return true;
    }
  }
  return false;
}

// The minor version that brought a field or an enumerant.
template <typename Thing> std::uint16_t since(Thing thing) {
  for (const auto annotation : thing.getAnnotations()) {
    if (annotation.getId() == kSince) {
      return annotation.getValue().getUint16();
    }
  }
  return 0;
}

// Enumerants that a minor version has: later ones have higher numbers.
unsigned enumerants_of(capnp::EnumSchema schema, std::uint16_t minor) {
  unsigned count = 0;
  for (const auto enumerant : schema.getEnumerants()) {
    count += since(enumerant.getProto()) <= minor ? 1 : 0;
  }
  return count;
}

// 0 for what lies in the pointer section.
unsigned bits_of(capnp::schema::Type::Which type) {
  using Type = capnp::schema::Type;
  switch (type) {
  case Type::BOOL:
    return 1;
  case Type::INT8:
  case Type::UINT8:
    return 8;
  case Type::INT16:
  case Type::UINT16:
  case Type::ENUM:
    return 16;
  case Type::INT32:
  case Type::UINT32:
  case Type::FLOAT32:
    return 32;
  case Type::INT64:
  case Type::UINT64:
  case Type::FLOAT64:
    return 64;
  default:
    return 0;
  }
}

bool is_signed(capnp::schema::Type::Which type) {
  using Type = capnp::schema::Type;
  return type == Type::INT8 || type == Type::INT16 || type == Type::INT32 || type == Type::INT64;
}

PlannedField::Kind kind_of(capnp::schema::Type::Which type) {
  using Type = capnp::schema::Type;
  switch (type) {
  case Type::ENUM:
    return PlannedField::Kind::kEnum;
  case Type::TEXT:
    return PlannedField::Kind::kText;
  case Type::DATA:
    return PlannedField::Kind::kData;
  case Type::STRUCT:
    return PlannedField::Kind::kStruct;
  case Type::LIST:
    return PlannedField::Kind::kList;
  default:
    return PlannedField::Kind::kBits;
  }
}

void set_bits(std::vector<std::uint64_t>& mask, unsigned place, unsigned bits) {
  if (mask.size() <= (place + bits - 1) / 64) {
    mask.resize((place + bits - 1) / 64 + 1);
  }
  const std::uint64_t ones = bits == 64 ? UINT64_MAX : (std::uint64_t{1} << bits) - 1;
  mask[place / 64] |= ones << (place % 64);
}

} // namespace

std::uint64_t bits_at(kj::ArrayPtr<const capnp::byte> data, unsigned place, unsigned bits) {
  const unsigned first = place / 8;
  if (first >= data.size()) {
    return 0;
  }
  std::uint64_t value = 0;
  std::memcpy(&value, data.begin() + first, std::min<std::size_t>(8, data.size() - first));
  value >>= place % 8;
  return bits == 64 ? value : value & ((std::uint64_t{1} << bits) - 1);
}

std::vector<std::uint16_t> union_tags(const ValuePlan& plan, kj::ArrayPtr<const capnp::byte> data) {
  std::vector<std::uint16_t> tags;
  for (const PlannedUnion& planned : plan.unions) {
    tags.push_back(static_cast<std::uint16_t>(bits_at(data, planned.place, 16)));
  }
  return tags;
}

bool is_set(const std::vector<std::pair<unsigned, std::uint16_t>>& arms,
            const std::vector<std::uint16_t>& tags) {
  return std::all_of(arms.begin(), arms.end(), [&](const auto& arm) {
    return arm.first < tags.size() && tags[arm.first] == arm.second;
  });
}

ValuePlans::ValuePlans(capnp::StructSchema root, std::uint16_t minor)
    : minor_(minor), root_(plan(root)) {
  // Whether there is a text somewhere below: until nothing changes, because types may form cycles.
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& plan : plans_) {
      const bool has =
          std::any_of(plan->fields.begin(), plan->fields.end(), [](const PlannedField& field) {
            return field.kind == PlannedField::Kind::kText ||
                   field.element == PlannedField::Kind::kText ||
                   (field.type != nullptr && field.type->has_text);
          });
      changed = changed || has != plan->has_text;
      plan->has_text = has;
    }
  }
}

const ValuePlan& ValuePlans::of(capnp::StructSchema schema) const {
  for (const auto& plan : plans_) {
    if (plan->id == schema.getProto().getId()) {
      return *plan;
    }
  }
  return *root_;
}

const ValuePlans& manifest_plans(std::uint16_t minor) {
  static const auto all = [] {
    std::array<std::unique_ptr<const ValuePlans>, format::kMinorVersion + 1> plans;
    for (std::size_t i = 0; i < plans.size(); ++i) {
      plans[i] = std::make_unique<const ValuePlans>(capnp::Schema::from<schema::Manifest>(),
                                                    static_cast<std::uint16_t>(i));
    }
    return plans;
  }();
  return *all[std::min(minor, format::kMinorVersion)];
}

ValuePlans::~ValuePlans() = default;

const ValuePlan* ValuePlans::plan(capnp::StructSchema schema) {
  const std::uint64_t id = schema.getProto().getId();
  for (const auto& known : plans_) {
    if (known->id == id) {
      return known.get();
    }
  }
  ValuePlan& plan = *plans_.emplace_back(std::make_unique<ValuePlan>());
  plan.id = id;
  plan.name = schema.getShortDisplayName().cStr();
  plan.data_words = schema.getProto().getStruct().getDataWordCount();
  plan.pointers = schema.getProto().getStruct().getPointerCount();
  plan.mask.resize(plan.data_words);
  add_fields(plan, schema, "", {});
  plan.all_pointers.assign(plan.pointers, true);
  for (const unsigned pointer : plan.newer_pointers) {
    plan.all_pointers[pointer] = false;
  }
  std::copy_if(plan.fields.begin(), plan.fields.end(), std::back_inserter(plan.judged),
               [](const PlannedField& field) {
                 return field.kind != PlannedField::Kind::kBits || field.not_negative;
               });
  return &plan;
}

void ValuePlans::add_fields(ValuePlan& plan, capnp::StructSchema schema, const std::string& prefix,
                            std::vector<std::pair<unsigned, std::uint16_t>> arms) {
  const auto layout = schema.getProto().getStruct();
  unsigned own_union = 0;
  if (layout.getDiscriminantCount() != 0) {
    own_union = static_cast<unsigned>(plan.unions.size());
    const unsigned place = layout.getDiscriminantOffset() * 16;
    plan.unions.push_back({place, layout.getDiscriminantCount(), arms});
    if (arms.empty()) {
      set_bits(plan.mask, place, 16);
    }
  }
  for (const capnp::StructSchema::Field in : schema.getFields()) {
    const auto proto = in.getProto();
    auto field_arms = arms;
    if (proto.getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT) {
      field_arms.emplace_back(own_union, proto.getDiscriminantValue());
    }
    const std::string name = prefix + proto.getName().cStr();
    if (proto.isGroup()) {
      add_fields(plan, in.getType().asStruct(), name + ".", field_arms);
      continue;
    }
    const capnp::Type type = in.getType();
    if (type.isVoid()) {
      continue;
    }
    if (since(proto) > minor_) {
      if (bits_of(type.which()) == 0) {
        plan.newer_pointers.push_back(proto.getSlot().getOffset());
      }
      continue;
    }
    PlannedField field;
    field.name = name;
    field.kind = kind_of(type.which());
    field.bits = bits_of(type.which());
    field.place = proto.getSlot().getOffset() * std::max(1u, field.bits);
    field.is_signed = is_signed(type.which());
    field.not_negative = has_annotation(proto, kNotNegative);
    field.is_text = has_annotation(proto, kText);
    field.required = has_annotation(proto, kRequired);
    field.arms = field_arms;
    if (type.isEnum()) {
      field.enumerants = enumerants_of(type.asEnum(), minor_);
    } else if (type.isStruct()) {
      field.type = this->plan(type.asStruct());
    } else if (type.isList()) {
      const capnp::Type element = type.asList().getElementType();
      field.element = kind_of(element.which());
      field.element_bits = bits_of(element.which());
      if (element.isStruct()) {
        field.type = this->plan(element.asStruct());
      }
    }
    if (field.bits != 0 && field_arms.empty()) {
      set_bits(plan.mask, field.place, field.bits);
    }
    plan.fields.push_back(std::move(field));
  }
}

} // namespace rrpcp
