// Exit codes of the commands: stable, and listed in every man page.
#pragma once

#include "rrpcp/error.h"

namespace rrpcp::tools {

// 0 to 2 mean the same for every command. Commands that act on processes or write files use the
// finer ones beyond too (exit_code_for); commands that only answer questions keep to 0, 1 and 2, as
// diff(1) does.
enum ExitCode : int {
  // Done; the answer is yes: valid, equal.
  kExitOk = 0,
  // Done; the answer is no: invalid, different. kDivergence: a replay is no replay.
  kExitNo = 1,
  // Wrong usage, or a failure that has no code of its own below.
  kExitTrouble = 2,
  // kNotFound, kProcessGone: no such process or file.
  kExitNotFound = 3,
  // kPermission, kAlreadyTraced: the kernel does not allow it.
  kExitPermission = 4,
  // kNoSpace: disk or quota is full.
  kExitNoSpace = 5,
  // kUnsupportedState: something that cannot be carried; the message lists it.
  kExitUnsupportedState = 6,
  // kBackingFile: a file that the checkpoint refers to is missing or changed.
  kExitBackingFile = 7,
  // kNotACheckpoint, kIncomplete, kDamaged, kUnsupportedFeature, kLimit: the checkpoint file cannot
  // be used.
  kExitBadCheckpoint = 8,
  // kExists, kIdInUse: something is in the way.
  kExitConflict = 9,
  // SIGINT, SIGTERM or SIGHUP came, and the work was given up in good order.
  kExitCancelled = 10,
};

// The exit code by which commands that act report `code`.
ExitCode exit_code_for(ErrorCode code);

} // namespace rrpcp::tools
