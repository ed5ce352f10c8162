// What the validator says of valid files, and of the samples that others start from.

#include "rrpcp/validate.h"
#include "support/sample_state.h"

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

} // namespace
} // namespace rrpcp
