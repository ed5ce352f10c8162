// Recording a program.
#pragma once

#include "rrpcp/export.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// Which signals the calling process ignores now, bit N-1 for signal N.
std::uint64_t ignored_signals();

struct RecordOptions {
  // The trace directory, which exists and has no trace yet.
  std::string directory;
  // Program and arguments; looked up in PATH as execvp(3) does.
  std::vector<std::string> command;
  // Record until every process has ended, not only the first.
  bool wait_for_all = false;
  // Signals that the program finds ignored, bit N-1 for signal N; all others have their default
  // action. By default what the calling process ignores.
  std::uint64_t ignored_signals = rrpcp::ignored_signals();
  // What CPUID tells the program: "native" for what this processor is, or "x86-64", "x86-64-v2",
  // "x86-64-v3" for no more than a processor of that level has, so that the trace can be replayed
  // on every one. Empty: "native".
  std::string cpuid = {};
  // Told about what cannot be recorded as it is, once for each kind of thing.
  std::function<void(const std::string&)> notice = {};
  // With every so many events, of the process that has come so far, digests of all its writable
  // memory are stored, for replays to compare. 0: none.
  std::int64_t checksum_interval = 0;
  // Have frequent calls that do not block made without a stop, where the machine allows it, and
  // tell of them later. The trace is the same.
  bool buffer_calls = true;
  // Where what was found in program files is kept, for later recordings to begin sooner; made where
  // it does not exist, for its user alone. Empty: nowhere.
  std::string cache_directory = {};
  // Asked between events, and when a signal interrupts a wait: where there is a text, the recording
  // ends with Error(kDivergence) of that text.
  std::function<std::optional<std::string>()> stop = {};
  // Told the process id once the program is there, before it executes anything.
  std::function<void(pid_t)> started = {};
};

struct RecordResult {
  // Of the first process, as waitpid(2) gives it.
  int status = 0;
  std::int64_t events = 0;
  // Processes that were still running when the first one ended, and were killed.
  std::uint64_t killed = 0;
};

// Runs a program and records it, and the processes that it makes. It has the caller's descriptors,
// environment and terminal. Throws Error: kNotFound, kPermission where the program cannot be
// executed, kInvalidArgument for an unknown `cpuid`, kUnsupportedState for what cannot be recorded,
// kNoSpace, …; the recorded processes are killed then, and the trace is readable up to its last
// whole chunk.
RecordResult record_program(const RecordOptions& options);

} // namespace rrpcp
