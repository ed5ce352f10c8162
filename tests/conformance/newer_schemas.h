// The schemas of a version that does not exist: today's, with more of everything.
#pragma once

#include "support/temp_dir.h"

#include <capnp/dynamic.h>
#include <capnp/schema-parser.h>
#include <kj/filesystem.h>
#include <string>

namespace rrpcp::test {

// Every struct has fields of several types more (their names begin with "added"), every union an
// arm, every enum a value. Reads the sources of the schemas (RRPCP_SCHEMA_DIR). Keep it as long as
// what was made with it.
class NewerSchemas {
public:
  NewerSchemas();

  capnp::StructSchema manifest() const { return file_.getNested("Manifest").asStruct(); }

private:
  kj::Own<const kj::ReadableDirectory> open(const std::string& path);

  TempDir dir_;
  kj::Own<kj::Filesystem> disk_ = kj::newDiskFilesystem();
  kj::Own<const kj::ReadableDirectory> base_, imports_;
  capnp::SchemaParser parser_;
  capnp::ParsedSchema file_;
};

// Sets every field outside of unions that the newer schemas have and today's do not, in `target`
// and all structs that it refers to.
void set_added_fields(capnp::DynamicStruct::Builder target);

} // namespace rrpcp::test
