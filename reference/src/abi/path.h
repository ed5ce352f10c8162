// Paths of fields: "tasks[3].registers[0].data".
#pragma once

#include <capnp/dynamic.h>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::abi {

// A name and the indexes behind it.
struct PathStep {
  std::string name;
  std::vector<unsigned> indexes;
};

// Throws Error(kInvalidArgument) for text that is no path. "" has no steps.
std::vector<PathStep> parse_path(std::string_view path);

// The pseudo-field of a union: the name of its arm.
inline constexpr std::string_view kWhich = "which";

// A value that was found, with what the schema says of it.
struct FoundValue {
  capnp::DynamicValue::Reader value;
  capnp::Type type;
  // The field itself, or the list's.
  std::optional<capnp::StructSchema::Field> field;
  // A pointer that is not null, or an arm that is set.
  bool present = true;
  // The path ends in "which": value is the struct with the union.
  bool which = false;
};

// Reads along `path`. Throws Error(kInvalidArgument) for a field, index or arm that is not there,
// and kj::Exception for a malformed message.
FoundValue find_value(capnp::DynamicStruct::Reader root, std::string_view path);

// Where a value is to be set: a field of a struct, or an element of a list.
struct WritePlace {
  std::optional<capnp::DynamicStruct::Builder> parent;
  std::optional<capnp::StructSchema::Field> field;
  std::optional<capnp::DynamicList::Builder> list;
  unsigned index = 0;
  capnp::Type type;

  void set(const capnp::DynamicValue::Reader& value);
  capnp::DynamicStruct::Builder get_struct();
  capnp::DynamicStruct::Builder init_struct();
  capnp::DynamicList::Builder init_list(unsigned size);
};

// Goes along `path`, making the structs and setting the arms on the way; the last step is not
// touched. Throws as find_value(); the path must not be empty.
WritePlace find_place(capnp::DynamicStruct::Builder root, std::string_view path);

// The struct at `path`, made where it is not there; "" is `root`.
capnp::DynamicStruct::Builder find_struct(capnp::DynamicStruct::Builder root,
                                          std::string_view path);

} // namespace rrpcp::abi
