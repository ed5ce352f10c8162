// What stands between the library's exceptions and callers that know none.
#pragma once

#include "rrpcp/error.h"
#include "rrpcp/rrpcp.h"

#include <kj/exception.h>
#include <new>
#include <string>
#include <utility>

struct rrpcp_error {
  rrpcp::Error error;
};

namespace rrpcp::abi {

// Sets *error, where it is not null, and returns the status.
rrpcp_status report(rrpcp_error** error, const Error& what) noexcept;
rrpcp_status report_no_memory(rrpcp_error** error) noexcept;

// Runs the body of a function of the interface: what it throws becomes a status and an error.
// `kj_status` is what Cap'n Proto's own exceptions mean in it.
template <typename Body>
rrpcp_status guarded(rrpcp_error** error, Body&& body,
                     ErrorCode kj_status = ErrorCode::kDamaged) noexcept {
  if (error != nullptr) {
    *error = nullptr;
  }
  try {
    std::forward<Body>(body)();
    return RRPCP_OK;
  } catch (const Error& caught) {
    return report(error, caught);
  } catch (const std::bad_alloc&) {
    return report_no_memory(error);
  } catch (const kj::Exception& caught) {
    return report(error, Error(kj_status, caught.getDescription().cStr()));
  } catch (const std::exception& caught) {
    return report(error, Error(ErrorCode::kInternal, caught.what()));
  } catch (...) {
    return report(error, Error(ErrorCode::kInternal, "an exception of an unknown kind"));
  }
}

// Throws Error(kInvalidArgument) saying that `what` is null.
void require(const void* pointer, const char* what);

// Copies the first `size` bytes of a struct that the library fills.
void fill(void* out, std::size_t size, const void* value, std::size_t value_size);

} // namespace rrpcp::abi
