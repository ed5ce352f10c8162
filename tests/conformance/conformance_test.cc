// The library against the conformance suite and against the pages of the spec.

#include "base/bytes.h"
#include "base/parallel.h"
#include "conformance/series_cases.h"
#include "rrpcp/format.h"
#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/figure.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

namespace rrpcp {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = RRPCP_GOLDEN_DIR;
const char* const kVersions[] = {"1.0", "1.1"};
const fs::path kSpec = RRPCP_SPEC_DIR;

std::string read_text(const fs::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<fs::path> files_in(const fs::path& directory, const char* extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == extension) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// Files of one part of the suite, of all versions. A file that belongs to others has no dot in its
// name beside the extension's.
std::vector<fs::path> goldens(const char* part) {
  std::vector<fs::path> files;
  for (const char* version : kVersions) {
    for (const fs::path& file : files_in(kGolden / version / part, ".pcp")) {
      if (std::string(part) == "valid" || file.stem().string().find('.') != std::string::npos) {
        files.push_back(file);
      }
    }
  }
  return files;
}

// Released files that say "newer than this program" and no more: version 1.1 knows what is in them.
bool known_since(const fs::path& file) {
  return file == kGolden / "1.0/invalid/header.newer-minor.pcp" ||
         file == kGolden / "1.0/invalid/header.incompatible-feature.pcp";
}

std::set<std::string> codes_of(const ValidationReport& report) {
  std::set<std::string> codes;
  for (const Finding& finding : report.findings) {
    codes.emplace(finding.code);
  }
  return codes;
}

// The codes that a page of the spec cites as [`code`].
std::set<std::string> cited(const fs::path& page) {
  const std::string text = read_text(page);
  const std::regex citation("\\[`([a-z0-9.-]+)`\\]");
  std::set<std::string> codes;
  for (std::sregex_iterator match(text.begin(), text.end(), citation), end; match != end; ++match) {
    codes.insert((*match)[1]);
  }
  return codes;
}

TEST(Conformance, InvalidFilesGiveTheirCodes) {
  std::uint64_t files = 0;
  for (const fs::path& file : goldens("invalid")) {
    SCOPED_TRACE(file.filename().string());
    const auto expected =
        nlohmann::json::parse(read_text(fs::path(file).replace_extension(".json")));
    const ValidationReport report = validate_file(file, {.threads = 1});
    if (known_since(file)) {
      EXPECT_EQ(codes_of(report), std::set<std::string>{});
      ++files;
      continue;
    }
    EXPECT_EQ(codes_of(report), expected.at("codes").get<std::set<std::string>>());
    EXPECT_TRUE(codes_of(report).contains(file.stem().string()));
    bool error = false;
    for (const std::string& code : codes_of(report)) {
      error = error || find_diagnostic(code)->severity == Severity::kError;
    }
    EXPECT_EQ(report.valid(), !error);
    ++files;
  }
  EXPECT_EQ(files, diagnostics(DiagnosticGroup::kCheckpoint).size());
  test::print_figure("crafted bad files, each with the expected codes", files);
}

TEST(Conformance, ValidFilesAreValid) {
  const auto files = goldens("valid");
  EXPECT_GE(files.size(), 10u);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename().string());
    const ValidationReport report = validate_file(file, {.threads = 2});
    EXPECT_TRUE(report.valid());
    for (const Finding& finding : report.findings) {
      EXPECT_TRUE(finding.code.starts_with("extension.")) << finding.code << " " << finding.path;
    }
    EXPECT_EQ(report.reached, ValidationLevel::kSemantics);
  }
}

// A state makes the same file whatever release writes it: a file states the lowest version that
// defines all that is in it.
TEST(Conformance, ThisReleaseMakesTheFilesOfEarlierOnes) {
  const auto same = [](const char* version, const char* part, const std::string& name,
                       const std::vector<std::byte>& file) {
    EXPECT_EQ(test::read_file(kGolden / version / part / (name + ".pcp")), file) << name;
  };
  for (const test::ValidCase& one : test::valid_cases()) {
    same("1.0", "valid", one.name, one.file);
  }
  for (const test::InvalidCase& one : test::invalid_cases()) {
    same("1.0", "invalid", one.code, one.file);
  }
  for (const test::ValidCase& one : test::valid_series()) {
    same("1.1", "valid", one.name, one.file);
  }
  for (const test::InvalidCase& one : test::invalid_series()) {
    same("1.1", "invalid", one.code, one.file);
  }
}

TEST(Conformance, EveryCodeHasAFileAndEveryFileACode) {
  std::set<std::string> files;
  for (const fs::path& file : goldens("invalid")) {
    files.insert(file.stem().string());
  }
  std::set<std::string> codes;
  for (const Diagnostic& diagnostic : diagnostics(DiagnosticGroup::kCheckpoint)) {
    EXPECT_TRUE(codes.emplace(diagnostic.code).second) << diagnostic.code << " occurs twice";
  }
  EXPECT_EQ(files, codes);
}

TEST(Conformance, EveryRuleOfTheSpecHasACodeAndEveryCodeARule) {
  std::set<std::string> rules = cited(kSpec / "format.md");
  rules.merge(cited(kSpec / "model.md"));
  rules.merge(cited(kSpec / "rr.md"));
  rules.merge(cited(kSpec / "series.md"));
  for (const std::string& code : rules) {
    EXPECT_NE(find_diagnostic(code), nullptr) << code;
  }
  for (const Diagnostic& diagnostic : diagnostics(DiagnosticGroup::kCheckpoint)) {
    EXPECT_TRUE(rules.contains(std::string(diagnostic.code)))
        << diagnostic.code << " belongs to no rule of format.md or model.md";
  }
}

// Which diagnostic a changed byte must lead to, by the part of the file it lies in.
class Regions {
public:
  explicit Regions(std::span<const std::byte> file) : file_(file) {
    const std::size_t footer = file.size() - format::kFooterSize;
    directory_ = load_le<std::uint64_t>(file, footer + format::kFooterDirectoryOffset);
    const auto sections = load_le<std::uint32_t>(file, footer + format::kFooterSectionCount);
    const auto chunks = load_le<std::uint64_t>(file, footer + format::kFooterChunkCount);
    for (std::uint32_t i = 0; i < sections; ++i) {
      const std::size_t entry = directory_ + i * format::kSectionEntrySize;
      const auto offset = load_le<std::uint64_t>(file, entry + format::kSectionOffset);
      const auto length = load_le<std::uint64_t>(file, entry + format::kSectionLength);
      const auto kind = load_le<std::uint32_t>(file, entry + format::kSectionKind);
      parts_.push_back({offset, offset + length,
                        kind == format::kSectionChunkTable ? "chunk-table.digest"
                        : kind == format::kSectionManifest ? "manifest.digest"
                                                           : "section.digest"});
      if (kind == format::kSectionChunkTable) {
        for (std::uint64_t chunk = 0; chunk < chunks; ++chunk) {
          const std::size_t at = offset + chunk * format::kChunkEntrySize;
          const auto begin = load_le<std::uint64_t>(file, at + format::kChunkOffset);
          const auto stored = load_le<std::uint32_t>(file, at + format::kChunkStoredLength);
          parts_.push_back({begin, begin + stored, "chunk.stored-checksum"});
        }
      }
    }
  }

  std::string_view code_for(std::size_t byte) const {
    const std::size_t footer = file_.size() - format::kFooterSize;
    if (byte < format::kHeaderMagic.size()) {
      return "header.magic";
    }
    if (byte < format::kHeaderSize) {
      return "header.checksum";
    }
    if (byte >= file_.size() - format::kEndMagic.size()) {
      return "footer.magic";
    }
    if (byte >= footer) {
      return "footer.checksum";
    }
    if (byte >= directory_) {
      return "directory.digest";
    }
    for (const Part& part : parts_) {
      if (byte >= part.begin && byte < part.end) {
        return part.code;
      }
    }
    return "page-data.padding";
  }

private:
  struct Part {
    std::size_t begin;
    std::size_t end;
    const char* code;
  };

  std::span<const std::byte> file_;
  std::size_t directory_;
  std::vector<Part> parts_;
};

class Damage : public testing::TestWithParam<fs::path> {};

TEST_P(Damage, EveryTruncationIsReported) {
  const std::vector<std::byte> file = test::read_file(GetParam());
  for (std::size_t length = 0; length < file.size(); ++length) {
    const ValidationReport report =
        validate_bytes(std::span(file).first(length), "cut", {.threads = 1});
    const std::set<std::string> expected = {length < format::kHeaderSize ? "header.truncated"
                                                                         : "footer.missing"};
    ASSERT_EQ(codes_of(report), expected) << length;
  }
  test::print_figure("truncations, each reported by its code", file.size());
}

// One bit of every byte, another one in each byte's neighbour; with RRPCP_EVERY_BIT set, which
// takes minutes, every bit, on all processors.
TEST_P(Damage, FlippedBitsAreReported) {
  const std::vector<std::byte> file = test::read_file(GetParam());
  const Regions regions(file);
  const bool every_bit = std::getenv("RRPCP_EVERY_BIT") != nullptr;
  const unsigned threads = every_bit ? available_processors() : 1;
  // Each thread damages a file of its own, in its memory, and mends it again.
  std::vector<std::vector<std::byte>> copies(threads, file);
  std::atomic<std::uint64_t> flips = 0;
  parallel_for(file.size(), threads, [&](std::uint64_t byte, unsigned thread) {
    std::vector<std::byte>& damaged = copies[thread];
    const std::set<std::string> expected = {std::string(regions.code_for(byte))};
    // Nothing but page data needs more than a look at the structure.
    const auto level = expected.contains("chunk.stored-checksum") ? ValidationLevel::kChecksums
                                                                  : ValidationLevel::kStructure;
    for (unsigned bit = 0; bit < 8 && !HasFatalFailure(); ++bit) {
      if (!every_bit && bit != byte % 8) {
        continue;
      }
      ++flips;
      damaged[byte] ^= static_cast<std::byte>(1u << bit);
      const ValidationReport report =
          validate_bytes(damaged, "flipped", {.level = level, .threads = 1});
      damaged[byte] ^= static_cast<std::byte>(1u << bit);
      ASSERT_EQ(codes_of(report), expected) << "byte " << byte << ", bit " << bit;
    }
  });
  EXPECT_EQ(flips, (every_bit ? 8 : 1) * file.size());
  test::print_figure("single flipped bits, each reported by its code", flips);
}

INSTANTIATE_TEST_SUITE_P(Goldens, Damage, testing::ValuesIn(goldens("valid")),
                         [](const testing::TestParamInfo<fs::path>& file) {
                           std::string name = file.param.stem().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
} // namespace rrpcp
