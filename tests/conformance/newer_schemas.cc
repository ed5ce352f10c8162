#include "conformance/newer_schemas.h"

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace rrpcp::test {

namespace fs = std::filesystem;

namespace {

// The end of the block whose opening brace is at `open`: the place of its closing brace.
std::size_t block_end(const std::string& text, std::size_t open) {
  int depth = 0;
  for (std::size_t at = open; at < text.size(); ++at) {
    depth += text[at] == '{' ? 1 : text[at] == '}' ? -1 : 0;
    if (depth == 0) {
      return at;
    }
  }
  throw std::runtime_error("the schema has an open block");
}

unsigned next_ordinal(const std::string& block, const std::regex& ordinal) {
  unsigned next = 0;
  for (std::sregex_iterator match(block.begin(), block.end(), ordinal), end; match != end;
       ++match) {
    next = std::max(next, static_cast<unsigned>(std::stoul((*match)[1])) + 1);
  }
  return next;
}

// Every struct gets fields of several types, every union an arm, every enum a value.
std::string enlarge(std::string text) {
  text = std::regex_replace(text, std::regex("#[^\n]*"), "");
  const std::regex member("@(\\d+)\\s*:"), value("@(\\d+)[^;@]*;");
  const std::regex head("(struct|enum) \\w+ \\{");
  for (std::size_t from = 0;;) {
    std::smatch match;
    std::string rest = text.substr(from);
    if (!std::regex_search(rest, match, head)) {
      return text;
    }
    const std::size_t open = from + static_cast<std::size_t>(match.position()) + match.length() - 1;
    const std::size_t end = block_end(text, open);
    std::string block = text.substr(open, end - open);
    if (match[1] == "enum") {
      block += "  addedValue @" + std::to_string(next_ordinal(block, value)) + ";\n";
    } else {
      unsigned next = next_ordinal(block, member);
      auto add = [&](const std::string& type) {
        std::string number = std::to_string(next++);
        return "\n  added" + number + " @" + number + " :" + type + ";";
      };
      for (std::size_t at = 0; (at = block.find("union {", at)) != block.npos;) {
        at += 7;
        block.insert(at, add("Text") + add("UInt64"));
      }
      block.insert(1, add("UInt64") + add("Text") + add("List(Data)") + add("Bool"));
    }
    text.replace(open, end - open, block);
    from = open + 1;
  }
}

void set_added_fields_of(capnp::DynamicValue::Builder value) {
  if (value.getType() == capnp::DynamicValue::STRUCT) {
    set_added_fields(value.as<capnp::DynamicStruct>());
  } else if (value.getType() == capnp::DynamicValue::LIST) {
    auto list = value.as<capnp::DynamicList>();
    if (list.getSchema().whichElementType() == capnp::schema::Type::STRUCT) {
      for (unsigned i = 0; i < list.size(); ++i) {
        set_added_fields(list[i].as<capnp::DynamicStruct>());
      }
    }
  }
}

} // namespace

NewerSchemas::NewerSchemas() {
  for (const auto& entry : fs::directory_iterator(RRPCP_SCHEMA_DIR)) {
    if (entry.path().extension() == ".capnp") {
      std::stringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      std::ofstream(dir_.file(entry.path().filename().string())) << enlarge(text.str());
    }
  }
  base_ = open(dir_.path());
  imports_ = open(CAPNP_INCLUDE);
  const kj::ReadableDirectory* const path[] = {imports_.get()};
  file_ = parser_.parseFromDirectory(*base_, kj::Path("manifest.capnp"), kj::arrayPtr(path, 1));
}

kj::Own<const kj::ReadableDirectory> NewerSchemas::open(const std::string& path) {
  return disk_->getRoot().openSubdir(kj::Path::parse(fs::absolute(path).relative_path().c_str()));
}

void set_added_fields(capnp::DynamicStruct::Builder target) {
  for (capnp::StructSchema::Field field : target.getSchema().getFields()) {
    const std::string_view name(field.getProto().getName().cStr());
    if (field.getProto().getDiscriminantValue() != capnp::schema::Field::NO_DISCRIMINANT) {
      continue;
    }
    if (name.starts_with("added")) {
      switch (field.getType().which()) {
      case capnp::schema::Type::UINT64:
        target.set(field, std::uint64_t{0x0123456789abcdef});
        break;
      case capnp::schema::Type::TEXT:
        target.set(field, "from a later version");
        break;
      case capnp::schema::Type::BOOL:
        target.set(field, true);
        break;
      case capnp::schema::Type::LIST: {
        const std::uint8_t bytes[] = {1, 2, 3};
        target.init(field, 1).as<capnp::DynamicList>().set(0, capnp::Data::Reader(bytes, 3));
        break;
      }
      default:
        throw std::logic_error("a type of added fields is not known here");
      }
    } else if (target.has(field, capnp::HasMode::NON_NULL) || field.getProto().isGroup()) {
      set_added_fields_of(target.get(field));
    }
  }
  KJ_IF_MAYBE (arm, target.which()) {
    if (arm->getProto().isGroup() || target.has(*arm, capnp::HasMode::NON_NULL)) {
      set_added_fields_of(target.get(*arm));
    }
  }
}

} // namespace rrpcp::test
