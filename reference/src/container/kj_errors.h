// Turns what Cap'n Proto throws into the library's errors.
#pragma once

#include "rrpcp/error.h"

#include <kj/exception.h>
#include <string>
#include <string_view>
#include <utility>

namespace rrpcp {

// Runs `function` and returns its value; a kj::Exception (a pointer of the wrong kind in the
// message of file `name`) becomes Error(kDamaged). `what` and `diagnostic` say which message.
template <typename Function>
decltype(auto) with_kj_errors(const std::string& name, Function&& function,
                              std::string_view what = "the manifest",
                              std::string_view diagnostic = "manifest.message") {
  try {
    return std::forward<Function>(function)();
  } catch (const kj::Exception& exception) {
    throw Error(ErrorCode::kDamaged,
                std::string(what) + " has a malformed part: " + exception.getDescription().cStr())
        .in_file(name)
        .with_diagnostic(diagnostic);
  }
}

} // namespace rrpcp
