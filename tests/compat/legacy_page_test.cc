// The pages about rr's own checkpoints against the schemas and the table of diagnostics.

#include "rrpcp/compat/legacy.h"
#include "rrpcp/legacy/rr_2022.capnp.h"
#include "rrpcp/legacy/rr_2025.capnp.h"
#include "rrpcp/legacy/rr_details.capnp.h"
#include "rrpcp/legacy/rr_trace.capnp.h"

#include <capnp/schema.h>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace rrpcp {
namespace {

std::string read_page(const std::string& name) {
  std::ifstream in(RRPCP_SPEC_DIR "/" + name);
  EXPECT_TRUE(in) << name;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The text below the heading "### NAME" up to the next heading; empty where there is none.
std::string section(const std::string& page, const std::string& name) {
  const std::string heading = "\n### " + name + "\n";
  const std::size_t begin = page.find(heading);
  if (begin == std::string::npos) {
    return {};
  }
  const std::size_t body = begin + heading.size();
  return page.substr(body, page.find("\n#", body) - body);
}

// The diagnostics that rr's own checkpoints and traces can have.
std::vector<Diagnostic> legacy_diagnostics() {
  std::vector<Diagnostic> all;
  for (const DiagnosticGroup group : {DiagnosticGroup::kLegacy, DiagnosticGroup::kRrTrace}) {
    const auto part = diagnostics(group);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// Every struct that messages are made of, by the name that the schema gives it.
class Structs {
public:
  void add(capnp::StructSchema schema) {
    std::string name = schema.getProto().getDisplayName();
    if (!seen_.insert(name).second) {
      return;
    }
    name = name.substr(name.rfind(':') + 1);
    add_fields(schema, name, "");
  }

  // By struct: its fields, those of groups as "group.field".
  const std::map<std::string, std::set<std::string>>& fields() const { return fields_; }

private:
  void add_fields(capnp::StructSchema schema, const std::string& owner, const std::string& prefix) {
    for (const auto field : schema.getFields()) {
      const std::string path = prefix + field.getProto().getName().cStr();
      capnp::Type type = field.getType();
      if (field.getProto().isGroup()) {
        add_fields(type.asStruct(), owner, path + ".");
        continue;
      }
      fields_[owner].insert(path);
      while (type.isList()) {
        type = type.asList().getElementType();
      }
      if (type.isStruct()) {
        add(type.asStruct());
      }
    }
  }

  std::set<std::string> seen_;
  std::map<std::string, std::set<std::string>> fields_;
};

TEST(LegacyPage, NamesEveryFieldOfEverySchema) {
  Structs structs;
  structs.add(capnp::Schema::from<legacy::rr2022::PersistentCheckpoints>());
  structs.add(capnp::Schema::from<legacy::rr2022::CloneCompletionInfo>());
  structs.add(capnp::Schema::from<legacy::rr2024::PersistentCheckpoints>());
  structs.add(capnp::Schema::from<legacy::rr2024::CloneCompletionInfo>());
  structs.add(capnp::Schema::from<legacy::rr2025::CheckpointInfo>());
  structs.add(capnp::Schema::from<legacy::RrDetails>());
  structs.add(capnp::Schema::from<legacy::trace::Header>());
  structs.add(capnp::Schema::from<legacy::trace::Frame>());
  structs.add(capnp::Schema::from<legacy::trace::TaskEvent>());
  structs.add(capnp::Schema::from<legacy::trace::MMap>());
  EXPECT_GE(structs.fields().size(), 22u);
  const std::string page = read_page("legacy-rr.md");
  for (const auto& [name, fields] : structs.fields()) {
    const std::string text = section(page, name);
    EXPECT_FALSE(text.empty()) << "there is no section about " << name;
    for (const std::string& field : fields) {
      EXPECT_NE(text.find("`" + field + "`"), std::string::npos)
          << name << "." << field << " is not named";
    }
  }
}

TEST(LegacyPage, EveryCodeHasARuleAndEveryRuleACode) {
  const std::string page = read_page("legacy-rr.md");
  const std::regex quoted("`((?:legacy|rr-trace)\\.[a-z-]+)`");
  std::set<std::string> named;
  for (std::sregex_iterator match(page.begin(), page.end(), quoted), end; match != end; ++match) {
    named.insert((*match)[1]);
  }
  std::set<std::string> known;
  for (const Diagnostic& diagnostic : legacy_diagnostics()) {
    EXPECT_TRUE(known.emplace(diagnostic.code).second) << diagnostic.code << " occurs twice";
    EXPECT_NE(find_diagnostic(diagnostic.code), nullptr);
  }
  EXPECT_EQ(named, known);
  EXPECT_EQ(find_diagnostic("rr-trace.nonsense"), nullptr);
}

} // namespace
} // namespace rrpcp
