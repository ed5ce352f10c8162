#include "legacy/compare_messages.h"

#include "base/file.h"
#include "legacy/legacy_message.h"

#include <capnp/dynamic.h>
#include <capnp/schema.h>

namespace rrpcp::compat {

namespace {

using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;

std::string compare(DynamicValue::Reader left, DynamicValue::Reader right, const std::string& path);

std::string compare(DynamicStruct::Reader left, DynamicStruct::Reader right,
                    const std::string& path) {
  const auto schema = left.getSchema();
  const auto name_of = [&](capnp::StructSchema::Field field) {
    return (path.empty() ? "" : path + ".") + field.getProto().getName().cStr();
  };
  const auto left_member = left.which();
  const auto right_member = right.which();
  KJ_IF_MAYBE (member, left_member) {
    KJ_IF_MAYBE (other, right_member) {
      if (!(*member == *other)) {
        return name_of(*member);
      }
      const std::string found = compare(left.get(*member), right.get(*other), name_of(*member));
      if (!found.empty()) {
        return found;
      }
    }
  }
  for (const auto field : schema.getNonUnionFields()) {
    const std::string found = compare(left.get(field), right.get(field), name_of(field));
    if (!found.empty()) {
      return found;
    }
  }
  return {};
}

std::string compare(DynamicList::Reader left, DynamicList::Reader right, const std::string& path) {
  if (left.size() != right.size()) {
    return path + " (length)";
  }
  for (unsigned i = 0; i < left.size(); ++i) {
    const std::string found = compare(left[i], right[i], path + "[" + std::to_string(i) + "]");
    if (!found.empty()) {
      return found;
    }
  }
  return {};
}

std::string compare(DynamicValue::Reader left, DynamicValue::Reader right,
                    const std::string& path) {
  switch (left.getType()) {
  case DynamicValue::STRUCT:
    return compare(left.as<DynamicStruct>(), right.as<DynamicStruct>(), path);
  case DynamicValue::LIST:
    return compare(left.as<DynamicList>(), right.as<DynamicList>(), path);
  case DynamicValue::DATA: {
    std::string_view mine = text(left.as<capnp::Data>());
    std::string_view theirs = text(right.as<capnp::Data>());
    if (path.ends_with("contentsPath")) {
      mine = base_name(mine);
      theirs = base_name(theirs);
    }
    return mine == theirs ? "" : path;
  }
  case DynamicValue::VOID:
    return {};
  case DynamicValue::BOOL:
    return left.as<bool>() == right.as<bool>() ? "" : path;
  case DynamicValue::INT:
    return left.as<std::int64_t>() == right.as<std::int64_t>() ? "" : path;
  case DynamicValue::UINT:
    return left.as<std::uint64_t>() == right.as<std::uint64_t>() ? "" : path;
  case DynamicValue::ENUM:
    return left.as<capnp::DynamicEnum>().getRaw() == right.as<capnp::DynamicEnum>().getRaw() ? ""
                                                                                             : path;
  default:
    return path;
  }
}

} // namespace

namespace {

// A pointer of its own, which may be null.
bool is_pointer(capnp::StructSchema::Field field) {
  const capnp::Type type = field.getType();
  return field.getProto().isSlot() &&
         (type.isStruct() || type.isList() || type.isData() || type.isText());
}

void compare_presence(DynamicStruct::Reader left, DynamicStruct::Reader right,
                      const std::string& path, std::vector<std::string>& out) {
  const auto look = [&](capnp::StructSchema::Field field) {
    const std::string name = (path.empty() ? "" : path + ".") + field.getProto().getName().cStr();
    if (is_pointer(field) && left.has(field) != right.has(field)) {
      out.push_back(name);
      if (!left.has(field)) {
        return; // nothing is in it
      }
    }
    const auto mine = left.get(field);
    const auto theirs = right.get(field);
    if (mine.getType() == DynamicValue::STRUCT) {
      compare_presence(mine.as<DynamicStruct>(), theirs.as<DynamicStruct>(), name, out);
    } else if (mine.getType() == DynamicValue::LIST &&
               field.getType().asList().getElementType().isStruct()) {
      const auto list = mine.as<DynamicList>();
      const auto other = theirs.as<DynamicList>();
      for (unsigned i = 0; i < list.size() && i < other.size(); ++i) {
        compare_presence(list[i].as<DynamicStruct>(), other[i].as<DynamicStruct>(),
                         name + "[" + std::to_string(i) + "]", out);
      }
    }
  };
  for (const auto field : left.getSchema().getNonUnionFields()) {
    look(field);
  }
  KJ_IF_MAYBE (arm, left.which()) {
    KJ_IF_MAYBE (other, right.which()) {
      if (*arm == *other) {
        look(*arm);
      }
    }
  }
}

} // namespace

std::vector<std::string> presence_differences(legacy::rr2025::CheckpointInfo::Reader left,
                                              legacy::rr2025::CheckpointInfo::Reader right) {
  std::vector<std::string> paths;
  compare_presence(DynamicStruct::Reader(left), DynamicStruct::Reader(right), {}, paths);
  return paths;
}

std::string first_difference(legacy::rr2025::CheckpointInfo::Reader left,
                             legacy::rr2025::CheckpointInfo::Reader right) {
  std::string found =
      compare(DynamicStruct::Reader(left), DynamicStruct::Reader(right), std::string());
  if (found.empty()) {
    const auto presence = presence_differences(left, right);
    found = presence.empty() ? std::string() : presence.front() + " (presence)";
  }
  return found;
}

} // namespace rrpcp::compat
