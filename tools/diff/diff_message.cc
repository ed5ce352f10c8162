#include "diff/diff_message.h"

#include "common/names.h"
#include "common/text.h"
#include "rrpcp/message_json.h"
#include "rrpcp/schema/memory.capnp.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

namespace rrpcp::tools {
namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;

struct Key {
  std::string_view type;
  std::array<const char*, 2> fields;
};

// Fields by which elements of lists are matched.
constexpr Key kKeys[] = {
    {"AuxiliaryEntry", {"type", nullptr}},
    {"CpuidLeaf", {"leaf", "subleaf"}},
    {"EpollWatch", {"fd", nullptr}},
    {"Extension", {"id", nullptr}},
    {"FileDescriptor", {"fd", nullptr}},
    {"FileMonitor", {"fd", nullptr}},
    {"IntervalTimer", {"timer", nullptr}},
    {"MappedFile", {"device", "inode"}},
    {"Mapping", {"start", nullptr}},
    {"PosixTimer", {"id", nullptr}},
    {"Process", {"pid", nullptr}},
    {"RangeDigest", {"offset", nullptr}},
    {"RegisterSet", {"noteType", nullptr}},
    {"ResourceLimit", {"resource", nullptr}},
    {"SavedMemory", {"address", nullptr}},
    {"SignalAction", {"signal", nullptr}},
    {"StreamCursor", {"stream", nullptr}},
    {"Task", {"tid", nullptr}},
    {"ThreadArea", {"entryNumber", nullptr}},
    {"XsaveComponent", {"number", nullptr}},
};

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return name.ends_with(end); });
}

// Whether people read the numbers of the field in hexadecimal.
bool is_hexadecimal(std::string_view field) {
  return ends_with_any(field, {"ddress",
                               "start",
                               "end",
                               "lags",
                               "Tid",
                               "brk",
                               "Brk",
                               "Stack",
                               "Head",
                               "Code",
                               "Data",
                               "Start",
                               "End",
                               "handler",
                               "restorer",
                               "Globals",
                               "upper",
                               "lower",
                               "returnAddresses",
                               "Capabilities",
                               "Register",
                               "eax",
                               "ebx",
                               "ecx",
                               "edx",
                               "hwcap",
                               "hwcap2",
                               "high",
                               "low",
                               "personality",
                               "signature",
                               "protection",
                               "xsaveFeatures"}) &&
         !ends_with_any(field, {"ownNamespaceTid"});
}

std::string number_text(std::string_view field, std::uint64_t value) {
  return is_hexadecimal(field) && value > 9
             ? format_text("0x%llx", static_cast<unsigned long long>(value))
             : std::to_string(value);
}

// A value as JSON and for people.
struct Shown {
  Json json;
  std::string text;
};

std::string quoted(const Json& value) {
  return value.is_string() ? "'" + printable(value.get<std::string>()) + "'" : value.dump();
}

// Whether a number of the field (or of its list) has 64 bits.
bool is_wide(capnp::StructSchema::Field of) {
  const capnp::Type type =
      of.getType().isList() ? of.getType().asList().getElementType() : of.getType();
  return type.isInt64() || type.isUInt64();
}

Shown show(capnp::StructSchema::Field of, DynamicValue::Reader value) {
  const std::string_view field = of.getProto().getName().cStr();
  switch (value.getType()) {
  case DynamicValue::BOOL:
    return {value.as<bool>(), value.as<bool>() ? "yes" : "no"};
  case DynamicValue::INT: {
    const auto number = value.as<std::int64_t>();
    return {is_wide(of) ? Json(number) : Json(static_cast<std::int32_t>(number)),
            number < 0 ? std::to_string(number)
                       : number_text(field, static_cast<std::uint64_t>(number))};
  }
  case DynamicValue::UINT: {
    const auto number = value.as<std::uint64_t>();
    const bool set = ends_with_any(field, {"signalMask", "SignalMask"}) || field == "mask";
    return {is_wide(of) ? Json(number) : Json(static_cast<std::uint32_t>(number)),
            set ? signal_set(number) : number_text(field, number)};
  }
  case DynamicValue::FLOAT:
    return {value.as<double>(), format_text("%g", value.as<double>())};
  case DynamicValue::TEXT: {
    const auto text = value.as<capnp::Text>();
    const Json json = json_bytes_as_text({text.begin(), text.size()});
    return {json, quoted(json)};
  }
  case DynamicValue::ENUM: {
    const std::string name = enum_name(value.as<capnp::DynamicEnum>());
    return {name, name};
  }
  default:
    return {nullptr, "?"};
  }
}

bool equal_scalars(DynamicValue::Reader a, DynamicValue::Reader b) {
  if (a.getType() != b.getType()) {
    return false;
  }
  switch (a.getType()) {
  case DynamicValue::BOOL:
    return a.as<bool>() == b.as<bool>();
  case DynamicValue::INT:
    return a.as<std::int64_t>() == b.as<std::int64_t>();
  case DynamicValue::UINT:
    return a.as<std::uint64_t>() == b.as<std::uint64_t>();
  case DynamicValue::FLOAT:
    return a.as<double>() == b.as<double>();
  case DynamicValue::TEXT:
    return a.as<capnp::Text>() == b.as<capnp::Text>();
  case DynamicValue::ENUM:
    return a.as<capnp::DynamicEnum>().getRaw() == b.as<capnp::DynamicEnum>().getRaw();
  default:
    return true;
  }
}

std::string text_of(capnp::Data::Reader data) {
  return std::string(data.asChars().begin(), data.size());
}

void compare_data(DiffReport& report, const Place& place, capnp::StructSchema::Field field,
                  capnp::Data::Reader a, capnp::Data::Reader b) {
  if (a == b) {
    return;
  }
  if (data_form(field) == DataForm::kText) {
    const Json left = json_bytes_as_text(text_of(a));
    const Json right = json_bytes_as_text(text_of(b));
    report.changed(place, left, right, quoted(left), quoted(right));
    return;
  }
  const auto bytes = [](capnp::Data::Reader data, std::size_t from, std::size_t count) {
    const std::size_t n = std::min(count, data.size() - std::min(from, data.size()));
    return hex(std::span(data.begin() + std::min(from, data.size()), n));
  };
  std::size_t first = 0;
  while (first < a.size() && first < b.size() && a[first] == b[first]) {
    ++first;
  }
  constexpr std::size_t kShown = 16;
  const auto shown = [&](capnp::Data::Reader data) {
    if (first == 0 && data.size() <= kShown) {
      return data.size() == 0 ? std::string("nothing") : bytes(data, 0, kShown);
    }
    const std::string excerpt = bytes(data, first, kShown);
    return format_text("%zu bytes, at %zu: ", data.size(), first) +
           (excerpt.empty() ? "end" : excerpt);
  };
  report.changed(place, bytes(a, 0, a.size()), bytes(b, 0, b.size()), shown(a), shown(b));
}

// Elements of a list by identity; several with the same one are told apart by "#2", "#3", ….
std::vector<std::pair<std::string, DynamicStruct::Reader>> by_identity(DynamicList::Reader list) {
  std::vector<std::pair<std::string, DynamicStruct::Reader>> elements;
  std::map<std::string, unsigned> seen;
  for (const DynamicValue::Reader value : list) {
    const auto element = value.as<DynamicStruct>();
    std::string identity = identity_of(element);
    const unsigned times = ++seen[identity];
    if (identity.empty() || times > 1) {
      identity += "#" + std::to_string(times);
    }
    elements.emplace_back(std::move(identity), element);
  }
  return elements;
}

std::string mapping_words(schema::Mapping::Reader mapping) {
  const std::string name = printable(text_of(mapping.getName()));
  return format_text("0x%llx-0x%llx %s", static_cast<unsigned long long>(mapping.getStart()),
                     static_cast<unsigned long long>(mapping.getEnd()),
                     permissions(mapping.getProtection(), mapping.getFlags()).c_str()) +
         (name.empty() ? "" : " " + name);
}

// What a person calls an element with this identity.
std::string element_words(DynamicStruct::Reader element, const std::string& identity) {
  const std::string type = type_name(element.getSchema());
  std::uint64_t number = 0;
  const bool numeric =
      !identity.empty() && identity.find_first_not_of("0123456789") == std::string::npos;
  if (numeric) {
    number = std::stoull(identity);
  }
  if (type == "RegisterSet" && numeric) {
    return note_name(static_cast<std::uint32_t>(number));
  }
  if (type == "SignalAction" && numeric) {
    return signal_name(static_cast<std::int64_t>(number));
  }
  if (type == "AuxiliaryEntry" && numeric) {
    return auxiliary_name(number);
  }
  if (type == "Mapping") {
    return mapping_words(element.as<schema::Mapping>());
  }
  if (type == "SavedMemory" && numeric) {
    return format_text("0x%llx", static_cast<unsigned long long>(number));
  }
  return identity;
}

} // namespace

std::string type_name(capnp::StructSchema schema) {
  const std::string_view name = schema.getShortDisplayName().cStr();
  return std::string(name.substr(name.find_last_of(".:") + 1));
}

std::string in_words(std::string_view camel_case) {
  std::string words;
  for (const char c : camel_case) {
    if (c >= 'A' && c <= 'Z') {
      words += ' ';
      words += static_cast<char>(c + 32);
    } else {
      words += c;
    }
  }
  return words;
}

std::string identity_of(DynamicStruct::Reader element) {
  const std::string type = type_name(element.getSchema());
  for (const Key& key : kKeys) {
    if (key.type != type) {
      continue;
    }
    std::string text;
    for (const char* field : key.fields) {
      if (field == nullptr) {
        continue;
      }
      const DynamicValue::Reader value = element.get(field);
      std::string part;
      if (value.getType() == DynamicValue::TEXT) {
        part = printable(value.as<capnp::Text>().cStr());
      } else if (value.getType() == DynamicValue::INT) {
        part = std::to_string(value.as<std::int64_t>());
      } else {
        part = std::to_string(value.as<std::uint64_t>());
      }
      text += (text.empty() ? "" : ",") + part;
    }
    return text;
  }
  return {};
}

void MessageDiff::compare(const Place& place, Struct a, Struct b) const {
  compare_struct(place, type_name(a.getSchema()), a, b);
}

void MessageDiff::compare_struct(const Place& place, const std::string& type, Struct a,
                                 Struct b) const {
  for (const auto field : a.getSchema().getNonUnionFields()) {
    compare_field(place, type, a, b, field);
  }
  if (a.getSchema().getUnionFields().size() == 0) {
    return;
  }
  const auto arm_name = [](Struct value) {
    KJ_IF_MAYBE (arm, value.which()) {
      return std::string(arm->getProto().getName().cStr());
    }
    return unknown_name(unknown_union_tag(value).value_or(0));
  };
  if (arm_name(a) != arm_name(b)) {
    report_.changed(place.part("kind", "which"), arm_name(a), arm_name(b), in_words(arm_name(a)),
                    in_words(arm_name(b)));
    return;
  }
  KJ_IF_MAYBE (arm, a.which()) {
    if (arm->getProto().isGroup() || !arm->getType().isVoid()) {
      compare_field(place, type, a, b, *arm);
    }
  }
}

void MessageDiff::compare_field(const Place& place, const std::string& type, Struct a, Struct b,
                                capnp::StructSchema::Field field) const {
  const std::string name = field.getProto().getName().cStr();
  const std::string full_name = type + "." + name;
  if (handle_(full_name, place, a, b)) {
    return;
  }
  const bool register_sets = name == "registers"; // their names say enough
  const Place at = place.part(register_sets ? "" : in_words(name), name);
  if (field.getProto().isSlot() && field.getType().isStruct()) {
    if (!a.has(field) && !b.has(field)) {
      return;
    }
    if (!b.has(field)) {
      report_.only_in_a(at);
      return;
    }
    if (!a.has(field)) {
      report_.only_in_b(at);
      return;
    }
  }
  if (field.getProto().isGroup()) {
    compare_struct(at, full_name, a.get(field).as<DynamicStruct>(),
                   b.get(field).as<DynamicStruct>());
    return;
  }
  compare_values(at, {}, field, a.get(field), b.get(field));
}

void MessageDiff::compare_values(const Place& place, const std::string& type,
                                 capnp::StructSchema::Field field, DynamicValue::Reader a,
                                 DynamicValue::Reader b) const {
  switch (a.getType()) {
  case DynamicValue::STRUCT: {
    const auto left = a.as<DynamicStruct>();
    compare_struct(place, type.empty() ? type_name(left.getSchema()) : type, left,
                   b.as<DynamicStruct>());
    return;
  }
  case DynamicValue::LIST:
    compare_lists(place, field, a.as<DynamicList>(), b.as<DynamicList>());
    return;
  case DynamicValue::DATA:
    compare_data(report_, place, field, a.as<capnp::Data>(), b.as<capnp::Data>());
    return;
  default:
    if (!equal_scalars(a, b)) {
      const Shown left = show(field, a);
      const Shown right = show(field, b);
      report_.changed(place, left.json, right.json, left.text, right.text);
    }
  }
}

void MessageDiff::compare_lists(const Place& place, capnp::StructSchema::Field field,
                                DynamicList::Reader a, DynamicList::Reader b) const {
  if (!a.getSchema().whichElementType() ||
      a.getSchema().whichElementType() != capnp::schema::Type::STRUCT) {
    for (unsigned i = 0; i < std::max(a.size(), b.size()); ++i) {
      const std::string index = std::to_string(i);
      const Place at = place.part(index, "[" + index + "]");
      if (i >= b.size()) {
        report_.only_in_a(at);
      } else if (i >= a.size()) {
        report_.only_in_b(at);
      } else {
        compare_values(at, {}, field, a[i], b[i]);
      }
    }
    return;
  }
  const auto left = by_identity(a);
  auto right = by_identity(b);
  std::map<std::string, DynamicStruct::Reader> rest(right.begin(), right.end());
  for (const auto& [identity, element] : left) {
    const Place at = place.part(element_words(element, identity), "[" + identity + "]");
    const auto found = rest.find(identity);
    if (found == rest.end()) {
      report_.only_in_a(at);
    } else {
      compare(at, element, found->second);
      rest.erase(found);
    }
  }
  for (const auto& [identity, element] : right) {
    if (rest.count(identity) != 0) {
      report_.only_in_b(place.part(element_words(element, identity), "[" + identity + "]"));
    }
  }
}

} // namespace rrpcp::tools
