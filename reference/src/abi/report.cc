#include "abi/error.h"
#include "rrpcp/validate.h"

#include <cstdint>
#include <memory>

using namespace rrpcp;
using namespace rrpcp::abi;

struct rrpcp_report {
  ValidationReport report;
};

static_assert(RRPCP_LEVEL_STRUCTURE == static_cast<int>(ValidationLevel::kStructure));
static_assert(RRPCP_LEVEL_CHECKSUMS == static_cast<int>(ValidationLevel::kChecksums));
static_assert(RRPCP_LEVEL_SEMANTICS == static_cast<int>(ValidationLevel::kSemantics));
static_assert(RRPCP_SEVERITY_INFO == static_cast<int>(Severity::kInfo));
static_assert(RRPCP_SEVERITY_WARNING == static_cast<int>(Severity::kWarning));
static_assert(RRPCP_SEVERITY_ERROR == static_cast<int>(Severity::kError));

rrpcp_status rrpcp_validate(const char* path, int level, rrpcp_report** report,
                            rrpcp_error** error) {
  return guarded(error, [&] {
    require(path, "the path");
    if (level < RRPCP_LEVEL_STRUCTURE || level > RRPCP_LEVEL_SEMANTICS) {
      throw Error(ErrorCode::kInvalidArgument, "there is no level " + std::to_string(level));
    }
    ValidateOptions options;
    options.level = static_cast<ValidationLevel>(level);
    *report = new rrpcp_report{validate_file(path, options)};
  });
}

void rrpcp_report_free(rrpcp_report* report) {
  delete report;
}

int rrpcp_report_valid(const rrpcp_report* report) {
  return report->report.valid() ? 1 : 0;
}

size_t rrpcp_report_count(const rrpcp_report* report) {
  return report->report.findings.size();
}

void rrpcp_report_finding(const rrpcp_report* report, size_t index, rrpcp_finding* finding,
                          size_t size) {
  rrpcp_finding result = {};
  result.offset = UINT64_MAX;
  result.code = result.message = result.hint = result.path = "";
  if (index < report->report.findings.size()) {
    const Finding& in = report->report.findings[index];
    result.code = in.code.data(); // a literal, as the hint
    result.message = in.message.c_str();
    result.hint = in.hint.data() != nullptr ? in.hint.data() : "";
    result.path = in.path.c_str();
    result.offset = in.offset.value_or(UINT64_MAX);
    result.severity = static_cast<std::int32_t>(in.severity);
  }
  fill(finding, size, &result, sizeof result);
}
