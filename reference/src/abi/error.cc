#include "abi/error.h"

#include <algorithm>
#include <cstring>

namespace rrpcp::abi {

namespace {

static_assert(RRPCP_SYSTEM == static_cast<int>(ErrorCode::kSystem));
static_assert(RRPCP_NOT_FOUND == static_cast<int>(ErrorCode::kNotFound));
static_assert(RRPCP_PERMISSION == static_cast<int>(ErrorCode::kPermission));
static_assert(RRPCP_NO_SPACE == static_cast<int>(ErrorCode::kNoSpace));
static_assert(RRPCP_INVALID_ARGUMENT == static_cast<int>(ErrorCode::kInvalidArgument));
static_assert(RRPCP_NOT_A_CHECKPOINT == static_cast<int>(ErrorCode::kNotACheckpoint));
static_assert(RRPCP_INCOMPLETE == static_cast<int>(ErrorCode::kIncomplete));
static_assert(RRPCP_DAMAGED == static_cast<int>(ErrorCode::kDamaged));
static_assert(RRPCP_UNSUPPORTED_FEATURE == static_cast<int>(ErrorCode::kUnsupportedFeature));
static_assert(RRPCP_LIMIT == static_cast<int>(ErrorCode::kLimit));
static_assert(RRPCP_UNSUPPORTED_STATE == static_cast<int>(ErrorCode::kUnsupportedState));
static_assert(RRPCP_BACKING_FILE == static_cast<int>(ErrorCode::kBackingFile));
static_assert(RRPCP_FOREIGN_TRACE == static_cast<int>(ErrorCode::kForeignTrace));
static_assert(RRPCP_EXISTS == static_cast<int>(ErrorCode::kExists));
static_assert(RRPCP_INTERNAL == static_cast<int>(ErrorCode::kInternal));

// Where there is no memory, there is none for an error either. Nobody can free or change it.
rrpcp_error* no_memory() noexcept {
  static rrpcp_error* const error = new (std::nothrow)
      rrpcp_error{Error(static_cast<ErrorCode>(RRPCP_NO_MEMORY), "there is not enough memory")};
  return error;
}

// Made while there is memory.
[[maybe_unused]] rrpcp_error* const made_early = no_memory();

} // namespace

rrpcp_status report(rrpcp_error** error, const Error& what) noexcept {
  if (error != nullptr) {
    try {
      *error = new rrpcp_error{what};
    } catch (...) {
      return report_no_memory(error);
    }
  }
  return static_cast<rrpcp_status>(what.code());
}

rrpcp_status report_no_memory(rrpcp_error** error) noexcept {
  if (error != nullptr) {
    *error = no_memory();
  }
  return RRPCP_NO_MEMORY;
}

void require(const void* pointer, const char* what) {
  if (pointer == nullptr) {
    throw Error(ErrorCode::kInvalidArgument, std::string(what) + " is NULL");
  }
}

void fill(void* out, std::size_t size, const void* value, std::size_t value_size) {
  std::memcpy(out, value, std::min(size, value_size));
  if (size > value_size) {
    std::memset(static_cast<char*>(out) + value_size, 0, size - value_size);
  }
}

} // namespace rrpcp::abi

using namespace rrpcp;

void rrpcp_error_free(rrpcp_error* error) {
  if (error != abi::no_memory()) {
    delete error;
  }
}

rrpcp_status rrpcp_error_status(const rrpcp_error* error) {
  return static_cast<rrpcp_status>(error->error.code());
}

const char* rrpcp_error_text(const rrpcp_error* error) {
  return error->error.what();
}

const char* rrpcp_error_message(const rrpcp_error* error) {
  return error->error.message().c_str();
}

const char* rrpcp_error_file(const rrpcp_error* error) {
  return error->error.file().c_str();
}

const char* rrpcp_error_hint(const rrpcp_error* error) {
  return error->error.hint().c_str();
}

const char* rrpcp_error_diagnostic(const rrpcp_error* error) {
  return error->error.diagnostic().c_str();
}

int rrpcp_error_errno(const rrpcp_error* error) {
  return error->error.errno_value();
}

int rrpcp_error_offset(const rrpcp_error* error, std::uint64_t* offset) {
  if (!error->error.offset()) {
    return 0;
  }
  if (offset != nullptr) {
    *offset = *error->error.offset();
  }
  return 1;
}
