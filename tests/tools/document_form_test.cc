// What spec/inspect-json.md says of every field, by the schemas.

#include "rrpcp/message_json.h"
#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/schema/recording.capnp.h"
#include "rrpcp/schema/replay.capnp.h"
#include "rrpcp/schema/trace.capnp.h"

#include <capnp/schema.h>
#include <gtest/gtest.h>
#include <set>
#include <string>

namespace rrpcp::tools {
namespace {

// Calls `use(field)` for each field that can be reached from `schema`.
template <typename Use>
void go_through(capnp::StructSchema schema, std::set<std::uint64_t>& seen, Use use) {
  if (!seen.insert(schema.getProto().getId()).second) {
    return;
  }
  for (const auto field : schema.getFields()) {
    use(field);
    capnp::Type type = field.getType();
    while (type.isList()) {
      type = type.asList().getElementType();
    }
    if (type.isStruct()) {
      go_through(type.asStruct(), seen, use);
    }
  }
}

template <typename Use> void go_through_all(Use use) {
  std::set<std::uint64_t> seen;
  go_through(capnp::Schema::from<schema::Manifest>(), seen, use);
  go_through(capnp::Schema::from<schema::TraceStart>(), seen, use);
  go_through(capnp::Schema::from<schema::TraceEnd>(), seen, use);
  go_through(capnp::Schema::from<schema::Event>(), seen, use);
  go_through(capnp::Schema::from<schema::ReplayState>(), seen, use);
}

TEST(DocumentForm, OnlyTypesThatTheSpecDescribesOccur) {
  go_through_all([](capnp::StructSchema::Field field) {
    capnp::Type type = field.getType();
    unsigned lists = 0;
    while (type.isList()) {
      type = type.asList().getElementType();
      ++lists;
    }
    const std::string name = field.getProto().getName().cStr();
    EXPECT_LE(lists, 1u) << name;
    EXPECT_FALSE(type.isFloat32() || type.isFloat64() || type.isAnyPointer() || type.isInterface())
        << name;
    EXPECT_FALSE(lists != 0 && (type.isBool() || type.isVoid() || type.isEnum())) << name;
  });
}

TEST(DocumentForm, NoFieldHasTheNameOfAUnionsKey) {
  go_through_all([](capnp::StructSchema::Field field) {
    EXPECT_STRNE(field.getProto().getName().cStr(), "which")
        << field.getContainingStruct().getShortDisplayName().cStr();
  });
}

TEST(DocumentForm, OnlyDataIsMarkedAsText) {
  unsigned marked = 0, unmarked = 0;
  go_through_all([&](capnp::StructSchema::Field field) {
    const capnp::Type type = field.getType();
    const bool data = type.isData() || (type.isList() && type.asList().getElementType().isData());
    if (data_form(field) == DataForm::kText) {
      EXPECT_TRUE(data) << field.getProto().getName().cStr();
      ++marked;
    } else {
      unmarked += data ? 1 : 0;
    }
  });
  EXPECT_GT(marked, 20u);
  EXPECT_GT(unmarked, 10u);
}

} // namespace
} // namespace rrpcp::tools
