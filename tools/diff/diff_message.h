// Comparing two messages field by field, by reflection.
#pragma once

#include "diff/diff_report.h"

#include <capnp/dynamic.h>
#include <functional>
#include <string>
#include <string_view>

namespace rrpcp::tools {

// Compares structs of the same type and reports every difference, except in fields for which
// `handle` returns true: those are compared elsewhere. Lists of structs are matched by what
// identifies their elements (spec/model.md says for most how they are ordered), others by index.
// Absent structs and ones with default values are different; absent and empty lists are not.
class MessageDiff {
public:
  using Struct = capnp::DynamicStruct::Reader;
  // Gets "Type.field" (for a field of a group "Type.group.field") and both structs.
  using Handle = std::function<bool(std::string_view field, const Place&, Struct a, Struct b)>;

  MessageDiff(DiffReport& report, Handle handle) : report_(report), handle_(std::move(handle)) {}

  void compare(const Place& place, Struct a, Struct b) const;

private:
  void compare_field(const Place& place, const std::string& type, Struct a, Struct b,
                     capnp::StructSchema::Field field) const;
  void compare_struct(const Place& place, const std::string& type, Struct a, Struct b) const;
  void compare_values(const Place& place, const std::string& type, capnp::StructSchema::Field field,
                      capnp::DynamicValue::Reader a, capnp::DynamicValue::Reader b) const;
  void compare_lists(const Place& place, capnp::StructSchema::Field field,
                     capnp::DynamicList::Reader a, capnp::DynamicList::Reader b) const;

  DiffReport& report_;
  Handle handle_;
};

// What identifies a struct among others in a list, as text: the fd of a descriptor, the tid of a
// task. Empty where only its index does.
std::string identity_of(capnp::DynamicStruct::Reader element);

// "clearChildTid" → "clear child tid".
std::string in_words(std::string_view camel_case);

// The last part of a struct's name: "Task", "Mapping".
std::string type_name(capnp::StructSchema schema);

} // namespace rrpcp::tools
