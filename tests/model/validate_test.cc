// What the validator says of valid files, and of the samples that others start from.

#include "rrpcp/error.h"
#include "rrpcp/validate.h"
#include "support/checkpoint_bytes.h"
#include "support/forge.h"
#include "support/sample_state.h"
#include "support/temp_dir.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rrpcp {
namespace {

using test::Sample;
using test::SamplePosition;

std::string listing(const ValidationReport& report) {
  std::string text;
  for (const Finding& finding : report.findings) {
    text += std::string(finding.code) + " " + finding.path + " " +
            (finding.offset ? std::to_string(*finding.offset) : "") + ": " + finding.message + "\n";
  }
  return text;
}

struct ValidCase {
  std::uint16_t machine;
  std::uint32_t page_size;
  SamplePosition position;
  Profile profile;
};

class ValidSamples : public testing::TestWithParam<ValidCase> {};

TEST_P(ValidSamples, HaveNoFindings) {
  const ValidCase& param = GetParam();
  Sample sample;
  sample.machine = param.machine;
  sample.page_size = param.page_size;
  sample.position = param.position;
  auto bytes = test::write_sample_checkpoint(sample, {.profile = param.profile, .threads = 1});
  for (auto level :
       {ValidationLevel::kStructure, ValidationLevel::kChecksums, ValidationLevel::kSemantics}) {
    ValidateOptions options;
    options.level = level;
    ValidationReport report = validate_bytes(bytes, "sample", options);
    EXPECT_EQ(listing(report), "");
    EXPECT_EQ(report.reached, level);
    EXPECT_TRUE(report.valid());
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ValidSamples,
    testing::Values(ValidCase{62, 4096, SamplePosition::kNone, Profile::kDefault},
                    ValidCase{62, 4096, SamplePosition::kForwardTo, Profile::kRaw},
                    ValidCase{62, 16384, SamplePosition::kBetween, Profile::kFast},
                    ValidCase{183, 65536, SamplePosition::kAtEvent, Profile::kSmall},
                    ValidCase{183, 4096, SamplePosition::kNone, Profile::kRaw},
                    ValidCase{3, 4096, SamplePosition::kAtEvent, Profile::kDefault}));

// The sample with `count` handler tables that nothing refers to.
std::vector<std::byte> with_unreferenced_tables(unsigned count) {
  test::Forge forge(test::write_sample_checkpoint({}, {.profile = Profile::kFast, .threads = 1}));
  forge.change([&](schema::Manifest::Builder manifest) {
    auto state = manifest.getState();
    state.initSignalHandlerTables(count);
    for (auto task : state.getTasks()) {
      task.setSignalHandlers(schema::NO_INDEX);
    }
  });
  return forge.assemble();
}

TEST(Validate, ListsSomeFindingsOfACodeAndCountsTheRest) {
  const auto bytes = with_unreferenced_tables(100);
  const ValidationReport report =
      validate_bytes(bytes, "sample", {.threads = 1, .max_findings_per_code = 7});
  EXPECT_EQ(report.findings.size(), 7u);
  EXPECT_EQ(report.suppressed.at("state.unreferenced"), 93u);
  EXPECT_EQ(report.count(Severity::kWarning), 100u);
  EXPECT_TRUE(report.valid());
}

// Elements without a size cost no bytes, so a small file could make every reader count for hours.
TEST(Validate, ManyElementsWithoutASizeAreRefused) {
  EXPECT_THAT(listing(validate_bytes(with_unreferenced_tables((1u << 20) - 8), "sample", {})),
              testing::Not(testing::HasSubstr("manifest.")));
  const ValidationReport report =
      validate_bytes(with_unreferenced_tables((1u << 20) + 1), "sample", {});
  ASSERT_EQ(report.findings.size(), 1u);
  EXPECT_EQ(report.findings[0].code, "manifest.layout");
}

TEST(Validate, ReportDoesNotDependOnThreads) {
  auto bytes = test::write_sample_checkpoint({.chunk_pages = 1}, {.profile = Profile::kRaw});
  for (std::size_t at = 4096; at < 12 * 4096; at += 4096) {
    bytes[at] ^= std::byte{1};
  }
  const std::string expected = listing(validate_bytes(bytes, "sample", {.threads = 1}));
  EXPECT_THAT(expected, testing::HasSubstr("chunk.stored-checksum"));
  for (unsigned threads : {2u, 5u}) {
    EXPECT_EQ(listing(validate_bytes(bytes, "sample", {.threads = threads})), expected);
  }
}

TEST(Validate, FileAndBytesGiveTheSameReport) {
  test::TempDir dir;
  auto bytes = test::write_sample_checkpoint({}, {.profile = Profile::kDefault});
  bytes[300] ^= std::byte{1};
  test::write_file(dir.file("x.pcp"), bytes);
  EXPECT_EQ(listing(validate_file(dir.file("x.pcp"))), listing(validate_bytes(bytes, "x")));
}

TEST(Validate, ProgressReachesTheEnd) {
  const auto bytes = test::write_sample_checkpoint({}, {.profile = Profile::kDefault});
  std::uint64_t last = 0, all = 0;
  ValidateOptions options;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    all = total;
  };
  const ValidationReport report = validate_bytes(bytes, "sample", options);
  EXPECT_EQ(last, all);
  EXPECT_EQ(report.checked_bytes, all);
}

ErrorCode error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(Validate, WhatCannotBeReadIsAnErrorNotAFinding) {
  test::TempDir dir;
  EXPECT_EQ(error_of([&] { validate_file(dir.file("none")); }), ErrorCode::kNotFound);
  EXPECT_EQ(error_of([&] { validate_file(dir.path()); }), ErrorCode::kInvalidArgument);
  const auto bytes = test::write_sample_checkpoint({}, {});
  ValidateOptions options;
  options.limits.max_manifest_bytes = 100;
  EXPECT_EQ(error_of([&] { validate_bytes(bytes, "sample", options); }), ErrorCode::kLimit);
}

} // namespace
} // namespace rrpcp
