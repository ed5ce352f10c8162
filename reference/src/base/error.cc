#include "rrpcp/error.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace rrpcp {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
  case ErrorCode::kSystem:
    return "system";
  case ErrorCode::kNotFound:
    return "not-found";
  case ErrorCode::kPermission:
    return "permission";
  case ErrorCode::kNoSpace:
    return "no-space";
  case ErrorCode::kInvalidArgument:
    return "invalid-argument";
  case ErrorCode::kNotACheckpoint:
    return "not-a-checkpoint";
  case ErrorCode::kIncomplete:
    return "incomplete";
  case ErrorCode::kDamaged:
    return "damaged";
  case ErrorCode::kUnsupportedFeature:
    return "unsupported-feature";
  case ErrorCode::kLimit:
    return "limit";
  case ErrorCode::kUnsupportedState:
    return "unsupported-state";
  case ErrorCode::kBackingFile:
    return "backing-file";
  case ErrorCode::kForeignTrace:
    return "foreign-trace";
  case ErrorCode::kAlreadyTraced:
    return "already-traced";
  case ErrorCode::kProcessGone:
    return "process-gone";
  case ErrorCode::kIdInUse:
    return "id-in-use";
  case ErrorCode::kExists:
    return "exists";
  case ErrorCode::kDivergence:
    return "divergence";
  case ErrorCode::kInternal:
    return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {
  compose();
}

Error Error::in_file(std::string path) const {
  Error copy(*this);
  copy.file_ = std::move(path);
  copy.compose();
  return copy;
}

Error Error::at(std::uint64_t offset) const {
  Error copy(*this);
  copy.offset_ = offset;
  copy.compose();
  return copy;
}

Error Error::with_errno(int value) const {
  Error copy(*this);
  copy.errno_ = value;
  copy.compose();
  return copy;
}

Error Error::with_hint(std::string hint) const {
  Error copy(*this);
  copy.hint_ = std::move(hint);
  copy.compose();
  return copy;
}

Error Error::with_diagnostic(std::string_view diagnostic) const {
  Error copy(*this);
  copy.diagnostic_ = diagnostic;
  return copy;
}

void Error::compose() {
  what_.clear();
  if (!file_.empty()) {
    what_ += file_;
    what_ += ": ";
  }
  if (offset_) {
    what_ += "at byte " + std::to_string(*offset_) + ": ";
  }
  what_ += message_;
  if (errno_ != 0) {
    what_ += ": ";
    what_ += std::strerror(errno_);
  }
  if (!hint_.empty()) {
    what_ += "; " + hint_;
  }
}

Error system_error(int errno_value, std::string_view what) {
  ErrorCode code = ErrorCode::kSystem;
  switch (errno_value) {
  case ENOENT:
  case ENOTDIR:
  case ESRCH:
    code = ErrorCode::kNotFound;
    break;
  case EACCES:
  case EPERM:
  case EROFS:
    code = ErrorCode::kPermission;
    break;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    code = ErrorCode::kNoSpace;
    break;
  default:
    break;
  }
  return Error(code, std::string(what)).with_errno(errno_value);
}

} // namespace rrpcp
