#include "conformance/schema_gate.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/schema-loader.h>
#include <capnp/schema-parser.h>
#include <capnp/schema.capnp.h>
#include <kj/exception.h>
#include <kj/filesystem.h>
#include <map>
#include <set>

namespace rrpcp::test {

namespace {

namespace fs = std::filesystem;
using capnp::schema::Field;
using capnp::schema::Node;

std::string name_of(Node::Reader node) {
  auto name = node.getDisplayName();
  return {name.begin(), name.size()};
}

std::string text(capnp::Text::Reader value) {
  return {value.begin(), value.size()};
}

// A rename says nothing on the wire, but names are what the JSON documents show. Only giving a
// field up may change its name.
bool name_is_kept(const std::string& older, const std::string& newer) {
  return older == newer || newer.starts_with("obsolete");
}

template <typename Reader> bool equal(Reader a, Reader b) {
  auto x = capnp::canonicalize(a), y = capnp::canonicalize(b);
  return x.asBytes() == y.asBytes();
}

class Gate {
public:
  std::vector<std::string> run(const fs::path& older, const fs::path& newer,
                               const std::string& include) {
    for (const auto& entry : fs::directory_iterator(older)) {
      const fs::path name = entry.path().filename();
      if (entry.path().extension() != ".capnp") {
        continue;
      }
      if (!fs::exists(newer / name)) {
        problems_.push_back(name.string() + " is gone");
        continue;
      }
      capnp::SchemaParser old_parser, new_parser;
      capnp::SchemaLoader loader;
      try {
        auto old_file = parse(old_parser, older, name.string(), include);
        auto new_file = parse(new_parser, newer, name.string(), include);
        loader_ = &loader;
        compare_scope(old_file, new_file);
      } catch (const kj::Exception& exception) {
        problems_.push_back(name.string() + ": " + exception.getDescription().cStr());
      }
    }
    return std::move(problems_);
  }

private:
  capnp::ParsedSchema parse(capnp::SchemaParser& parser, const fs::path& directory,
                            const std::string& name, const std::string& include) {
    auto open = [&](const fs::path& path) {
      return disk_->getRoot().openSubdir(
          kj::Path::parse(fs::absolute(path).relative_path().c_str()));
    };
    auto base = open(directory), imports = open(include);
    const kj::ReadableDirectory* const import_path[] = {imports.get()};
    auto parsed = parser.parseFromDirectory(*base, kj::Path(name), kj::arrayPtr(import_path, 1));
    // The parser reads imported files later, through these.
    directories_.push_back(kj::mv(base));
    directories_.push_back(kj::mv(imports));
    return parsed;
  }

  void problem(Node::Reader node, const std::string& what) {
    problems_.push_back(name_of(node) + ": " + what);
  }

  void compare_scope(capnp::ParsedSchema older, capnp::ParsedSchema newer) {
    auto old_node = older.getProto(), new_node = newer.getProto();
    if (old_node.getId() != new_node.getId()) {
      problem(old_node, "the id changed");
    }
    compare_nodes(old_node, new_node);
    if (old_node.isStruct() && new_node.isStruct()) {
      compare_structs(older.asStruct(), newer.asStruct());
    }
    for (auto nested : old_node.getNestedNodes()) {
      KJ_IF_MAYBE (successor, newer.findNested(nested.getName())) {
        compare_scope(older.getNested(nested.getName()), *successor);
      } else {
        problem(old_node, text(nested.getName()) + " is gone");
      }
    }
  }

  // What Cap'n Proto itself says, and what holds for nodes of any kind.
  void compare_nodes(Node::Reader older, Node::Reader newer) {
    if (older.which() != newer.which()) {
      problem(older, "it became another kind of thing");
      return;
    }
    if (older.isFile()) {
      return; // the loader takes no files
    }
    try {
      loader_->load(older);
      if (older.getId() == newer.getId()) {
        loader_->load(newer);
      }
    } catch (const kj::Exception& exception) {
      problem(older, exception.getDescription().cStr());
    }
    if (older.isEnum()) {
      auto a = older.getEnum().getEnumerants(), b = newer.getEnum().getEnumerants();
      for (unsigned i = 0; i < a.size(); ++i) {
        if (i >= b.size()) {
          problem(older, "enumerant " + text(a[i].getName()) + " is gone");
        } else if (!name_is_kept(text(a[i].getName()), text(b[i].getName()))) {
          problem(older, "enumerant " + text(a[i].getName()) + " became " + text(b[i].getName()));
        }
      }
    }
    if (older.isConst() && (!equal(older.getConst().getValue(), newer.getConst().getValue()) ||
                            !equal(older.getConst().getType(), newer.getConst().getType()))) {
      problem(older, "the constant changed");
    }
  }

  // Key of a field: where its bits are for a slot, its name for a group.
  static std::string key(Field::Reader field) {
    if (field.isGroup()) {
      return "group " + text(field.getName());
    }
    auto ordinal = field.getOrdinal();
    return "@" + std::to_string(ordinal.isExplicit() ? ordinal.getExplicit() : 0xffff);
  }

  // Ids of a field's annotations: rules and forms depend on them.
  static std::set<std::uint64_t> annotations(Field::Reader field) {
    std::set<std::uint64_t> ids;
    for (auto annotation : field.getAnnotations()) {
      ids.insert(annotation.getId());
    }
    return ids;
  }

  void compare_structs(capnp::StructSchema older, capnp::StructSchema newer) {
    auto old_struct = older.getProto().getStruct(), new_struct = newer.getProto().getStruct();
    if (old_struct.getDataWordCount() > new_struct.getDataWordCount() ||
        old_struct.getPointerCount() > new_struct.getPointerCount()) {
      problem(older.getProto(), "it became smaller");
    }
    if (old_struct.getDiscriminantCount() > 0 &&
        old_struct.getDiscriminantOffset() != new_struct.getDiscriminantOffset()) {
      problem(older.getProto(), "the union's tag moved");
    }
    std::map<std::string, capnp::StructSchema::Field> successors;
    for (auto field : newer.getFields()) {
      successors.emplace(key(field.getProto()), field);
    }
    for (auto field : older.getFields()) {
      auto found = successors.find(key(field.getProto()));
      if (found == successors.end()) {
        problem(older.getProto(), "field " + text(field.getProto().getName()) + " is gone");
      } else {
        compare_fields(older.getProto(), field, found->second);
      }
    }
  }

  void compare_fields(Node::Reader scope, capnp::StructSchema::Field older,
                      capnp::StructSchema::Field newer) {
    auto a = older.getProto(), b = newer.getProto();
    const std::string name = "field " + text(a.getName());
    if (!name_is_kept(text(a.getName()), text(b.getName()))) {
      problem(scope, name + " became " + text(b.getName()));
    }
    if (annotations(a) != annotations(b)) {
      problem(scope, name + " has other annotations");
    }
    if (a.getDiscriminantValue() != b.getDiscriminantValue()) {
      problem(scope, name + " has another place in its union");
    }
    if (a.isGroup()) {
      auto old_group = older.getType().asStruct(), new_group = newer.getType().asStruct();
      compare_structs(old_group, new_group);
      return;
    }
    if (a.getSlot().getOffset() != b.getSlot().getOffset()) {
      problem(scope, name + " moved");
    }
    if (!equal(a.getSlot().getType(), b.getSlot().getType())) {
      problem(scope, name + " has another type");
    }
    if (!equal(a.getSlot().getDefaultValue(), b.getSlot().getDefaultValue())) {
      problem(scope, name + " has another default");
    }
  }

  kj::Own<kj::Filesystem> disk_ = kj::newDiskFilesystem();
  std::vector<kj::Own<const kj::ReadableDirectory>> directories_;
  std::vector<std::string> problems_;
  capnp::SchemaLoader* loader_ = nullptr;
};

} // namespace

std::vector<std::string> forbidden_changes(const fs::path& older, const fs::path& newer,
                                           const std::string& include) {
  return Gate().run(older, newer, include);
}

} // namespace rrpcp::test
