// How tests capture the members of a series.
#pragma once

#include "rrpcp/format.h"
#include "rrpcp/process/capture.h"

#include <string>

namespace rrpcp::test {

// `base` may be empty. Whatever cannot be carried is left out.
inline CaptureOptions with_base(const std::string& base) {
  CaptureOptions options;
  options.profile = Profile::kFast;
  options.threads = 1;
  options.allow = {allowable_names().begin(), allowable_names().end()};
  options.base = base;
  options.max_bases = format::kMaxBases;
  return options;
}

} // namespace rrpcp::test
