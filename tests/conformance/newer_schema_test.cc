// A reader that is older than the file: with schemas that have more of everything, unknown things
// are kept or refused as spec/compatibility.md promises.

#include "base/bytes.h"
#include "base/scoped_fd.h"
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
#include <capnp/schema-parser.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/filesystem.h>
#include <random>
#include <regex>
#include <sstream>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

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
  const std::regex member("@(\\d+)\\s*:"), value("@(\\d+)\\s*;");
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

// The schemas of a version that does not exist.
class NewerSchemas {
public:
  NewerSchemas() {
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

  capnp::StructSchema manifest() const { return file_.getNested("Manifest").asStruct(); }

private:
  kj::Own<const kj::ReadableDirectory> open(const std::string& path) {
    return disk_->getRoot().openSubdir(kj::Path::parse(fs::absolute(path).relative_path().c_str()));
  }

  test::TempDir dir_;
  kj::Own<kj::Filesystem> disk_ = kj::newDiskFilesystem();
  kj::Own<const kj::ReadableDirectory> base_, imports_;
  capnp::SchemaParser parser_;
  capnp::ParsedSchema file_;
};

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
  for (auto [bit, name] :
       {std::pair(1, "base-runs"), std::pair(5, "bit 5"), std::pair(63, "bit 63")}) {
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
