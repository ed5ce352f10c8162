// A reader that is older than the file: with schemas that have more of everything, unknown things
// are kept or refused as spec/compatibility.md promises.

#include "base/bytes.h"
#include "base/scoped_fd.h"
#include "conformance/newer_schemas.h"
#include "container/canonical.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "rrpcp/reader.h"
#include "rrpcp/rewrite.h"
#include "rrpcp/validate.h"
#include "rrpcp/writer.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"
#include "support/random_message.h"
#include "support/sample_state.h"
#include "support/temp_dir.h"

#include <capnp/any.h>
#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

namespace rrpcp {
namespace {

using test::NewerSchemas;

// A file of format 1.9 whose manifest has random content in every field of the newer schemas.
std::vector<std::byte> newer_file(const NewerSchemas& schemas, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  test::Forge forge(test::write_sample_checkpoint({}, {.profile = Profile::kFast, .threads = 1}));
  const std::vector<std::byte> original = forge.assemble();
  CheckpointReader base = CheckpointReader::open_bytes(original, "base");
  capnp::MallocMessageBuilder message;
  auto manifest = message.initRoot<capnp::DynamicStruct>(schemas.manifest());
  auto state = manifest.init("state").as<capnp::DynamicStruct>();
  test::fill_at_random(state, random);
  test::fill_at_random(manifest.init("provenance").as<capnp::DynamicStruct>(), random);
  state.clear("position");
  state.clear("trace");
  state.set("machine", 62);
  state.set("elfClass", 2);
  state.set("dataEncoding", 1);
  auto geometry = state.init("pageStream").as<capnp::DynamicStruct>();
  test::fill_at_random(geometry, random);
  geometry.set("pageSize", base.header().page_size);
  geometry.set("chunkPages", base.header().chunk_pages);
  geometry.set("pageCount", base.footer().page_count);
  const ValuePlans plans(schemas.manifest());
  kj::Array<capnp::word> words =
      canonical_message(manifest.asReader().as<capnp::AnyStruct>(), &plans.root());
  forge.manifest.assign(8, std::byte{0});
  store_le<std::uint32_t>(std::span(forge.manifest), 4, static_cast<std::uint32_t>(words.size()));
  auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
  forge.manifest.insert(forge.manifest.end(), bytes.begin(), bytes.end());
  forge.edit_header = [](std::span<std::byte> header) {
    store_le<std::uint16_t>(header, format::kHeaderMinor, 9);
    store_le<std::uint64_t>(header, format::kHeaderCompatible, 1u << 3);
  };
  return forge.assemble();
}

TEST(NewerSchema, RewritingKeepsEverythingThatIsUnknown) {
  NewerSchemas schemas;
  test::TempDir dir;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    test::write_file(dir.file("newer"), newer_file(schemas, seed));
    CheckpointReader reader = CheckpointReader::open(dir.file("newer"));
    {
      ScopedFd file(
          ::open(dir.file("copy").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      Output output(file.get(), "copy");
      EXPECT_EQ(rewrite_checkpoint(reader, output, {.profile = Profile::kRaw, .threads = 1}),
                reader.id());
    }
    CheckpointReader copy = CheckpointReader::open(dir.file("copy"));
    EXPECT_EQ(copy.id(), reader.id());
    EXPECT_EQ(copy.header().minor, 9);
    EXPECT_EQ(copy.header().compatible, 1u << 3);
    EXPECT_TRUE(canonical_message(copy.manifest()).asBytes() ==
                canonical_message(reader.manifest()).asBytes());
  }
}

TEST(NewerSchema, UnknownValuesAreNewsAndNoErrors) {
  NewerSchemas schemas;
  bool met = false;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const auto bytes = newer_file(schemas, seed);
    ValidateOptions options;
    options.level = ValidationLevel::kChecksums;
    const ValidationReport report = validate_bytes(bytes, "newer", options);
    EXPECT_TRUE(report.valid()) << (report.findings.empty() ? "" : report.findings[0].message);
    options.level = ValidationLevel::kSemantics;
    for (const Finding& finding : validate_bytes(bytes, "newer", options).findings) {
      EXPECT_NE(finding.code, "value.unknown") << finding.path;
      EXPECT_NE(finding.code, "manifest.message") << finding.path << finding.message;
      met = met || finding.code == "value.newer";
    }
  }
  EXPECT_TRUE(met) << "no file had an unknown enumerant or arm";
}

TEST(NewerSchema, UnknownIncompatibleFeaturesAreRefusedByName) {
  const auto bytes = test::write_sample_checkpoint({}, {.profile = Profile::kFast, .threads = 1});
  for (auto [bit, name] : {std::pair(2, "bit 2"), std::pair(5, "bit 5"), std::pair(63, "bit 63")}) {
    test::Forge forge(bytes);
    forge.edit_header = [bit = bit](std::span<std::byte> header) {
      store_le<std::uint64_t>(header, format::kHeaderIncompatible, std::uint64_t{1} << bit | 1);
    };
    const std::vector<std::byte> newer = forge.assemble();
    try {
      CheckpointReader::open_bytes(newer, "newer");
      ADD_FAILURE() << "bit " << bit << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupportedFeature);
      EXPECT_THAT(error.what(), testing::HasSubstr(name));
    }
  }
}

// What is reserved today holds something in a file whose feature words say so; such a file is read.
// Found by fuzzing (fuzz/corpus/fuzz_validate/reserved-with-feature-bit).
TEST(NewerSchema, ReservedBytesMayBeUsedBehindAFeatureBit) {
  const auto bytes = test::write_sample_checkpoint({}, {.profile = Profile::kFast, .threads = 1});
  for (const std::size_t word : {format::kHeaderReadOnlyCompat, format::kHeaderCompatible}) {
    for (const bool announced : {true, false}) {
      test::Forge forge(bytes);
      forge.edit_header = [&](std::span<std::byte> header) {
        store_le<std::uint64_t>(header, word, announced ? std::uint64_t{1} << 9 : 0);
        header[format::kHeaderReserved + 3] = std::byte{7};
      };
      forge.edit_table = [](std::span<std::byte> table) {
        table[format::kChunkReserved] = std::byte{7};
      };
      forge.edit_footer = [](std::span<std::byte> footer) {
        footer[format::kFooterReserved0] = std::byte{7};
        footer[format::kFooterReserved] = std::byte{7};
      };
      const std::vector<std::byte> newer = forge.assemble();
      EXPECT_EQ(validate_bytes(newer, "newer").valid(), announced);
      if (announced) {
        EXPECT_NO_THROW(CheckpointReader::open_bytes(newer, "newer"));
      } else {
        EXPECT_THROW(CheckpointReader::open_bytes(newer, "newer"), Error);
      }
    }
  }
}

} // namespace
} // namespace rrpcp
