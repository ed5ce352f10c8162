// The schemas of today against those of every release, and the gate itself against changes that it
// must stop or let pass.

#include "conformance/schema_gate.h"
#include "support/temp_dir.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

const fs::path kSchemas = RRPCP_SCHEMA_DIR;

TEST(SchemaGate, CurrentSchemasKeepWhatEveryReleasePromised) {
  for (const auto& entry : fs::directory_iterator(kSchemas / "released")) {
    if (entry.is_directory()) {
      SCOPED_TRACE(entry.path().filename().string());
      EXPECT_THAT(test::forbidden_changes(entry.path(), kSchemas, CAPNP_INCLUDE),
                  testing::IsEmpty());
    }
  }
}

TEST(SchemaGate, EqualSchemasPass) {
  EXPECT_THAT(test::forbidden_changes(kSchemas, kSchemas, CAPNP_INCLUDE), testing::IsEmpty());
}

// A change of one text in one schema file.
struct Change {
  const char* name;
  const char* file;
  const char* before;
  const char* after;
};

void PrintTo(const Change& change, std::ostream* out) {
  *out << change.name;
}

std::vector<std::string> judge(const Change& change) {
  test::TempDir dir;
  for (const auto& entry : fs::directory_iterator(kSchemas)) {
    if (entry.path().extension() == ".capnp") {
      fs::copy_file(entry.path(), fs::path(dir.path()) / entry.path().filename());
    }
  }
  const fs::path file = fs::path(dir.path()) / change.file;
  std::stringstream text;
  text << std::ifstream(file).rdbuf();
  std::string schema = text.str();
  const std::size_t at = schema.find(change.before);
  EXPECT_NE(at, schema.npos) << "the schema has no '" << change.before << "' any more";
  if (at != schema.npos) {
    schema.replace(at, std::string(change.before).size(), change.after);
  }
  std::ofstream(file) << schema;
  return test::forbidden_changes(kSchemas, dir.path(), CAPNP_INCLUDE);
}

class Forbidden : public testing::TestWithParam<Change> {};

TEST_P(Forbidden, IsStopped) {
  EXPECT_THAT(judge(GetParam()), testing::Not(testing::IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(
    Changes, Forbidden,
    testing::Values(
        Change{"TypeOfField", "memory.capnp", "start @0 :UInt64;", "start @0 :Int64;"},
        Change{"WiderField", "memory.capnp", "pkey @6 :UInt16;", "pkey @6 :UInt32;"},
        Change{"ListElement", "memory.capnp", "digests @6 :List(RangeDigest);",
               "digests @6 :List(AuxiliaryEntry);"},
        Change{"DataBecomesText", "memory.capnp", "name @9 :Data $Common.text;", "name @9 :Text;"},
        Change{"ReferredStruct", "memory.capnp", "layout @1 :MemoryLayout;",
               "layout @1 :RangeDigest;"},
        Change{"RemovedField", "manifest.capnp", "comment @6 :Text;", ""},
        Change{"WiderObsoleteField", "memory.capnp", "advice @4 :UInt32;\n",
               "obsoleteAdvice @4 :UInt64;\n"},
        Change{"RenamedField", "memory.capnp", "protection @2 :UInt32;", "prot @2 :UInt32;"},
        Change{"Default", "memory.capnp", "executable @3 :UInt32 = 0xffffffff;",
               "executable @3 :UInt32;"},
        Change{"FileId", "memory.capnp", "@0xf9ee5edae8a1b492;", "@0xf9ee5edae8a1b493;"},
        Change{"StructId", "memory.capnp", "struct PageRun {",
               "struct PageRun @0xa1b2c3d4e5f60718 {"},
        Change{"RemovedStruct", "rr.capnp", "struct SavedMemory {", "struct KeptMemory {"},
        Change{"RemovedEnumerant", "memory.capnp", "replayer @8;", ""},
        Change{"RenamedEnumerant", "memory.capnp", "guard @1; ", "fence @1; "},
        Change{"ExchangedEnumerants", "memory.capnp",
               "zero @0;      # all bytes 0; costs no page data\n  stream @1;",
               "zero @1;\n  stream @0;"},
        Change{"RemovedUnionArm", "memory.capnp", "systemV @7 :SystemVSegment $Common.required;",
               ""},
        Change{"TypeOfUnionArm", "memory.capnp", "memfd @6 :Memfd $Common.required;",
               "memfd @6 :SystemVSegment $Common.required;"},
        Change{"ArmLeavesUnion", "position.capnp", "  union {\n    atEvent @1 :Void;",
               "  atEvent @1 :Void;\n  union {"},
        Change{"FieldEntersUnion", "position.capnp",
               "  clone @0 :Mark $Common.required;\n  # Where the stored state itself was taken.\n "
               " union {",
               "  union {\n    clone @0 :Mark $Common.required;"},
        Change{"GroupField", "position.capnp", "instructions @4 :UInt64;",
               "instructions @4 :UInt32;"},
        Change{"RenamedGroup", "position.capnp", "between :group {", "amid :group {"},
        Change{"Constant", "memory.capnp", "noIndex :UInt32 = 0xffffffff;", "noIndex :UInt32 = 0;"},
        Change{"AnnotationAdded", "memory.capnp", "pkey @6 :UInt16;",
               "pkey @6 :UInt16 $Common.notNegative;"},
        Change{"AnnotationRemoved", "memory.capnp", "name @9 :Data $Common.text;",
               "name @9 :Data;"},
        Change{"EnumBecomesNumber", "memory.capnp", "kind @2 :RunKind;", "kind @2 :UInt16;"}),
    [](const testing::TestParamInfo<Change>& change) { return change.param.name; });

class Permitted : public testing::TestWithParam<Change> {};

TEST_P(Permitted, Passes) {
  EXPECT_THAT(judge(GetParam()), testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Changes, Permitted,
    testing::Values(
        Change{"NewField", "manifest.capnp", "comment @6 :Text;",
               "comment @6 :Text;\n  added @8 :UInt64;"},
        Change{"NewPointerField", "rr.capnp", "struct SavedMemory {",
               "struct SavedMemory {\n  note @2 :Text;"},
        Change{"NewEnumerant", "memory.capnp", "replayer @8;", "replayer @8;\n  added @9;"},
        Change{"NewUnionArm", "memory.capnp", "systemV @7 :SystemVSegment $Common.required;",
               "systemV @7 :SystemVSegment $Common.required;\n    added @8 :UInt64;"},
        Change{"NewFieldInGroup", "position.capnp", "instructions @4 :UInt64;",
               "instructions @4 :UInt64;\n      added @5 :UInt32;"},
        Change{"NewStruct", "rr.capnp", "struct SavedMemory {",
               "struct Added {\n  a @0 :UInt8;\n}\nstruct SavedMemory {"},
        Change{"ObsoleteField", "manifest.capnp", "comment @6 :Text;", "obsoleteComment @6 :Text;"},
        Change{"Comment", "rr.capnp", "struct SavedMemory {",
               "# Said otherwise.\nstruct SavedMemory {"}),
    [](const testing::TestParamInfo<Change>& change) { return change.param.name; });

} // namespace
} // namespace rrpcp
