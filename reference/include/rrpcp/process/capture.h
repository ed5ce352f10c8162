// Capturing a live process into a checkpoint.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/export.h"
#include "rrpcp/writer.h"

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// Kinds of state that cannot be carried as they are. A capture or restore that meets one refuses,
// unless its name is allowed; what is done then is said beside each name.
// clang-format off
//   "terminal"      a tty: at restore, the restorer's own descriptor of the same number, else /dev/null
//   "pipe"          one end of a pipe whose other end is elsewhere: likewise
//   "socket"        at restore nobody connects to it, or every call on it fails like a reset peer
//   "device"        a device other than null, zero, full, random, urandom: reopened by path
//   "other-fd"      what the kernel keeps for a descriptor and does not tell: at restore /dev/null
//   "changed-file"  at restore: an open or mapped file that differs from what it was
//   "new-ids"       at restore: other process and thread ids than the captured ones
//   "children"      at capture: child processes are left out, and with `kill` other processes of its
//                   group or session
//   "posix-timer"   timers of timer_create(2) are left out
//   "deleted-file"  an open file without a name whose contents cannot be stored: zeros
//   "seccomp"       filters that cannot be put back: the restored process is less confined
// clang-format on
using AllowList = std::set<std::string>;

// Every name of the list above, for help texts and for checking arguments.
const std::vector<std::string>& allowable_names();

// What the process does after the capture.
enum class AfterCapture {
  kContinue, // goes on unharmed (a stopped process stays stopped)
  kKill,     // is killed by SIGKILL, after the checkpoint is published
};

struct CaptureOptions {
  Profile profile = Profile::kDefault;
  unsigned threads = 0;
  // Store the contents of mapped files too, so that the checkpoint needs none of them.
  bool embed_files = false;
  // Store SHA-256 digests of state and memory (WriterOptions::seal).
  bool seal = false;
  // An earlier checkpoint of the process, in the directory of the new one: what it holds at the
  // same addresses is compared and not stored again (spec/series.md). Empty: the checkpoint needs
  // no other file. One that takes over pages of so many others already (`max_bases`) is not used,
  // and the new checkpoint is a full one.
  std::string base = {};
  std::uint32_t max_bases = format::kDefaultMaxBases;
  AfterCapture after = AfterCapture::kContinue;
  AllowList allow = {};
  // Capture whatever there is, for looking at, comparing and core files: the checkpoint says so,
  // and no restore takes it. Not with kKill.
  bool inspect_only = false;
  // Bytes of contents of open files without a name (unlink(2), O_TMPFILE) that are stored in all;
  // a process with more is refused ("deleted-file").
  std::uint64_t max_unlinked_bytes = std::uint64_t{1} << 30;
  // Free text for the provenance.
  std::string comment = {};
  // Called now and then from the capturing thread with bytes of memory read and to be read in all.
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};
  // Asked now and then from the capturing thread, also while it waits: true has the capture given
  // up in good order (kSystem, with errno ECANCELED). Must not throw.
  std::function<bool()> cancelled = {};
};

struct CaptureResult {
  CheckpointId id;
  std::string path;
  std::uint64_t file_bytes = 0;
  // Bytes of memory that were read from the process (touched pages).
  std::uint64_t memory_bytes = 0;
  std::uint64_t tasks = 0;
  std::uint64_t mappings = 0;
  // Checkpoints that the new one takes over pages of.
  std::uint64_t bases = 0;
  // Nanoseconds, by CLOCK_MONOTONIC: from the first thread stopped to all running again, and in
  // all.
  std::uint64_t frozen_nanoseconds = 0;
  std::uint64_t total_nanoseconds = 0;
  // Part of the total: until the last byte was handed to the kernel. What follows is syncing it to
  // the disk and publishing the file.
  std::uint64_t written_nanoseconds = 0;
  // What was left out or will not come back as it was, because it was allowed; one sentence each.
  std::vector<std::string> warnings;
};

// Captures process `pid` with all its threads into the file `path`, which appears whole or not at
// all, for its owner alone (mode 0600); an existing file is replaced only by a whole one. The
// process goes on as soon as its state is safe; its memory is read from a copy-on-write snapshot.
// Throws Error: kNotFound (no such process), kPermission, kAlreadyTraced, kProcessGone,
// kUnsupportedState (message lists everything that cannot be carried), kNoSpace, …; whatever
// happens, the process is left running as it was. Thread-safe for different processes.
CaptureResult capture_process(pid_t pid, const std::string& path,
                              const CaptureOptions& options = {});

} // namespace rrpcp
