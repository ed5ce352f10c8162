#include "legacy/export_message.h"

#include "abi/path.h"
#include "base/file.h"
#include "base/hex.h"
#include "legacy/findings.h"
#include "legacy/import_state.h"
#include "legacy/machine.h"
#include "legacy/registers.h"
#include "legacy/replay_step.h"
#include "model/signal_info.h"
#include "rrpcp/error.h"
#include "rrpcp/legacy/rr_details.capnp.h"

#include <algorithm>
#include <capnp/dynamic.h>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstring>
#include <elf.h>
#include <numeric>
#include <optional>
#include <set>

namespace rrpcp::compat {

namespace {

using OutMapping = legacy::rr2024::KernelMapping::Builder;

// Task.signalMask that was not recorded.
constexpr std::uint64_t kMaskUnknown = UINT64_MAX;

// The payload of the extension with what has no meaning but to be written back.
class Details {
public:
  explicit Details(schema::State::Reader state) {
    for (const auto extension : state.getExtensions()) {
      if (extension.getId() == kDetailsExtension) {
        if (extension.getVersion() != kDetailsVersion) {
          throw Error(ErrorCode::kUnsupportedState,
                      "the extension " + std::string(kDetailsExtension) + " has version " +
                          std::to_string(extension.getVersion()) + ", which is not known");
        }
        load(extension.getPayload());
      }
    }
  }

  legacy::RrDetails::Reader root() const { return root_; }
  // Of one space; all defaults where there is none.
  legacy::SpaceDetails::Reader space(std::uint32_t index) const {
    return index < root_.getSpaces().size() ? root_.getSpaces()[index]
                                            : legacy::SpaceDetails::Reader();
  }

private:
  void load(capnp::Data::Reader payload) {
    if (payload.size() % sizeof(capnp::word) != 0 || payload.size() == 0) {
      throw Error(ErrorCode::kDamaged,
                  "the extension " + std::string(kDetailsExtension) + " is no canonical message");
    }
    words_ = kj::heapArray<capnp::word>(payload.size() / sizeof(capnp::word));
    std::memcpy(words_.begin(), payload.begin(), payload.size());
    const kj::ArrayPtr<const capnp::word> segments[] = {words_.asPtr()};
    reader_.emplace(kj::arrayPtr(segments, 1));
    root_ = reader_->getRoot<legacy::RrDetails>();
  }

  kj::Array<capnp::word> words_;
  std::optional<capnp::SegmentArrayMessageReader> reader_;
  legacy::RrDetails::Reader root_;
};

// An order that an extension gives, checked to be a permutation of `size` indexes; `usual` where it
// gives none.
std::vector<std::uint32_t> checked_order(capnp::List<std::uint32_t>::Reader given,
                                         std::vector<std::uint32_t> usual) {
  if (given.size() == 0) {
    return usual;
  }
  std::vector<std::uint32_t> order;
  for (const std::uint32_t index : given) {
    order.push_back(index);
  }
  std::vector<bool> seen(usual.size());
  bool good = order.size() == usual.size();
  for (const std::uint32_t index : order) {
    good = good && index < seen.size() && !seen[index];
    if (good) {
      seen[index] = true;
    }
  }
  if (!good) {
    throw Error(ErrorCode::kDamaged, "the extension " + std::string(kDetailsExtension) +
                                         " gives an order that does not fit the state");
  }
  return order;
}

std::vector<std::uint32_t> ascending(std::uint32_t size) {
  std::vector<std::uint32_t> order(size);
  std::iota(order.begin(), order.end(), 0U);
  return order;
}

class MessageBuilder {
public:
  MessageBuilder(schema::State::Reader state, const std::string& page_directory,
                 legacy::rr2025::CheckpointInfo::Builder out)
      : state_(state), page_directory_(page_directory), out_(out), details_(state) {}

  ExportPlan run() {
    if (!state_.hasSession() || !state_.hasPosition() || !state_.hasTrace() ||
        state_.getTrace().getFormat() != kRrTraceFormat) {
      throw Error(ErrorCode::kUnsupportedState,
                  "the checkpoint is not one of a replay of an rr trace");
    }
    check_shape();
    build_position();
    build_session();
    build_spaces();
    restore_presence();
    check_extensions();
    if (!refusals_.empty()) {
      std::string all;
      for (const std::string& refusal : refusals_) {
        all += all.empty() ? refusal : "; " + refusal;
      }
      throw Error(ErrorCode::kUnsupportedState, "rr-2025 cannot say: " + all);
    }
    return std::move(plan_);
  }

private:
  void refuse(std::string what) { refusals_.push_back(std::move(what)); }
  void lose(const std::string& what) {
    if (lost_.insert(what).second) {
      plan_.losses.push_back(what);
    }
  }

  std::uint16_t machine_of(schema::AddressSpace::Reader space) const {
    return space.getMachine() != 0 ? space.getMachine() : state_.getMachine();
  }

  void check_shape() {
    tasks_of_.resize(state_.getAddressSpaces().size());
    const auto tasks = state_.getTasks();
    for (std::uint32_t t = 0; t < tasks.size(); ++t) {
      if (tasks[t].getAddressSpace() >= tasks_of_.size() ||
          tasks[t].getProcess() >= state_.getProcesses().size()) {
        throw Error(ErrorCode::kDamaged,
                    "task " + std::to_string(tasks[t].getTid()) +
                        " names an address space or process that is not there");
      }
      tasks_of_[tasks[t].getAddressSpace()].push_back(t);
    }
    for (std::uint32_t s = 0; s < tasks_of_.size(); ++s) {
      if (tasks_of_[s].empty()) {
        refuse("an address space without a task");
      }
      std::stable_sort(
          tasks_of_[s].begin(), tasks_of_[s].end(), [&](std::uint32_t a, std::uint32_t b) {
            return tasks[a].getRr().getRestoreRank() < tasks[b].getRr().getRestoreRank();
          });
    }
    if (state_.getOpenFiles().size() != 0 || state_.getFileSystemContexts().size() != 0 ||
        state_.getSignalHandlerTables().size() != 0) {
      lose(
          "open files, working directories and signal handlers are not stored; a replay makes them "
          "again from the trace");
    }
    if (state_.getSession().getRr().getMappedFiles().size() != 0) {
      lose("the table of files that monitored mappings came from is not stored");
    }
  }

  legacy::Machine machine_number(std::uint16_t elf) {
    const auto machine = legacy_machine(elf);
    if (!machine) {
      refuse("a task of machine " + std::to_string(elf));
    }
    return machine.value_or(legacy::Machine::X8664);
  }

  template <typename Regs, typename Extra>
  void set_registers(std::uint16_t machine, capnp::List<schema::RegisterSet>::Reader sets,
                     Regs init_regs, Extra init_extra) {
    try {
      const RegisterRecords records = from_register_sets(machine, sets);
      init_regs().setRaw({reinterpret_cast<const capnp::byte*>(records.registers.data()),
                          records.registers.size()});
      init_extra().setRaw({reinterpret_cast<const capnp::byte*>(records.extra_registers.data()),
                           records.extra_registers.size()});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnsupportedState) {
        throw;
      }
      refuse(error.message());
    }
  }

  void build_mark(schema::Mark::Reader in, legacy::MarkData::Builder out) {
    const std::uint16_t machine = in.getMachine() != 0 ? in.getMachine() : state_.getMachine();
    out.setTime(in.getEvent());
    out.setTicks(in.getTicks());
    out.setTicksAtEventStart(in.getTicksAtEventStart());
    out.setStepKey(in.getRr().getStepKey());
    set_registers(
        machine, in.getRegisters(), [&] { return out.initRegs(); },
        [&] { return out.initExtraRegs(); });
    out.setReturnAddresses(in.getRr().getReturnAddresses());
    out.setSinglestepToNextMarkNoSignal(in.getRr().getSingleStepsWithoutSignal());
    out.setArch(machine_number(machine));
  }

  void build_position() {
    const auto position = state_.getPosition();
    switch (position.which()) {
    case schema::Position::AT_EVENT:
      build_mark(position.getClone(), out_.initExplicit());
      break;
    case schema::Position::BETWEEN:
      if (position.getBetween().getOrder() != 0 || position.getBetween().getInstructions() != 0) {
        refuse("a state taken at an instruction count inside an event");
      }
      build_mark(position.getClone(), out_.initExplicit());
      break;
    case schema::Position::FORWARD_TO: {
      auto marks = out_.initNonExplicit();
      build_mark(position.getClone(), marks.initCloneMark());
      build_mark(position.getForwardTo(), marks.initCheckpointMark());
      break;
    }
    default:
      refuse("a position of an unknown kind");
    }
  }

  void build_session() {
    const auto session = state_.getSession();
    out_.setId(session.getRr().getCheckpointNumber());
    out_.setWhere(session.getWhere());
    out_.setNextSerial(session.getNextTaskSerial());
    const auto continued = session.getLastContinuedTask();
    auto task = out_.initLastContinueTask();
    task.setGroupId(continued.getPid());
    task.setGroupSerial(continued.getProcessSerial());
    task.setTaskId(continued.getTid());
    task.setTaskSerial(continued.getTaskSerial());
    auto statistics = out_.getStatistics();
    statistics.setBytesWritten(session.getStatistics().getBytesWritten());
    statistics.setTicksProcessed(session.getStatistics().getTicksProcessed());
    const std::uint64_t calls = session.getStatistics().getSystemCallsPerformed();
    if (calls > UINT32_MAX) {
      refuse("more than 2^32 system calls performed");
    }
    statistics.setSyscallsPerformed(static_cast<std::uint32_t>(calls));
    auto completion = out_.initCloneCompletion();
    build_last_signal(session, completion);
    build_step(session, completion);
    bool buffering = false;
    const auto spaces = state_.getAddressSpaces();
    for (unsigned s = 0; s < spaces.size(); ++s) {
      if (s > 0 && spaces[s].getRr().getSyscallBuffering() != buffering) {
        refuse("system-call buffering that is active in some processes only");
        break;
      }
      buffering = spaces[s].getRr().getSyscallBuffering();
    }
    completion.setUsesSyscallBuffering(buffering);
  }

  void build_last_signal(schema::Session::Reader session,
                         legacy::rr2024::CloneCompletionInfo::Builder completion) {
    if (details_.root().getLastSignalIsExact()) {
      completion.setLastSigInfo(details_.root().getLastSignalBytes());
      return;
    }
    if (!session.hasLastSignal()) {
      completion.initLastSigInfo(kSiginfoSize);
    } else if (session.getLastSignal().getRaw().size() != 0) {
      completion.setLastSigInfo(session.getLastSignal().getRaw());
    } else {
      const auto bytes = encode_siginfo(session.getLastSignal());
      completion.setLastSigInfo({reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()});
    }
  }

  // The bytes that an extension keeps of the step, where they say the same as the typed one.
  std::optional<capnp::Data::Reader> kept_step(schema::Session::Reader session) const {
    for (const auto extension : state_.getExtensions()) {
      if (extension.getId() != kReplayStepExtension) {
        continue;
      }
      const auto raw = extension.getPayload();
      if (extension.getVersion() == kReplayStepUnknown) {
        return session.getRr().hasCurrentStep() ? std::nullopt : std::optional(raw);
      }
      if (raw.size() != kReplayStepSize) {
        return std::nullopt;
      }
      capnp::MallocMessageBuilder scratch;
      auto step = scratch.initRoot<schema::rr::ReplayStep>();
      const Generation generation =
          extension.getVersion() == kReplayStepRr2022 ? Generation::kRr2022 : Generation::kRr2025;
      const bool decoded =
          decode_replay_step(std::span<const std::byte, kReplayStepSize>(
                                 reinterpret_cast<const std::byte*>(raw.begin()), kReplayStepSize),
                             generation, step);
      capnp::MallocMessageBuilder typed_message;
      auto typed = typed_message.initRoot<schema::rr::ReplayStep>();
      if (session.getRr().hasCurrentStep()) {
        typed_message.setRoot(session.getRr().getCurrentStep());
        typed = typed_message.getRoot<schema::rr::ReplayStep>();
      }
      const bool same = decoded && capnp::AnyStruct::Reader(step.asReader()) ==
                                       capnp::AnyStruct::Reader(typed.asReader());
      const bool numbered_alike =
          generation == Generation::kRr2025 ||
          step.getAction() != schema::rr::ReplayStep::Action::PATCH_VSYSCALL;
      return same && numbered_alike ? std::optional(raw) : std::nullopt;
    }
    return std::nullopt;
  }

  void build_step(schema::Session::Reader session,
                  legacy::rr2024::CloneCompletionInfo::Builder completion) {
    if (const auto raw = kept_step(session)) {
      completion.setSessionCurrentStep(*raw);
      return;
    }
    std::array<std::byte, kReplayStepSize> bytes{};
    if (session.getRr().hasCurrentStep() &&
        !encode_replay_step(session.getRr().getCurrentStep(), Generation::kRr2025, bytes)) {
      refuse("what the replayer was doing at the checkpoint");
    }
    completion.setSessionCurrentStep(
        {reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()});
  }

  void build_spaces() {
    const auto spaces = state_.getAddressSpaces();
    auto out = out_.getCloneCompletion().initAddressSpaces(spaces.size());
    for (unsigned s = 0; s < spaces.size(); ++s) {
      if (!tasks_of_[s].empty()) {
        build_space(s, spaces[s], out[s]);
      }
    }
  }

  void build_space(std::uint32_t s, schema::AddressSpace::Reader in,
                   legacy::rr2024::AddressSpaceClone::Builder out) {
    const std::uint16_t machine = machine_of(in);
    out.setArch(machine_number(machine));
    const auto tasks = state_.getTasks();
    const std::vector<std::uint32_t>& own = tasks_of_[s];
    build_task(tasks[own[0]], machine, out.initCloneLeaderState());
    auto members = out.initMemberState(static_cast<unsigned>(own.size() - 1));
    for (unsigned t = 1; t < own.size(); ++t) {
      build_task(tasks[own[t]], machine, members[t - 1]);
      check_member(tasks[own[0]], tasks[own[t]]);
    }
    const auto memory = in.getRr().getSavedMemory();
    const auto memory_order =
        checked_order(details_.space(s).getSavedMemoryOrder(), ascending(memory.size()));
    auto captured = out.initCapturedMemory(memory.size());
    for (unsigned m = 0; m < memory_order.size(); ++m) {
      captured[m].setStartAddress(memory[memory_order[m]].getAddress());
      captured[m].setData(memory[memory_order[m]].getData());
    }
    build_auxv(s, in, machine, out);

    auto process = out.initProcessSpace();
    process.setBreakpointFaultAddress(in.getRr().getBreakpointFaultAddress());
    process.setExe(in.getExecutablePath());
    process.setOriginalExe(in.getOriginalExecutable());
    process.setTaskFirstRunEvent(
        state_.getProcesses()[tasks[own[0]].getProcess()].getRr().getFirstRunEvent());
    process.setVmFirstRunEvent(in.getFirstRunEvent());
    build_monitors(s, tasks[own[0]], process);
    build_mappings(s, in, tasks[own[0]].getTid(), process);
  }

  void check_member(schema::Task::Reader leader, schema::Task::Reader member) {
    if (member.getReplay().getFirstRunEvent() != 0) {
      lose("the event at which a thread first ran is stored for a whole process only");
    }
    if (member.getFileTable() == leader.getFileTable() ||
        member.getFileTable() >= state_.getFileTables().size()) {
      return;
    }
    const auto table = state_.getFileTables()[member.getFileTable()];
    if (table.getRr().getMonitors().size() != 0) {
      bool other_leader = false;
      for (std::uint32_t s = 0; s < tasks_of_.size(); ++s) {
        other_leader = other_leader ||
                       (!tasks_of_[s].empty() &&
                        state_.getTasks()[tasks_of_[s][0]].getFileTable() == member.getFileTable());
      }
      if (!other_leader) {
        refuse("task " + std::to_string(member.getTid()) +
               "'s own table of descriptors in a shared address space");
      }
    }
  }

  void build_task(schema::Task::Reader in, std::uint16_t machine,
                  legacy::CapturedState::Builder out) {
    const auto replay = in.getReplay();
    const auto rr = in.getRr();
    out.setTicks(replay.getTicks());
    set_registers(
        machine, in.getRegisters(), [&] { return out.initRegs(); },
        [&] { return out.initExtraRegs(); });
    out.setPrname(rr.getName().size() != 0 ? rr.getName() : in.getName());
    if (in.getFileTable() < state_.getFileTables().size()) {
      out.setFdtableIdentity(state_.getFileTables()[in.getFileTable()].getRr().getIdentity());
    }
    out.setPreloadGlobals(rr.getPreloadGlobals());
    out.setScratchPtr(rr.getScratchAddress());
    out.setScratchSize(rr.getScratchSize());
    out.setTopOfStack(rr.getTopOfStack());
    auto rseq = out.getRseqState();
    rseq.setPtr(in.getRseq().getAddress());
    rseq.setAbortPrefixSignature(in.getRseq().getSignature());
    if (in.getRseq().getLength() != 0 || in.getRseq().getFlags() != 0) {
      lose("length and flags of rseq registrations are not stored");
    }
    out.setThreadLocals(rr.getThreadLocals());
    out.setRecTid(in.getTid());
    out.setOwnNamespaceRecTid(replay.getOwnNamespaceTid());
    out.setSerial(in.getSerial());
    const auto process = state_.getProcesses()[in.getProcess()];
    out.getTguid().setTid(process.getPid());
    out.getTguid().setSerial(process.getSerial());
    out.setWaitStatus(rr.getWaitStatus());
    out.setTlsRegister(rr.getTlsRegister());
    if (rr.hasSyscallBuffer()) {
      const auto buffer = rr.getSyscallBuffer();
      out.setSyscallbufChild(buffer.getAddress());
      out.setSyscallbufSize(buffer.getSize());
      out.setNumSyscallbufBytes(buffer.getUsedBytes());
      out.setDeschedFdChild(buffer.getDeschedFd());
      out.setClonedFileDataFdChild(buffer.getClonedFileDataFd());
      out.setClonedFileDataFname(buffer.getClonedFileDataPath());
      out.setClonedFileDataOffset(buffer.getClonedFileDataOffset());
    } else {
      out.setDeschedFdChild(-1);
      out.setClonedFileDataFdChild(-1);
    }
    const auto areas = in.getThreadAreas();
    auto out_areas = out.initThreadAreas(areas.size());
    for (unsigned a = 0; a < areas.size(); ++a) {
      const auto area = areas[a];
      const std::uint32_t words[4] = {
          area.getEntryNumber(), area.getBaseAddress(), area.getLimit(),
          static_cast<std::uint32_t>(area.getSegment32Bit()) |
              static_cast<std::uint32_t>(area.getContents() & 3) << 1 |
              static_cast<std::uint32_t>(area.getReadExecuteOnly()) << 3 |
              static_cast<std::uint32_t>(area.getLimitInPages()) << 4 |
              static_cast<std::uint32_t>(area.getSegmentNotPresent()) << 5 |
              static_cast<std::uint32_t>(area.getUseable()) << 6 |
              static_cast<std::uint32_t>(area.getLongMode()) << 7 | area.getReservedBits() << 8};
      out_areas.set(a, {reinterpret_cast<const capnp::byte*>(words), sizeof words});
    }
    if (in.getSignalMask() != kMaskUnknown || in.getPendingSignals().size() != 0 ||
        in.hasAlternateStack() || in.getRobustListHead() != 0 || in.getClearChildTid() != 0) {
      lose("signal masks, pending signals and kernel lists of tasks are not stored; a replay does "
           "not need them");
    }
  }

  void build_auxv(std::uint32_t s, schema::AddressSpace::Reader in, std::uint16_t machine,
                  legacy::rr2024::AddressSpaceClone::Builder out) {
    if (details_.space(s).getAuxvIsExact()) {
      out.setAuxv(details_.space(s).getAuxv());
      return;
    }
    const std::size_t word = machine == EM_386 ? 4 : 8;
    const auto entries = in.getAuxv();
    auto raw = out.initAuxv(static_cast<unsigned>((entries.size() + 1) * 2 * word));
    capnp::byte* at = raw.begin();
    for (const auto entry : entries) {
      const std::uint64_t pair[2] = {entry.getType(), entry.getValue()};
      std::memcpy(at, &pair[0], word);
      std::memcpy(at + word, &pair[1], word);
      at += 2 * word;
    }
  }

  void build_monitors(std::uint32_t s, schema::Task::Reader leader,
                      legacy::rr2024::ProcessSpace::Builder process) {
    if (leader.getFileTable() >= state_.getFileTables().size()) {
      return;
    }
    const auto table = state_.getFileTables()[leader.getFileTable()];
    if (table.getDescriptors().size() != 0) {
      lose("open descriptors are not stored; a replay makes them again from the trace");
    }
    const auto monitors = table.getRr().getMonitors();
    const auto order =
        checked_order(details_.space(s).getMonitorOrder(), ascending(monitors.size()));
    auto out = process.initMonitors(monitors.size());
    for (unsigned m = 0; m < order.size(); ++m) {
      build_monitor(monitors[order[m]], out[m]);
    }
  }

  void build_monitor(schema::rr::FileMonitor::Reader in, legacy::FileMonitor::Builder out) {
    out.setFd(in.getFd());
    if (in.getLegacyType() != -1) {
      out.setType(in.getLegacyType());
    } else if (in.getKind() == schema::rr::FileMonitor::Kind::OTHER) {
      refuse("the monitor of descriptor " + std::to_string(in.getFd()));
    } else {
      out.setType(static_cast<std::int32_t>(in.getKind()));
    }
    switch (in.which()) {
    case schema::rr::FileMonitor::PLAIN:
      break;
    case schema::rr::FileMonitor::MMAPPED: {
      auto to = out.initMmap();
      to.setDead(in.getMmapped().getDead());
      to.setDevice(in.getMmapped().getDevice());
      to.setInode(in.getMmapped().getInode());
      break;
    }
    case schema::rr::FileMonitor::PROC_FD: {
      auto to = out.initProcFd();
      to.setTid(in.getProcFd().getTid());
      to.setSerial(in.getProcFd().getSerial());
      break;
    }
    case schema::rr::FileMonitor::PROC_MEM: {
      auto to = out.initProcMem();
      to.setTid(in.getProcMem().getTid());
      to.setSerial(in.getProcMem().getSerial());
      to.setExecCount(in.getProcMem().getExecCount());
      break;
    }
    case schema::rr::FileMonitor::STDIO:
      out.setStdio(in.getStdio().getOriginalFd());
      break;
    case schema::rr::FileMonitor::PROC_STAT:
      out.setProcStat(in.getProcStat().getData());
      break;
    case schema::rr::FileMonitor::BPF_MAP: {
      auto to = out.initBpf();
      to.setKeySize(in.getBpfMap().getKeySize());
      to.setValueSize(in.getBpfMap().getValueSize());
      break;
    }
    default:
      refuse("the monitor of descriptor " + std::to_string(in.getFd()));
    }
  }

  static bool usable_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." && name != "metadata" &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
  }

  std::string page_file_name(schema::Mapping::Reader mapping, std::int32_t tid) {
    std::string name(text(mapping.getRr().getPageFile()));
    if (!usable_name(name) || !names_.insert(name).second) {
      const std::string base = std::to_string(tid) + "-" + hex_text(mapping.getStart()) + "-" +
                               hex_text(mapping.getEnd());
      name = base;
      for (unsigned n = 1; !names_.insert(name).second; ++n) {
        name = base + "-" + std::to_string(n);
      }
    }
    return name;
  }

  Arm arm_for(std::uint32_t s, std::uint32_t index, schema::Mapping::Reader mapping) const {
    for (const auto exception : details_.space(s).getArms()) {
      if (exception.getMapping() == index) {
        return static_cast<Arm>(exception.getArm());
      }
    }
    const std::uint32_t object = mapping.getObject();
    const bool system_v =
        object < state_.getMemoryObjects().size() && state_.getMemoryObjects()[object].isSystemV();
    return implied_arm(mapping, system_v);
  }

  void build_mappings(std::uint32_t s, schema::AddressSpace::Reader in, std::int32_t leader_tid,
                      legacy::rr2024::ProcessSpace::Builder process) {
    const auto mappings = in.getMappings();
    std::vector<std::uint32_t> usual;
    for (std::uint32_t m = 0; m < mappings.size(); ++m) {
      if (mappings[m].getRole() == schema::MappingRole::STACK) {
        usual.push_back(m);
      }
    }
    for (std::uint32_t m = 0; m < mappings.size(); ++m) {
      if (mappings[m].getRole() != schema::MappingRole::STACK) {
        usual.push_back(m);
      }
    }
    const auto order = checked_order(details_.space(s).getMappingOrder(), std::move(usual));
    const std::int32_t replay_pid = in.getRr().getReplayPid();
    const std::int32_t tid = replay_pid != 0 ? replay_pid : leader_tid;
    auto out = process.initVirtualAddressSpace(mappings.size());
    if (plan_.page_files.size() <= s) {
      plan_.page_files.resize(s + 1);
    }
    plan_.page_files[s].resize(mappings.size());
    for (unsigned place = 0; place < order.size(); ++place) {
      const std::uint32_t m = order[place];
      build_mapping(s, m, mappings[m], tid, out[place]);
    }
  }

  void build_mapping(std::uint32_t s, std::uint32_t index, schema::Mapping::Reader in,
                     std::int32_t tid, OutMapping out) {
    if (in.getRole() == schema::MappingRole::VVAR ||
        in.getRole() == schema::MappingRole::VSYSCALL) {
      refuse("a mapping whose contents only the kernel has, at " + hex_text(in.getStart()));
    }
    if (in.getRr().getMonitoringSkipped()) {
      lose("that writes through a mapped descriptor are not watched (the flag of rr-2022) is not "
           "stored; rr-2025 does not use it");
    }
    out.setStart(in.getStart());
    out.setEnd(in.getEnd());
    out.setFsname(in.getName());
    out.setDevice(in.getDevice());
    out.setInode(in.getInode());
    out.setProtection(static_cast<std::int32_t>(in.getProtection()));
    out.setFlags(static_cast<std::int32_t>(in.getFlags()));
    out.setOffset(in.getRr().getFileOffset());
    const Arm arm = arm_for(s, index, in);
    auto type = out.getMapType();
    switch (arm) {
    case Arm::kFile:
      type.initFile();
      break;
    case Arm::kGuardSegment:
      type.setGuardSegment();
      return;
    case Arm::kSharedAnon:
    case Arm::kSharedSystemV:
      type.initSharedAnon().setIsSysVSegment(arm == Arm::kSharedSystemV);
      break;
    case Arm::kPrivateAnon:
      type.initPrivateAnon();
      break;
    case Arm::kSyscallBuffer:
      type.initSyscallBuffer();
      break;
    case Arm::kRrPage:
      type.initRrPage();
      break;
    default:
      throw Error(ErrorCode::kDamaged, "the extension " + std::string(kDetailsExtension) +
                                           " names an unknown kind of mapping");
    }
    plan_.page_files[s][index] = page_file_name(in, tid);
    set_contents_path(out, join_path(page_directory_, plan_.page_files[s][index]));
  }

  // Empty fields that were null, or there.
  void restore_presence() {
    for (const capnp::Text::Reader path : details_.root().getPresence()) {
      try {
        const abi::WritePlace place =
            abi::find_place(capnp::DynamicStruct::Builder(out_), path.cStr());
        auto parent = *place.parent;
        if (place.list) {
          throw Error(ErrorCode::kDamaged, "it is no field");
        }
        if (parent.has(*place.field)) {
          parent.clear(*place.field);
        } else if (place.type.isStruct()) {
          parent.init(*place.field);
        } else {
          parent.init(*place.field, 0);
        }
      } catch (const Error& error) {
        throw Error(ErrorCode::kDamaged,
                    "the extension " + std::string(kDetailsExtension) +
                        " names a field that is not there: " + error.message());
      }
    }
  }

  void check_extensions() {
    for (const auto extension : state_.getExtensions()) {
      const std::string id = extension.getId();
      if (id == kDetailsExtension || id == kReplayStepExtension) {
        continue;
      }
      if (extension.getCritical()) {
        refuse("the critical extension " + id);
      } else {
        lose("the extension " + id + " is not stored");
      }
    }
  }

  schema::State::Reader state_;
  const std::string& page_directory_;
  legacy::rr2025::CheckpointInfo::Builder out_;
  Details details_;
  ExportPlan plan_;
  std::vector<std::string> refusals_;
  std::set<std::string> lost_;
  // Per space: indexes of its tasks, in the order in which they are made again.
  std::vector<std::vector<std::uint32_t>> tasks_of_;
  std::set<std::string> names_;
};

} // namespace

ExportPlan build_message(schema::State::Reader state, const std::string& page_directory,
                         legacy::rr2025::CheckpointInfo::Builder out) {
  try {
    return MessageBuilder(state, page_directory, out).run();
  } catch (const kj::Exception& exception) {
    throw Error(ErrorCode::kDamaged,
                std::string("the state cannot be read: ") + exception.getDescription().cStr());
  }
}

} // namespace rrpcp::compat
