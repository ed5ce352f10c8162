// spec/inspect-json.md says of every Data field whether it is text.

#include "common/message_json.h"
#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/schema/recording.capnp.h"
#include "rrpcp/schema/trace.capnp.h"

#include <capnp/schema.h>
#include <fstream>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <sstream>

namespace rrpcp::tools {
namespace {

// Names of all Data fields (and lists of Data) that can be reached from `schema`.
void collect(capnp::StructSchema schema, std::set<std::uint64_t>& seen,
             std::set<std::string>& names) {
  if (!seen.insert(schema.getProto().getId()).second) {
    return;
  }
  for (const auto field : schema.getFields()) {
    capnp::Type type = field.getType();
    while (type.isList()) {
      type = type.asList().getElementType();
    }
    if (type.isData()) {
      names.insert(field.getProto().getName().cStr());
    } else if (type.isStruct()) {
      collect(type.asStruct(), seen, names);
    }
    ASSERT_FALSE(type.isFloat32() || type.isFloat64() || type.isAnyPointer() || type.isInterface())
        << "inspect-json.md says that there are none";
  }
}

std::set<std::string> data_fields() {
  std::set<std::uint64_t> seen;
  std::set<std::string> names;
  collect(capnp::Schema::from<schema::Manifest>(), seen, names);
  collect(capnp::Schema::from<schema::TraceStart>(), seen, names);
  collect(capnp::Schema::from<schema::TraceEnd>(), seen, names);
  collect(capnp::Schema::from<schema::Event>(), seen, names);
  return names;
}

TEST(DocumentForm, EveryDataFieldIsDecidedUpon) {
  // A new field of type Data: decide whether people read it as text, then add it here and, if it is
  // text, to the table in spec/inspect-json.md.
  const std::set<std::string> text = {"arguments",
                                      "clonedFileDataPath",
                                      "commandLine",
                                      "controlGroups",
                                      "domainName",
                                      "environment",
                                      "executable",
                                      "executablePath",
                                      "legacyPageFile",
                                      "name",
                                      "nodeName",
                                      "originalDirectory",
                                      "originalExecutable",
                                      "path",
                                      "rootDirectory",
                                      "securityLabel",
                                      "where",
                                      "workingDirectory"};
  const std::set<std::string> bytes = {"registers",
                                       "registersAfter",
                                       "extendedRegisters",
                                       "childRegisters",
                                       "info",
                                       "buildId",
                                       "contents",
                                       "data",
                                       "payload",
                                       "raw",
                                       "uuid",
                                       "threadLocals",
                                       "address",
                                       "attributes",
                                       "bootId",
                                       "events",
                                       "handle",
                                       "nodes",
                                       "processors",
                                       "program",
                                       "value"};
  std::set<std::string> decided = text;
  decided.insert(bytes.begin(), bytes.end());
  EXPECT_EQ(data_fields(), decided);
  for (const std::string& name : data_fields()) {
    EXPECT_EQ(data_form(name) == DataForm::kText, text.count(name) != 0) << name;
  }
}

TEST(DocumentForm, TheSpecListsTheTextFields) {
  std::ifstream file(RRPCP_SPEC_DIR "/inspect-json.md");
  std::ostringstream spec;
  spec << file.rdbuf();
  const std::string text = spec.str();
  const std::size_t start = text.find("| field | of |");
  ASSERT_NE(start, std::string::npos);
  const std::string table = text.substr(start, text.find("\n\n", start) - start);
  std::set<std::string> listed;
  std::istringstream rows(table);
  const std::regex name("`([A-Za-z]+)`");
  for (std::string row; std::getline(rows, row);) {
    const std::string cell = row.substr(0, row.find('|', 1));
    for (std::sregex_iterator match(cell.begin(), cell.end(), name), end; match != end; ++match) {
      listed.insert((*match)[1]);
    }
  }
  std::set<std::string> expected;
  for (const std::string& field : data_fields()) {
    if (data_form(field) == DataForm::kText) {
      expected.insert(field);
    }
  }
  EXPECT_EQ(listed, expected);
}

} // namespace
} // namespace rrpcp::tools
