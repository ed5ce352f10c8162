#include "replay/checkpoint/supervisor_codec.h"

#include "base/bytes.h"
#include "base/page.h"
#include "container/canonical.h"
#include "container/kj_errors.h"
#include "model/signal_info.h"
#include "rrpcp/error.h"
#include "rrpcp/schema/replay.capnp.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstring>
#include <kj/array.h>
#include <optional>
#include <string>
#include <utility>

namespace rrpcp::replay {

namespace {

capnp::Data::Reader as_data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

std::string text_of(capnp::Data::Reader bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

Error damaged(const CheckpointReader& reader, const std::string& what) {
  return Error(ErrorCode::kDamaged, what).in_file(reader.name());
}

// The payload of the extension, for as long as `use` runs.
template <typename Use> void with_extension(const CheckpointReader& reader, Use use) {
  with_kj_errors(reader.name(), [&] {
    for (schema::Extension::Reader extension : reader.state().getExtensions()) {
      if (std::string_view(extension.getId().cStr()) != kReplayExtension) {
        continue;
      }
      if (extension.getVersion() != kReplayExtensionVersion) {
        throw Error(ErrorCode::kUnsupportedState,
                    "the state of the replay has version " +
                        std::to_string(extension.getVersion()) + ", and " +
                        std::to_string(kReplayExtensionVersion) + " is known")
            .in_file(reader.name());
      }
      const capnp::Data::Reader payload = extension.getPayload();
      if (payload.size() % sizeof(capnp::word) != 0) {
        throw damaged(reader, "the state of the replay is cut off");
      }
      kj::Array<capnp::word> words =
          kj::heapArray<capnp::word>(payload.size() / sizeof(capnp::word));
      std::memcpy(words.begin(), payload.begin(), payload.size());
      const kj::ArrayPtr<const capnp::word> segments[] = {words};
      // It may hold the contents of large files, which are read a few times.
      capnp::ReaderOptions options;
      options.traversalLimitInWords += 4 * std::uint64_t{words.size()};
      capnp::SegmentArrayMessageReader message(segments, options);
      use(message.getRoot<schema::ReplayState>());
      return;
    }
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint has no state of a pcp-rr replay")
        .in_file(reader.name());
  });
}

} // namespace

void store_supervisor(const SupervisorState& supervisor, schema::State::Builder state) {
  for (schema::Process::Builder process : state.getProcesses()) {
    for (const ProcessState& known : supervisor.processes) {
      if (known.pid == process.getPid()) {
        process.setSerial(known.serial);
        process.setParentPid(known.parent);
      }
    }
  }
  for (schema::Task::Builder task : state.getTasks()) {
    if (const TaskState* known = supervisor.find_task(task.getTid())) {
      task.setSerial(known->serial);
      schema::TaskReplayState::Builder replay = task.initReplay();
      replay.setTicks(known->ticks);
      replay.setOwnNamespaceTid(known->tid);
      replay.setFirstRunEvent(known->first_run_event);
    }
  }
  schema::Session::Builder session = state.initSession();
  schema::Statistics::Builder statistics = session.initStatistics();
  statistics.setBytesWritten(supervisor.bytes_written);
  statistics.setSystemCallsPerformed(supervisor.system_calls);
  std::int64_t ticks = 0;
  for (const TaskState& task : supervisor.tasks) {
    ticks += task.ticks;
  }
  statistics.setTicksProcessed(ticks);
  session.setNextTaskSerial(supervisor.next_serial);
  if (const TaskState* last = supervisor.find_task(supervisor.last_task)) {
    schema::TaskId::Builder id = session.initLastContinuedTask();
    id.setPid(last->pid);
    id.setTid(last->tid);
    id.setTaskSerial(last->serial);
    for (const ProcessState& process : supervisor.processes) {
      if (process.pid == last->pid) {
        id.setProcessSerial(process.serial);
      }
    }
  }
  if (std::any_of(supervisor.last_signal.begin(), supervisor.last_signal.end(),
                  [](std::byte b) { return b != std::byte{0}; })) {
    decode_siginfo(supervisor.last_signal, session.initLastSignal());
  }
}

void store_extension(const SupervisorState& supervisor,
                     const std::map<std::uint32_t, StoredObject>& objects,
                     schema::State::Builder state) {
  for (schema::Task::Builder task : state.getTasks()) {
    const std::int32_t pid = state.getProcesses()[task.getProcess()].getPid();
    for (const ProcessState& process : supervisor.processes) {
      if (process.pid == pid && process.shares_memory_of == 0) {
        state.getAddressSpaces()[task.getAddressSpace()].setFirstRunEvent(process.space_event);
        state.getAddressSpaces()[task.getAddressSpace()].setOriginalExecutable(
            as_data(process.executable));
      }
    }
  }
  capnp::MallocMessageBuilder message;
  schema::ReplayState::Builder root = message.initRoot<schema::ReplayState>();
  auto tasks = root.initTasks(static_cast<unsigned>(supervisor.tasks.size()));
  for (unsigned i = 0; i < tasks.size(); ++i) {
    tasks[i].setTid(supervisor.tasks[i].tid);
    tasks[i].setInCall(supervisor.tasks[i].in_call);
    tasks[i].setLastEvent(supervisor.tasks[i].last_event);
  }
  auto processes = root.initProcesses(static_cast<unsigned>(supervisor.processes.size()));
  for (unsigned i = 0; i < processes.size(); ++i) {
    const ProcessState& process = supervisor.processes[i];
    processes[i].setPid(process.pid);
    processes[i].setParent(process.parent);
    processes[i].setSerial(process.serial);
    processes[i].setSpaceEvent(process.space_event);
    processes[i].setSharesMemoryOf(process.shares_memory_of);
    processes[i].setExecutable(as_data(process.executable));
  }
  auto out = root.initObjects(static_cast<unsigned>(supervisor.objects.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    const ObjectState& object = supervisor.objects[i];
    out[i].setNumber(object.number);
    out[i].setSize(object.size);
    out[i].setPath(as_data(object.path));
    const StoredObject& stored = objects.at(object.number);
    out[i].setMemoryObject(stored.memory_object);
    auto pieces = out[i].initContents(static_cast<unsigned>(stored.contents.size()));
    unsigned piece = 0;
    for (const auto& [offset, bytes] : stored.contents) {
      pieces[piece].setOffset(offset);
      pieces[piece].setBytes({reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()});
      ++piece;
    }
  }
  root.setLastTask(supervisor.last_task);
  root.setEnded(supervisor.ended);
  root.setStatus(supervisor.status);
  const kj::Array<capnp::word> words = canonical_message(root.asReader());
  auto extensions = state.initExtensions(1);
  extensions[0].setId(kReplayExtension.data());
  extensions[0].setVersion(kReplayExtensionVersion);
  extensions[0].setCritical(true);
  extensions[0].setPayload(words.asBytes());
}

SupervisorState load_supervisor(const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  SupervisorState supervisor;
  with_extension(reader, [&](schema::ReplayState::Reader root) {
    supervisor.event = state.getPosition().getClone().getEvent();
    for (schema::ReplayTask::Reader stored : root.getTasks()) {
      std::optional<schema::Task::Reader> task;
      for (schema::Task::Reader candidate : state.getTasks()) {
        if (candidate.getTid() == stored.getTid()) {
          task = candidate;
        }
      }
      if (!task || supervisor.find_task(stored.getTid()) != nullptr) {
        throw damaged(reader, "task " + std::to_string(stored.getTid()) +
                                  " of the replay is not a task of the checkpoint");
      }
      TaskState& out = supervisor.tasks.emplace_back();
      out.tid = stored.getTid();
      out.pid = state.getProcesses()[task->getProcess()].getPid();
      out.serial = task->getSerial();
      out.in_call = stored.getInCall();
      out.ticks = task->getReplay().getTicks();
      out.first_run_event = task->getReplay().getFirstRunEvent();
      out.last_event = stored.getLastEvent();
    }
    if (supervisor.tasks.size() != state.getTasks().size()) {
      throw damaged(reader, "a task of the checkpoint is not one of the replay");
    }
    for (schema::ReplayProcess::Reader stored : root.getProcesses()) {
      ProcessState& out = supervisor.processes.emplace_back();
      out.pid = stored.getPid();
      out.parent = stored.getParent();
      out.serial = stored.getSerial();
      out.space_event = stored.getSpaceEvent();
      out.shares_memory_of = stored.getSharesMemoryOf();
      out.executable = text_of(stored.getExecutable());
    }
    for (const TaskState& task : supervisor.tasks) {
      if (supervisor.find_process(task.pid) == nullptr) {
        throw damaged(reader, "process " + std::to_string(task.pid) +
                                  " of the checkpoint is not one of the replay");
      }
    }
    for (schema::ReplayObject::Reader stored : root.getObjects()) {
      supervisor.objects.push_back(
          {stored.getNumber(), stored.getSize(), text_of(stored.getPath())});
    }
    supervisor.last_task = root.getLastTask();
    supervisor.ended = root.getEnded();
    supervisor.status = root.getStatus();
  });
  const schema::Session::Reader session = state.getSession();
  supervisor.next_serial = session.getNextTaskSerial();
  supervisor.bytes_written = session.getStatistics().getBytesWritten();
  supervisor.system_calls = session.getStatistics().getSystemCallsPerformed();
  if (session.hasLastSignal()) {
    supervisor.last_signal = encode_siginfo(session.getLastSignal());
  }
  return supervisor;
}

std::map<std::uint32_t, StoredObject> load_objects(const CheckpointReader& reader) {
  std::map<std::uint32_t, StoredObject> objects;
  with_extension(reader, [&](schema::ReplayState::Reader root) {
    for (schema::ReplayObject::Reader stored : root.getObjects()) {
      StoredObject& out = objects[stored.getNumber()];
      out.memory_object = stored.getMemoryObject();
      if (out.memory_object != schema::NO_INDEX &&
          out.memory_object >= reader.state().getMemoryObjects().size()) {
        throw damaged(reader, "a shared object of the replay is not one of the checkpoint");
      }
      for (schema::ObjectBytes::Reader piece : stored.getContents()) {
        const capnp::Data::Reader data = piece.getBytes();
        const auto* bytes = reinterpret_cast<const std::byte*>(data.begin());
        // Those behind its end lie in its last page.
        const std::uint64_t end = piece.getOffset() < stored.getSize()
                                      ? stored.getSize()
                                      : align_up(stored.getSize(), kPage);
        if (piece.getOffset() > end || data.size() > end - piece.getOffset()) {
          throw damaged(reader, "a shared object of the replay has bytes beyond its end");
        }
        out.contents[piece.getOffset()].assign(bytes, bytes + data.size());
      }
    }
  });
  return objects;
}

} // namespace rrpcp::replay
