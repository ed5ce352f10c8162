#include "replay/checkpoint/session_checkpoint.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/page.h"
#include "container/kj_errors.h"
#include "replay/checkpoint/process_group.h"
#include "replay/checkpoint/supervisor_codec.h"
#include "replay/engine/behind_end.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/process_image.h"
#include "rrpcp/error.h"
#include "rrpcp/series.h"
#include "rrpcp/trace/trace_format.h"
#include "store/held_base.h"
#include "trace/private_entries.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <map>
#include <sched.h>
#include <span>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr const char* kProducer = "org.rrpcp.rr"; // spec/registry.md

std::vector<GroupProcess> processes_of(ReplaySession& session) {
  std::map<pid_t, GroupProcess> processes;
  for (const TaskState& task : session.state().tasks) {
    GroupProcess& process = processes[task.pid];
    process.logical_pid = task.pid;
    process.pid = session.real_process(task.tid);
    process.threads.push_back({task.tid, &session.tracee(task.tid)});
  }
  std::vector<GroupProcess> group;
  for (auto& [pid, process] : processes) {
    group.push_back(std::move(process));
  }
  return group;
}

void describe_position(const ReplaySession& session, std::optional<PlaceBetween> between,
                       schema::State::Builder state) {
  schema::Position::Builder position = state.initPosition();
  schema::Mark::Builder clone = position.initClone();
  clone.setEvent(session.event());
  if (!session.at_end()) {
    if (const TaskState* task = session.state().find_task(session.current().task)) {
      clone.setTicks(task->ticks);
      clone.setTicksAtEventStart(task->ticks);
    }
  }
  if (between) {
    schema::Position::Between::Builder place = position.initBetween();
    place.setOrder(between->order);
    place.setInstructions(between->instructions);
  } else {
    position.setAtEvent();
  }
  schema::TraceBinding::Builder trace = state.initTrace();
  const TraceUuid& uuid = session.trace().uuid();
  trace.setUuid({uuid.bytes.data(), uuid.bytes.size()});
  trace.setFormat(trace_format::kFormatId.data());
  trace.setFormatVersion(trace_format::kMajorVersion);
  const StreamPosition place = session.position();
  schema::StreamCursor::Builder cursor = trace.initCursor(1)[0];
  cursor.setStream(trace_format::kEventsName.data());
  cursor.setBlockOffset(place.block_offset);
  cursor.setOffsetInBlock(place.offset_in_block);
  cursor.setDecodedOffset(place.decoded_offset);
}

// The bytes of an object that nobody has mapped, but for pages of zeros: whether those are holes
// depends on how the session came here.
std::map<std::uint64_t, std::vector<std::byte>> contents_of(int fd, const std::string& name) {
  std::map<std::uint64_t, std::vector<std::byte>> contents;
  std::vector<std::byte>* piece = nullptr; // the last one
  std::uint64_t piece_end = 0;
  for (off_t at = 0;;) {
    const off_t start = ::lseek(fd, at, SEEK_DATA);
    if (start < 0) {
      if (errno == ENXIO) { // only a hole is left
        return contents;
      }
      throw system_error(errno, "cannot read shared memory").in_file(name);
    }
    at = ::lseek(fd, start, SEEK_HOLE);
    std::array<std::byte, kPage> page;
    for (auto from = static_cast<std::uint64_t>(start); from < static_cast<std::uint64_t>(at);
         from += kPage) {
      const std::span<const std::byte> bytes = std::span(page).first(read_at(fd, page, from, name));
      if (is_zero(bytes)) {
        continue;
      }
      if (piece == nullptr || piece_end != from) {
        piece = &contents[from];
        piece->reserve(static_cast<std::uint64_t>(at) - from);
      }
      piece->insert(piece->end(), bytes.begin(), bytes.end());
      piece_end = from + bytes.size();
    }
  }
}

// Where the session's shared objects are in the checkpoint.
std::map<std::uint32_t, StoredObject> find_objects(const ReplaySession& session,
                                                   schema::State::Reader state) {
  std::map<std::uint32_t, StoredObject> objects;
  for (const ObjectState& object : session.state().objects) {
    StoredObject& out = objects[object.number];
    const int fd = session.object(object.number);
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
      throw system_error(errno, "cannot examine shared memory").in_file(object.path);
    }
    for (std::uint32_t i = 0; i < state.getMemoryObjects().size(); ++i) {
      schema::MemoryObject::Reader candidate = state.getMemoryObjects()[i];
      // Not by device: what /proc shows of it may be another number than that of stat(2).
      if (candidate.isMemfd() && candidate.getInode() == status.st_ino) {
        out.memory_object = i;
      }
    }
    if (out.memory_object == schema::NO_INDEX) {
      out.contents = contents_of(fd, object.path);
    }
    if (std::vector<std::byte> behind = read_behind_end(fd, object.size); !behind.empty()) {
      out.contents[object.size] = std::move(behind);
    }
  }
  return objects;
}

void store_limits(ReplaySession& session, schema::State::Builder state) {
  for (schema::Task::Builder task : state.getTasks()) {
    schema::Process::Builder process = state.getProcesses()[task.getProcess()];
    if (!process.hasResourceLimits()) {
      store_stack_limit(session.real_process(task.getTid()), process);
    }
  }
}

// As ProcessorBinding does for processes that a session makes itself. Where the system does not
// allow the processor, the task may run on any.
void bind_to_processor(pid_t tid, int processor) {
  if (processor >= 0 && processor < CPU_SETSIZE) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    ::sched_setaffinity(tid, sizeof one, &one);
  }
}

void restore_limits(schema::Process::Reader process, pid_t pid) {
  for (schema::ResourceLimit::Reader limit : process.getResourceLimits()) {
    rlimit own{};
    if (limit.getResource() == RLIMIT_STACK && ::prlimit(pid, RLIMIT_STACK, nullptr, &own) == 0) {
      own.rlim_cur = std::min<rlim_t>(limit.getSoft(), own.rlim_max);
      ::prlimit(pid, RLIMIT_STACK, &own, nullptr);
    }
  }
}

// Shared memory has another inode, and another time, in each replay.
void forget_inodes(schema::State::Builder state) {
  const std::int64_t not_recorded = schema::Memfd::Reader().getModifiedAt();
  for (schema::MemoryObject::Builder object : state.getMemoryObjects()) {
    if (!object.isFile()) {
      object.setDevice(0);
      object.setInode(0);
    }
    if (object.isMemfd()) {
      object.getMemfd().setModifiedAt(not_recorded);
    }
  }
  for (schema::AddressSpace::Builder space : state.getAddressSpaces()) {
    for (schema::Mapping::Builder mapping : space.getMappings()) {
      if (mapping.getObject() != schema::NO_INDEX &&
          !state.getMemoryObjects()[mapping.getObject()].isFile()) {
        mapping.setDevice(0);
        mapping.setInode(0);
      }
    }
  }
}

// What the processor leaves in the flags where an instruction has faulted, and begins again (RF),
// is there in one replay and not in another.
void forget_resume_flag(schema::State::Builder state) {
  constexpr std::uint64_t kResume = 0x10000;
  for (schema::Task::Builder task : state.getTasks()) {
    for (schema::RegisterSet::Builder set : task.getRegisters()) {
      capnp::Data::Builder data = set.getData();
      if (set.getNoteType() != NT_PRSTATUS || data.size() != sizeof(user_regs_struct)) {
        continue;
      }
      user_regs_struct registers;
      std::memcpy(&registers, data.begin(), sizeof registers);
      registers.eflags &= ~kResume;
      std::memcpy(data.begin(), &registers, sizeof registers);
    }
  }
}

// Writes what the checkpoint has of it apart from memory.
void fill_object(int fd, const StoredObject& stored, const ObjectState& object) {
  for (const auto& [offset, bytes] : stored.contents) {
    if (offset < object.size) {
      write_at(fd, bytes, offset, object.path, "cannot fill shared memory");
    } else {
      write_behind_end(fd, object.size, bytes, offset);
    }
  }
}

ScopedFd make_object(const StoredObject& stored, const ObjectState& object) {
  ScopedFd fd(::memfd_create(("pcp-rr:" + std::to_string(object.number)).c_str(), MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(object.size)) != 0) {
    throw system_error(errno, "cannot make shared memory").in_file(object.path);
  }
  fill_object(fd.get(), stored, object);
  return fd;
}

// A checkpoint that would be slower to read than a full one by more than is worth it.
struct TooScattered {};

// The base, where it can be had.
std::unique_ptr<HeldBase> hold_base(const std::string& path) {
  if (path.empty()) {
    return nullptr;
  }
  try {
    auto held = std::make_unique<HeldBase>(path);
    return held->checkpoint().base_count() < format::kMaxBases ? std::move(held) : nullptr;
  } catch (const Error&) {
    return nullptr; // removed or damaged meanwhile: nothing is lost without it
  }
}

// Captures the session and hands it to `write`, which gets the capture and returns what it made of
// it. `name` is what errors call that.
template <typename Write>
auto capture_session(ReplaySession& session, const std::string& name, const WriterOptions& options,
                     std::optional<PlaceBetween> between, HeldBase* base,
                     std::uint32_t most_decoded, Write write) {
  return with_kj_errors(name, [&] {
    session.put_back_trap();
    const std::string directory = std::filesystem::canonical(session.trace().directory()).string();
    GroupCapture capture(processes_of(session),
                         {options, directory, base != nullptr ? &base->memory() : nullptr});
    capture.state().setProducer(kProducer);
    describe_position(session, between, capture.state());
    store_supervisor(session.state(), capture.state());
    store_limits(session, capture.state());
    capture.before_finish([&](schema::State::Builder state) {
      store_extension(session.state(), find_objects(session, state.asReader()), state);
      forget_inodes(state);
      forget_resume_flag(state);
      restrict_state(state, session.trace().start().getCpu());
      const SeriesCost cost = series_cost(state.asReader());
      if (base != nullptr && most_decoded != 0 && cost.decoded_pages > most_decoded * cost.pages) {
        throw TooScattered();
      }
    });
    return write(capture);
  });
}

std::string publish(ReplaySession& session, const Store& store, const WriterOptions& options,
                    std::optional<PlaceBetween> between, HeldBase* base,
                    std::uint32_t most_decoded) {
  return capture_session(session, store.directory(), options, between, base, most_decoded,
                         [&](GroupCapture& capture) { return capture.publish(store); });
}

} // namespace

Store checkpoint_store(const std::string& trace_directory) {
  return Store(trace_directory + "/" + std::string(trace_format::kCheckpointsName));
}

Store writable_checkpoint_store(const std::string& trace_directory) {
  Store store = checkpoint_store(trace_directory);
  const std::string& directory = store.directory();
  struct stat status;
  if (::lstat(directory.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
    throw Error(ErrorCode::kPermission,
                "this is a symbolic link: checkpoints of a trace lie in the "
                "trace, wherever a link in it leads")
        .in_file(directory)
        .with_hint("remove the link");
  }
  trace::make_private_directory(directory);
  return store;
}

bool can_checkpoint(const ReplaySession& session, std::string& reason) {
  if (session.state().tasks.empty()) {
    reason = session.at_end() ? "all processes have ended" : "there is no process yet";
    return false;
  }
  return true;
}

std::string save_checkpoint(ReplaySession& session, const Store& store,
                            const WriterOptions& options, std::optional<PlaceBetween> between,
                            const SeriesBase& base) {
  std::string reason;
  if (!can_checkpoint(session, reason)) {
    throw Error(ErrorCode::kUnsupportedState, "no checkpoint can be taken at event " +
                                                  std::to_string(session.event()) + ": " + reason);
  }
  if (const std::unique_ptr<HeldBase> held = hold_base(base.path)) {
    try {
      return publish(session, store, options, between, held.get(), base.most_decoded);
    } catch (const TooScattered&) {
      // A full one it is.
    }
  }
  return publish(session, store, options, between, nullptr, 0);
}

CheckpointId write_checkpoint(ReplaySession& session, Output& output, const WriterOptions& options,
                              std::optional<PlaceBetween> between) {
  return capture_session(session, output.name(), options, between, nullptr, 0,
                         [&](GroupCapture& capture) { return capture.write(output); });
}

std::unique_ptr<ReplaySession> restore_session(const std::string& trace_directory,
                                               ReplayOptions options,
                                               const CheckpointReader& reader) {
  return with_kj_errors(reader.name(), [&] {
    check_origin(trace_directory, reader);
    return start_group(trace_directory, std::move(options), reader,
                       restore_group(reader, group_options(trace_directory)));
  });
}

void check_origin(const std::string& trace_directory, const CheckpointReader& reader) {
  if (reader.state().getInspectOnly()) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint is for looking at only")
        .in_file(reader.name());
  }
  if (std::string_view(reader.state().getProducer().cStr()) != kProducer) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint is not one of pcp-rr")
        .in_file(reader.name());
  }
  if (TraceReader::open(trace_directory).uuid() != reader.header().trace_uuid) {
    throw Error(ErrorCode::kForeignTrace, "the checkpoint belongs to another trace")
        .in_file(reader.name());
  }
}

GroupRestoreOptions group_options(const std::string& trace_directory) {
  GroupRestoreOptions options;
  options.trace_options = kTaskTraceOptions;
  options.trace_directory = trace_directory;
  return options;
}

std::unique_ptr<ReplaySession> start_group(const std::string& trace_directory,
                                           ReplayOptions options, const CheckpointReader& reader,
                                           RestoredGroup group) {
  SupervisorState supervisor;
  std::map<std::uint32_t, ScopedFd> objects;
  try {
    supervisor = load_supervisor(reader);
    const TraceReader trace = TraceReader::open(trace_directory);
    if (supervisor.event > trace.event_count() + 1) {
      throw Error(ErrorCode::kDamaged, "the checkpoint is of event " +
                                           std::to_string(supervisor.event) +
                                           ", which the trace does not have")
          .in_file(reader.name());
    }
    const std::map<std::uint32_t, StoredObject> stored = load_objects(reader);
    for (const ObjectState& object : supervisor.objects) {
      const StoredObject& where = stored.at(object.number);
      if (where.memory_object == schema::NO_INDEX) {
        objects[object.number] = make_object(where, object);
      } else if (group.objects[where.memory_object]) {
        objects[object.number] = std::move(group.objects[where.memory_object]);
        fill_object(objects[object.number].get(), where, object);
      } else {
        throw Error(ErrorCode::kDamaged, "shared object " + std::to_string(object.number) +
                                             " of the replay is no shared memory")
            .in_file(reader.name());
      }
    }
    for (std::size_t i = 0; i < group.processes.size(); ++i) {
      restore_limits(reader.state().getProcesses()[static_cast<unsigned>(i)],
                     group.processes[i].pid);
      for (RestoredThread& thread : group.processes[i].threads) {
        bind_to_processor(thread.tracee.tid(), trace.start().getProcessor());
      }
    }
  } catch (...) {
    kill_group(group.processes);
    throw;
  }
  std::vector<AdoptedTask> tasks;
  for (RestoredProcess& process : group.processes) {
    for (RestoredThread& thread : process.threads) {
      tasks.push_back({thread.logical_tid, process.pid, std::move(thread.tracee)});
    }
  }
  return std::make_unique<ReplaySession>(trace_directory, std::move(options), std::move(supervisor),
                                         std::move(tasks), std::move(objects));
}

} // namespace rrpcp::replay
