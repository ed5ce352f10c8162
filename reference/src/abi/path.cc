#include "abi/path.h"

#include "rrpcp/error.h"

#include <capnp/schema.capnp.h>
#include <charconv>

namespace rrpcp::abi {

namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;
using capnp::StructSchema;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, what);
}

StructSchema::Field field_of(StructSchema schema, const std::string& name) {
  KJ_IF_MAYBE (field, schema.findFieldByName(name.c_str())) {
    return *field;
  }
  const std::string full = schema.getProto().getDisplayName();
  fail("there is no field '" + name + "' in " + full.substr(full.rfind(':') + 1));
}

bool in_union(StructSchema::Field field) {
  return field.getProto().getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT;
}

template <typename Struct> bool is_set(Struct& value, StructSchema::Field field) {
  if (!in_union(field)) {
    return true;
  }
  KJ_IF_MAYBE (arm, value.which()) {
    return *arm == field;
  }
  return false;
}

bool is_pointer(capnp::Type type) {
  return type.isStruct() || type.isList() || type.isText() || type.isData();
}

unsigned checked_index(const PathStep& step, unsigned index, unsigned size) {
  if (index >= size) {
    fail(step.name + "[" + std::to_string(index) + "] is not there: the list has " +
         std::to_string(size) + (size == 1 ? " entry" : " entries"));
  }
  return index;
}

} // namespace

std::vector<PathStep> parse_path(std::string_view path) {
  std::vector<PathStep> steps;
  std::size_t at = 0;
  while (at < path.size()) {
    PathStep step;
    while (at < path.size() && path[at] != '.' && path[at] != '[') {
      step.name += path[at++];
    }
    while (at < path.size() && path[at] == '[') {
      unsigned index = 0;
      const auto [end, status] =
          std::from_chars(path.data() + at + 1, path.data() + path.size(), index);
      if (status != std::errc() || end == path.data() + path.size() || *end != ']') {
        fail("'" + std::string(path) + "' is no path of a field: an index is a number in brackets");
      }
      step.indexes.push_back(index);
      at = static_cast<std::size_t>(end - path.data()) + 1;
    }
    if (step.name.empty() || (at < path.size() && path[at] != '.') || at + 1 == path.size()) {
      fail("'" + std::string(path) + "' is no path of a field");
    }
    ++at;
    steps.push_back(std::move(step));
  }
  return steps;
}

FoundValue find_value(DynamicStruct::Reader root, std::string_view path) {
  FoundValue found{root, capnp::Type(root.getSchema()), {}, true, false};
  for (const PathStep& step : parse_path(path)) {
    if (found.which || found.value.getType() != DynamicValue::STRUCT) {
      fail("'" + std::string(path) + "': " + step.name + " stands behind what is no struct");
    }
    const auto parent = found.value.as<DynamicStruct>();
    if (step.name == kWhich && step.indexes.empty() &&
        parent.getSchema().getUnionFields().size() != 0) {
      found.which = true;
      continue;
    }
    const StructSchema::Field field = field_of(parent.getSchema(), step.name);
    found.field = field;
    found.type = field.getType();
    found.present = is_set(parent, field);
    if (!found.present) {
      found.value = DynamicValue::Reader(); // can be asked for, not read
      continue;
    }
    if (field.getProto().isSlot() && is_pointer(found.type)) {
      found.present = parent.has(field);
    }
    found.value = parent.get(field);
    for (const unsigned index : step.indexes) {
      if (!found.type.isList()) {
        fail("'" + std::string(path) + "': " + step.name + " is no list");
      }
      const auto list = found.value.as<DynamicList>();
      found.value = list[checked_index(step, index, list.size())];
      found.type = found.type.asList().getElementType();
      found.present = true;
    }
  }
  return found;
}

void WritePlace::set(const DynamicValue::Reader& value) {
  if (list) {
    list->set(index, value);
  } else {
    parent->set(*field, value);
  }
}

DynamicStruct::Builder WritePlace::get_struct() {
  if (!type.isStruct()) {
    fail(std::string(field->getProto().getName().cStr()) + " is no struct");
  }
  if (list) {
    return (*list)[index].as<DynamicStruct>();
  }
  if (!is_set(*parent, *field)) {
    return parent->init(*field).as<DynamicStruct>();
  }
  return parent->get(*field).as<DynamicStruct>();
}

DynamicStruct::Builder WritePlace::init_struct() {
  if (!type.isStruct()) {
    fail(std::string(field->getProto().getName().cStr()) + " is no struct");
  }
  if (list) {
    return (*list)[index].as<DynamicStruct>();
  }
  return parent->init(*field).as<DynamicStruct>();
}

DynamicList::Builder WritePlace::init_list(unsigned size) {
  if (!type.isList()) {
    fail(std::string(field->getProto().getName().cStr()) + " is no list");
  }
  return list ? list->init(index, size).as<DynamicList>()
              : parent->init(*field, size).as<DynamicList>();
}

WritePlace find_place(DynamicStruct::Builder root, std::string_view path) {
  const std::vector<PathStep> steps = parse_path(path);
  if (steps.empty()) {
    fail("a path of a field is missing");
  }
  WritePlace place;
  for (std::size_t s = 0; s < steps.size(); ++s) {
    const PathStep& step = steps[s];
    const DynamicStruct::Builder parent = s == 0 ? root : place.get_struct();
    place = WritePlace();
    place.parent = parent;
    place.field = field_of(parent.getSchema(), step.name);
    place.type = place.field->getType();
    for (const unsigned index : step.indexes) {
      if (!place.type.isList()) {
        fail("'" + std::string(path) + "': " + step.name + " is no list");
      }
      if (!place.list && !is_set(*place.parent, *place.field)) {
        fail("'" + std::string(path) + "': " + step.name + " is an arm that is not set");
      }
      auto list = place.list ? (*place.list)[place.index].as<DynamicList>()
                             : place.parent->get(*place.field).as<DynamicList>();
      place.index = checked_index(step, index, list.size());
      place.list = list;
      place.type = place.type.asList().getElementType();
    }
  }
  return place;
}

DynamicStruct::Builder find_struct(DynamicStruct::Builder root, std::string_view path) {
  return path.empty() ? root : find_place(root, path).get_struct();
}

} // namespace rrpcp::abi
