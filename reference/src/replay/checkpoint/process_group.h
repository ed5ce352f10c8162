// The processes of a replay, stopped, as a checkpoint has them: saving a whole tree of them, and
// making it again.
//
// Under a replayer a process has two ids: the one that the kernel gave it, and the one that it had
// when it was recorded. The latter, the logical one, is what the program sees and what a checkpoint
// has; the former is another one in each replay.
#pragma once

#include "base/scoped_fd.h"
#include "process/tracee.h"
#include "rrpcp/checkpoint_id.h"
#include "rrpcp/output.h"
#include "rrpcp/reader.h"
#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/store.h"
#include "rrpcp/writer.h"

#include <capnp/message.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {
class StateCollector;
}

namespace rrpcp::process::restore {
class MemoryObjects;
}
namespace rrpcp {
class BaseMemory;
}

namespace rrpcp::replay {

struct GroupThread {
  pid_t logical_tid = 0;
  // Stopped under the calling thread's ptrace with PTRACE_O_TRACESYSGOOD, in any kind of stop.
  process::Tracee* tracee = nullptr;
};

struct GroupProcess {
  pid_t logical_pid = 0;
  // The kernel's.
  pid_t pid = 0;
  // At least one. The main thread may have ended.
  std::vector<GroupThread> threads;
};

struct GroupCaptureOptions {
  WriterOptions writer = {};
  // Absolute path. Mapped files in it are named relative to it.
  std::string trace_directory = {};
  // What the new checkpoint takes pages over from; must outlive the capture. May be null.
  BaseMemory* base = nullptr;
};

// Saves processes that stand still. Use from the tracing thread, in this order:
//
//   GroupCapture capture(processes, options);
//   … set producer, position, trace, session and what else is the replayer's in capture.state() …
//   capture.publish(store);
//
// The constructor brings every thread into an event stop, without letting it execute anything, and
// there it is left, with the registers that it had. System calls are made in the processes, which
// leaves no trace in them.
class GroupCapture {
public:
  // Throws Error: kProcessGone, kUnsupportedState for what cannot be carried (told all at once).
  GroupCapture(std::vector<GroupProcess> processes, const GroupCaptureOptions& options);
  ~GroupCapture();
  GroupCapture(const GroupCapture&) = delete;
  GroupCapture& operator=(const GroupCapture&) = delete;

  // Processes and tasks are there with their ids, in the order of the model: by logical pid, the
  // leader first, then by logical tid. Address spaces and memory come later.
  schema::State::Builder state();
  schema::Provenance::Builder provenance();
  // The index in State.addressSpaces of a process given by its index in State.processes.
  std::uint32_t space_of(std::uint32_t process) const;
  // Number of address spaces.
  std::uint32_t space_count() const;
  // Called when address spaces are in the state, before it is written.
  void before_finish(std::function<void(schema::State::Builder)> complete) {
    complete_ = std::move(complete);
  }

  // Writes the checkpoint. Call once; nothing may follow. Throws Error.
  CheckpointId write(Output& output);
  // The same into a new file of `store`. Returns the file's path.
  std::string publish(const Store& store);

private:
  GroupCaptureOptions options_;
  std::vector<GroupProcess> processes_;
  std::unique_ptr<capnp::MallocMessageBuilder> message_;
  std::unique_ptr<process::capture::StateCollector> collector_;
  std::function<void(schema::State::Builder)> complete_;
  std::int64_t frozen_at_ = 0;
};

struct GroupRestoreOptions {
  // PTRACE_O_* for every thread, besides PTRACE_O_TRACESYSGOOD and PTRACE_O_EXITKILL.
  std::uintptr_t trace_options = 0;
  // Where files are found that the checkpoint names relative to its trace.
  std::string trace_directory = {};
  // Compare the content of mapped files with the stored digests.
  bool verify_files = true;
  // Threads that decode chunks. 0: as many as processors are available.
  unsigned threads = 0;
};

struct RestoredThread {
  pid_t logical_tid = 0;
  // Index in State.tasks.
  std::uint32_t index = 0;
  // In an event stop, with registers and signal mask as stored.
  process::Tracee tracee;
};

struct RestoredProcess {
  pid_t logical_pid = 0;
  pid_t pid = 0;
  // In the order of State.tasks. The first one leads the process as the kernel sees it.
  std::vector<RestoredThread> threads;
};

struct RestoredGroup {
  // In the order of State.processes.
  std::vector<RestoredProcess> processes;
  // By index in State.memoryObjects: a descriptor (O_RDWR) of shared memory that was made anew;
  // empty for other objects.
  std::vector<ScopedFd> objects;
};

// Makes all processes of a checkpoint of a replay again, as children of the calling process and
// under the ptrace of the calling thread. They share memory as they did, have the dispositions,
// masks and stacks for signals that they had, and no descriptors. Memory is copied from the file,
// which is not needed any more then. Throws Error: kDamaged, kUnsupportedState, kBackingFile,
// kSystem, …; nothing is left behind then.
RestoredGroup restore_group(const CheckpointReader& reader, const GroupRestoreOptions& options);

// Descriptors as RestoredGroup has them. Throws Error.
std::vector<ScopedFd> keep_descriptors(const process::restore::MemoryObjects& objects);

// Kills and reaps processes, threads by threads. Those that have ended already do no harm.
void kill_group(std::vector<RestoredProcess>& processes);

} // namespace rrpcp::replay
