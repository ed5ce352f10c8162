// Typed errors of the library.
//
// Every function of the library that can fail throws rrpcp::Error. An Error says what is wrong, in
// which file, at which byte, and what to do about it. Nothing else is thrown on purpose, except
// std::bad_alloc.
#pragma once

#include "rrpcp/export.h"

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace RRPCP_PUBLIC rrpcp {

// What kind of failure it was. The numbers and names are stable: programs may test them and scripts
// may read the names in `--json` output.
enum class ErrorCode : std::uint16_t {
  // A system call failed for a reason that has no code of its own; errno_value() is set.
  kSystem = 1,
  // The file, process or directory does not exist.
  kNotFound = 2,
  // The kernel denied access (EACCES, EPERM, a ptrace rule).
  kPermission = 3,
  // No space or quota left, or a file-size limit was reached (ENOSPC, EDQUOT, EFBIG).
  kNoSpace = 4,
  // An argument of the call makes no sense.
  kInvalidArgument = 5,
  // Not a checkpoint at all: the magic is missing.
  kNotACheckpoint = 10,
  // A checkpoint that was never finished or was cut: no valid footer.
  kIncomplete = 11,
  // Bytes differ from what their checksum says, or a field has a value that the format forbids.
  kDamaged = 12,
  // The file uses a feature or major version that this library does not know.
  kUnsupportedFeature = 13,
  // A limit of the caller or of the format is exceeded.
  kLimit = 14,
  // The state is valid but cannot be carried by this operation (a socket, a device, another
  // architecture, a missing CPU feature, …).
  kUnsupportedState = 15,
  // A backing file is missing or is not the file that was there at capture.
  kBackingFile = 16,
  // The checkpoint belongs to another trace.
  kForeignTrace = 17,
  // The process is traced by another process already.
  kAlreadyTraced = 20,
  // The process ended while it was worked on.
  kProcessGone = 21,
  // A process or thread id that must be reused is taken.
  kIdInUse = 22,
  // A different checkpoint has the same name or id already.
  kExists = 23,
  // A replay does not do what was recorded.
  kDivergence = 24,
  // An invariant of the library itself does not hold: a defect, please report it.
  kInternal = 99,
};

// The stable name of a code, in kebab case: "not-found", "damaged", …
std::string_view error_code_name(ErrorCode code);

// The one exception type of the library. Copyable; immutable after construction, so safe to read
// from several threads.
class Error : public std::exception {
public:
  // `message` is one sentence without a final period, starting in lower case.
  Error(ErrorCode code, std::string message);

  // Each returns a copy of *this with one more fact, for `throw Error(...).in_file(p).at(off)`.
  Error in_file(std::string path) const;
  // Offset in bytes from the start of the file.
  Error at(std::uint64_t offset) const;
  // errno of the failed call; its text is appended to what().
  Error with_errno(int value) const;
  // What the person can do, one sentence.
  Error with_hint(std::string hint) const;
  // The validator's stable diagnostic code (spec/validation.md) for the same finding.
  Error with_diagnostic(std::string_view diagnostic) const;

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& file() const { return file_; }
  const std::optional<std::uint64_t>& offset() const { return offset_; }
  int errno_value() const { return errno_; }
  const std::string& hint() const { return hint_; }
  const std::string& diagnostic() const { return diagnostic_; }

  // "FILE: at byte N: message: strerror; hint". Valid as long as *this.
  const char* what() const noexcept override { return what_.c_str(); }

private:
  void compose();

  ErrorCode code_;
  int errno_ = 0;
  std::optional<std::uint64_t> offset_;
  std::string message_;
  std::string file_;
  std::string hint_;
  std::string diagnostic_;
  std::string what_;
};

// The Error for a failed system call: kNotFound, kPermission, kNoSpace or kSystem by `errno_value`.
// `what` says what was being done ("cannot open", "writing page data").
Error system_error(int errno_value, std::string_view what);

} // namespace rrpcp
