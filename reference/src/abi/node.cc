#include "abi/error.h"
#include "abi/handles.h"
#include "abi/path.h"
#include "rrpcp/message_json.h"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

using namespace rrpcp;
using namespace rrpcp::abi;

namespace {

using capnp::DynamicEnum;
using capnp::DynamicList;
using capnp::DynamicStruct;
using capnp::DynamicValue;

constexpr std::uint64_t kMaxListSize = (std::uint64_t{1} << 29) - 1;

[[noreturn]] void refuse(const char* path, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "'" + std::string(path) + "' " + what);
}

FoundValue find(const rrpcp_node* node, const char* path) {
  require(node, "the node");
  require(path, "the path");
  return find_value(node->reader(), path);
}

// The same for a value that is to be read.
FoundValue read(const rrpcp_node* node, const char* path) {
  FoundValue found = find(node, path);
  if (!found.which && found.value.getType() == DynamicValue::UNKNOWN) {
    refuse(path, "is an arm of a union that is not set");
  }
  return found;
}

DynamicStruct::Builder writable(rrpcp_node* node, const char* path) {
  require(node, "the node");
  require(path, "the path");
  if (!node->writable()) {
    throw Error(ErrorCode::kInvalidArgument, "the fields of an open checkpoint cannot be set");
  }
  return std::get<1>(node->value);
}

template <typename Body>
rrpcp_status set_field(rrpcp_node* node, const char* path, rrpcp_error** error, Body body) {
  return guarded(
      error, [&] { body(find_place(writable(node, path), path)); }, ErrorCode::kInvalidArgument);
}

// The same memory twice: as its user frees it, and ended by a NUL.
char* copy_text(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) {
    throw std::bad_alloc();
  }
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

template <typename Number> Number number_of(const FoundValue& found, const char* path) {
  switch (found.value.getType()) {
  case DynamicValue::BOOL:
    return found.value.as<bool>() ? 1 : 0;
  case DynamicValue::ENUM:
    return found.value.as<DynamicEnum>().getRaw();
  case DynamicValue::INT: {
    const auto value = found.value.as<std::int64_t>();
    if (!std::in_range<Number>(value)) {
      refuse(path, "is " + std::to_string(value) + ", which does not fit");
    }
    return static_cast<Number>(value);
  }
  case DynamicValue::UINT: {
    const auto value = found.value.as<std::uint64_t>();
    if (!std::in_range<Number>(value)) {
      refuse(path, "is " + std::to_string(value) + ", which does not fit");
    }
    return static_cast<Number>(value);
  }
  default:
    refuse(path, "is no number");
  }
}

int kind_of(capnp::Type type) {
  using capnp::schema::Type;
  switch (type.which()) {
  case Type::VOID:
    return RRPCP_KIND_VOID;
  case Type::BOOL:
    return RRPCP_KIND_BOOL;
  case Type::INT8:
  case Type::INT16:
  case Type::INT32:
  case Type::INT64:
    return RRPCP_KIND_INT;
  case Type::UINT8:
  case Type::UINT16:
  case Type::UINT32:
  case Type::UINT64:
    return RRPCP_KIND_UINT;
  case Type::TEXT:
    return RRPCP_KIND_TEXT;
  case Type::DATA:
    return RRPCP_KIND_DATA;
  case Type::ENUM:
    return RRPCP_KIND_ENUM;
  case Type::STRUCT:
    return RRPCP_KIND_STRUCT;
  case Type::LIST:
    return RRPCP_KIND_LIST;
  default:
    throw Error(ErrorCode::kInternal, "the schema has a field of a kind that the interface lacks");
  }
}

// Sets a number in a field of any type that has numbers, within what it has room for.
template <typename Number> void set_number(WritePlace place, const char* path, Number value) {
  using capnp::schema::Type;
  const auto within = [&](auto example) {
    using Field = decltype(example);
    if (!std::in_range<Field>(value)) {
      refuse(path, "has no room for " + std::to_string(value));
    }
    place.set(static_cast<Field>(value));
  };
  switch (place.type.which()) {
  case Type::BOOL:
    if (value != 0 && value != 1) {
      refuse(path, "is 0 or 1");
    }
    place.set(value == 1);
    return;
  case Type::INT8:
    return within(std::int8_t());
  case Type::INT16:
    return within(std::int16_t());
  case Type::INT32:
    return within(std::int32_t());
  case Type::INT64:
    return within(std::int64_t());
  case Type::UINT8:
    return within(std::uint8_t());
  case Type::UINT16:
    return within(std::uint16_t());
  case Type::UINT32:
    return within(std::uint32_t());
  case Type::UINT64:
    return within(std::uint64_t());
  case Type::ENUM:
    if (!std::in_range<std::uint16_t>(value)) {
      refuse(path, "has no room for " + std::to_string(value));
    }
    place.set(DynamicEnum(place.type.asEnum(), static_cast<std::uint16_t>(value)));
    return;
  default:
    refuse(path, "is no number");
  }
}

} // namespace

const rrpcp_node* rrpcp_manifest(const rrpcp_checkpoint* checkpoint) {
  return &checkpoint->root;
}

rrpcp_status rrpcp_get_node(const rrpcp_node* node, const char* path, rrpcp_node** child,
                            rrpcp_error** error) {
  return guarded(error, [&] {
    require(node, "the node");
    require(path, "the path");
    auto result = std::make_unique<rrpcp_node>();
    if (node->writable()) {
      result->value = find_struct(std::get<1>(node->value), path);
    } else {
      const FoundValue found = read(node, path);
      if (found.which || found.value.getType() != DynamicValue::STRUCT) {
        refuse(path, "is no struct");
      }
      result->value = found.value.as<DynamicStruct>();
    }
    *child = result.release();
  });
}

void rrpcp_node_free(rrpcp_node* node) {
  delete node;
}

rrpcp_status rrpcp_get_kind(const rrpcp_node* node, const char* path, int* kind,
                            rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = find(node, path);
    *kind = found.which ? RRPCP_KIND_ENUM : kind_of(found.type);
  });
}

rrpcp_status rrpcp_has(const rrpcp_node* node, const char* path, int* present,
                       rrpcp_error** error) {
  return guarded(error, [&] { *present = find(node, path).present ? 1 : 0; });
}

rrpcp_status rrpcp_get_u64(const rrpcp_node* node, const char* path, uint64_t* value,
                           rrpcp_error** error) {
  return guarded(error, [&] { *value = number_of<std::uint64_t>(read(node, path), path); });
}

rrpcp_status rrpcp_get_i64(const rrpcp_node* node, const char* path, int64_t* value,
                           rrpcp_error** error) {
  return guarded(error, [&] { *value = number_of<std::int64_t>(read(node, path), path); });
}

rrpcp_status rrpcp_get_bytes(const rrpcp_node* node, const char* path, const void** bytes,
                             size_t* size, rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = read(node, path);
    if (found.value.getType() == DynamicValue::TEXT) {
      const auto text = found.value.as<capnp::Text>();
      *bytes = found.present ? text.begin() : nullptr;
      *size = text.size();
    } else if (found.value.getType() == DynamicValue::DATA) {
      const auto data = found.value.as<capnp::Data>();
      *bytes = found.present ? data.begin() : nullptr;
      *size = data.size();
    } else {
      refuse(path, "is neither text nor data");
    }
  });
}

rrpcp_status rrpcp_get_name(const rrpcp_node* node, const char* path, const char** name,
                            rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = read(node, path);
    const char* result = nullptr;
    if (found.which) {
      const auto value = found.value.as<DynamicStruct>();
      KJ_IF_MAYBE (arm, value.which()) {
        result = arm->getProto().getName().cStr();
      }
    } else if (found.value.getType() == DynamicValue::ENUM) {
      const auto value = found.value.as<DynamicEnum>();
      KJ_IF_MAYBE (enumerant, value.getEnumerant()) {
        result = enumerant->getProto().getName().cStr();
      }
    } else {
      refuse(path, "is no enum");
    }
    *name = result;
  });
}

rrpcp_status rrpcp_get_count(const rrpcp_node* node, const char* path, size_t* count,
                             rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = read(node, path);
    if (found.value.getType() != DynamicValue::LIST) {
      refuse(path, "is no list");
    }
    *count = found.value.as<DynamicList>().size();
  });
}

rrpcp_status rrpcp_get_field_name(const rrpcp_node* node, const char* path, size_t index,
                                  const char** name, rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = find(node, path);
    if (found.which || !found.type.isStruct()) {
      refuse(path, "is no struct");
    }
    const auto fields = found.type.asStruct().getFields();
    *name = index < fields.size() ? fields[static_cast<unsigned>(index)].getProto().getName().cStr()
                                  : nullptr;
  });
}

rrpcp_status rrpcp_get_json(const rrpcp_node* node, const char* path, char** json, size_t* size,
                            rrpcp_error** error) {
  return guarded(error, [&] {
    const FoundValue found = read(node, path);
    std::string text;
    if (!found.which && found.value.getType() == DynamicValue::STRUCT) {
      text = message_json(found.value.as<DynamicStruct>());
    } else if (found.value.getType() == DynamicValue::LIST) {
      text = message_json(found.value.as<DynamicList>(),
                          found.field ? data_form(*found.field) : DataForm::kHex);
    } else {
      refuse(path, "is neither a struct nor a list");
    }
    *json = copy_text(text);
    if (size != nullptr) {
      *size = text.size();
    }
  });
}

rrpcp_status rrpcp_draft_new(rrpcp_draft** draft, rrpcp_error** error) {
  return guarded(error, [&] {
    auto result = std::make_unique<rrpcp_draft>();
    result->root.value = DynamicStruct::Builder(result->message.initRoot<schema::Manifest>());
    *draft = result.release();
  });
}

rrpcp_status rrpcp_draft_copy(const rrpcp_checkpoint* checkpoint, rrpcp_draft** draft,
                              rrpcp_error** error) {
  return guarded(error, [&] {
    require(checkpoint, "the checkpoint");
    auto result = std::make_unique<rrpcp_draft>();
    result->message.setRoot(checkpoint->manifest);
    result->root.value = DynamicStruct::Builder(result->manifest());
    *draft = result.release();
  });
}

void rrpcp_draft_free(rrpcp_draft* draft) {
  delete draft;
}

rrpcp_node* rrpcp_draft_root(rrpcp_draft* draft) {
  return &draft->root;
}

rrpcp_status rrpcp_set_u64(rrpcp_node* node, const char* path, uint64_t value,
                           rrpcp_error** error) {
  return set_field(node, path, error,
                   [&](const WritePlace& place) { set_number(place, path, value); });
}

rrpcp_status rrpcp_set_i64(rrpcp_node* node, const char* path, int64_t value, rrpcp_error** error) {
  return set_field(node, path, error,
                   [&](const WritePlace& place) { set_number(place, path, value); });
}

rrpcp_status rrpcp_set_bytes(rrpcp_node* node, const char* path, const void* bytes, size_t size,
                             rrpcp_error** error) {
  return set_field(node, path, error, [&](WritePlace place) {
    if (size > kMaxListSize - 1) {
      refuse(path, "has room for 2^29 bytes");
    }
    if (place.type.isData()) {
      place.set(capnp::Data::Reader(static_cast<const capnp::byte*>(bytes), size));
    } else if (place.type.isText()) {
      const std::string text(static_cast<const char*>(bytes), size);
      place.set(capnp::Text::Reader(text.c_str(), text.size()));
    } else {
      refuse(path, "is neither text nor data");
    }
    if (size == 0 && !place.list) {
      place.parent->clear(*place.field); // nothing is the same as empty, and stored so
    }
  });
}

rrpcp_status rrpcp_set_name(rrpcp_node* node, const char* path, const char* name,
                            rrpcp_error** error) {
  return set_field(node, path, error, [&](WritePlace place) {
    require(name, "the name");
    if (!place.type.isEnum()) {
      refuse(path, "is no enum");
    }
    KJ_IF_MAYBE (enumerant, place.type.asEnum().findEnumerantByName(name)) {
      place.set(DynamicEnum(*enumerant));
    } else {
      refuse(path, "has no value named " + std::string(name));
    }
  });
}

rrpcp_status rrpcp_init(rrpcp_node* node, const char* path, rrpcp_error** error) {
  return set_field(node, path, error, [&](WritePlace place) {
    if (place.type.isVoid()) {
      place.set(capnp::VOID);
    } else {
      place.init_struct();
    }
  });
}

rrpcp_status rrpcp_init_list(rrpcp_node* node, const char* path, size_t count,
                             rrpcp_error** error) {
  return set_field(node, path, error, [&](WritePlace place) {
    if (count > kMaxListSize) {
      refuse(path, "has room for 2^29 entries");
    }
    if (!place.type.isList()) {
      refuse(path, "is no list");
    }
    if (count == 0 && !place.list) {
      place.parent->clear(*place.field);
    } else {
      place.init_list(static_cast<unsigned>(count));
    }
  });
}

rrpcp_status rrpcp_set_json(rrpcp_node* node, const char* path, const char* json, size_t size,
                            rrpcp_error** error) {
  return guarded(
      error,
      [&] {
        require(json, "the document");
        auto root = writable(node, path);
        auto target = *path == '\0' ? root : find_place(root, path).init_struct();
        read_message({json, size}, target);
      },
      ErrorCode::kInvalidArgument);
}

rrpcp_status rrpcp_set_runs(rrpcp_node* node, const char* path, rrpcp_runs* runs,
                            rrpcp_error** error) {
  return set_field(node, path, error, [&](WritePlace place) {
    require(runs, "the runs");
    if (!place.type.isList() ||
        !(place.type.asList() == capnp::Schema::from<capnp::List<schema::PageRun>>())) {
      refuse(path, "is no list of runs");
    }
    if (runs->runs.size() > kMaxListSize) {
      refuse(path, "has room for 2^29 runs");
    }
    if (runs->runs.empty()) {
      place.parent->clear(*place.field);
    } else {
      set_runs(place.init_list(static_cast<unsigned>(runs->runs.size()))
                   .as<capnp::List<schema::PageRun>>(),
               runs->runs);
    }
    runs->runs.clear();
  });
}
