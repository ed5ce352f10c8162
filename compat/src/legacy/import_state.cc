#include "legacy/import_state.h"

#include "base/file.h"
#include "container/canonical.h"
#include "legacy/compare_messages.h"
#include "legacy/export_message.h"
#include "legacy/machine.h"
#include "legacy/registers.h"
#include "legacy/replay_step.h"
#include "model/signal_info.h"
#include "rrpcp/legacy/rr_details.capnp.h"

#include <algorithm>
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <charconv>
#include <cstring>
#include <elf.h>
#include <map>
#include <numeric>
#include <set>

namespace rrpcp::compat {

namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr std::string_view kMemfd = "/memfd:";
constexpr std::string_view kSystemV = "/SYSV";
constexpr std::uint32_t kXsaveLeaf = 0xd;
constexpr std::int64_t kNanoseconds = 1000000000;
// Bytes of a thread's name that the kernel keeps (prctl(2) PR_SET_NAME); rr's may be longer.
constexpr std::size_t kTaskNameMax = 15;

using Space = legacy::rr2024::AddressSpaceClone::Reader;
using KernelMapping = legacy::rr2024::KernelMapping::Reader;
using Task = legacy::CapturedState::Reader;

// A task of the message and where it was.
struct MessageTask {
  Task state;
  std::uint32_t space = 0;
  // 0 for the one that the others are cloned from.
  std::uint32_t rank = 0;
};

// `name` without " (deleted)" at its end, which rr may have twice.
std::string without_deleted(std::string_view name, bool& deleted) {
  deleted = false;
  while (name.ends_with(kDeleted)) {
    name.remove_suffix(kDeleted.size());
    deleted = true;
  }
  return std::string(name);
}

// Indexes of `list` sorted by key; empty where the list is in that order already.
template <typename Key> std::vector<std::uint32_t> sorted_order(std::uint32_t size, Key key) {
  std::vector<std::uint32_t> order(size);
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  return order;
}

bool is_identity(const std::vector<std::uint32_t>& order) {
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    if (order[i] != i) {
      return false;
    }
  }
  return true;
}

// The inverse of a permutation.
std::vector<std::uint32_t> inverse(const std::vector<std::uint32_t>& order) {
  std::vector<std::uint32_t> result(order.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    result[order[i]] = i;
  }
  return result;
}

class StateBuilder {
public:
  StateBuilder(const LegacyCheckpoint::Impl& legacy, const ImportPlan& plan,
               schema::State::Builder state)
      : legacy_(legacy), plan_(plan), state_(state), info_(legacy.message.root()),
        spaces_(info_.getCloneCompletion().getAddressSpaces()) {}

  void run(const std::optional<RrTraceCursor>& cursor) {
    const RrTraceHeader& header = legacy_.context->trace.header();
    state_.setMachine(header.machine);
    state_.setElfClass(header.machine == EM_386 ? ELFCLASS32 : ELFCLASS64);
    state_.setDataEncoding(ELFDATA2LSB);
    state_.setProducer(kRrProducer);
    state_.initPageStream().setPageSize(header.page_size);
    collect_tasks();
    details_.initSpaces(spaces_.size());
    build_position();
    build_trace(header, cursor);
    build_objects();
    build_processes();
    build_file_tables();
    build_tasks();
    build_spaces();
    build_cpu(header);
    build_session(header);
    build_extensions();
    keep_presence();
  }

private:
  void collect_tasks() {
    for (std::uint32_t s = 0; s < spaces_.size(); ++s) {
      std::uint32_t rank = 0;
      tasks_.push_back({spaces_[s].getCloneLeaderState(), s, rank++});
      for (const Task member : spaces_[s].getMemberState()) {
        tasks_.push_back({member, s, rank++});
      }
    }
  }

  void build_mark(legacy::MarkData::Reader in, schema::Mark::Builder out) {
    out.setEvent(in.getTime());
    out.setTicks(in.getTicks());
    out.setTicksAtEventStart(in.getTicksAtEventStart());
    const std::uint16_t machine = elf_machine(in.getArch());
    const auto sets = to_register_sets(machine, in.getRegs().getRaw(), in.getExtraRegs().getRaw());
    set_register_sets(out.initRegisters(static_cast<unsigned>(sets.size())), sets);
    auto rr = out.initRr();
    rr.setStepKey(in.getStepKey());
    rr.setReturnAddresses(in.getReturnAddresses());
    rr.setSingleStepsWithoutSignal(in.getSinglestepToNextMarkNoSignal());
    out.setMachine(machine == state_.getMachine() ? 0 : machine);
  }

  void build_position() {
    auto position = state_.initPosition();
    const auto mark = legacy_.message.clone_mark();
    build_mark(mark, position.initClone());
    if (info_.isNonExplicit()) {
      build_mark(info_.getNonExplicit().getCheckpointMark(), position.initForwardTo());
    } else if (mark.getTicks() != mark.getTicksAtEventStart() || mark.getStepKey() != 0) {
      position.initBetween();
    } else {
      position.setAtEvent();
    }
  }

  void build_trace(const RrTraceHeader& header, const std::optional<RrTraceCursor>& cursor) {
    auto trace = state_.initTrace();
    trace.setUuid({header.uuid.bytes.data(), header.uuid.bytes.size()});
    trace.setFormat(kRrTraceFormat);
    trace.setFormatVersion(header.version);
    if (!cursor) {
      return;
    }
    const std::pair<const char*, const StreamPosition*> streams[] = {
        {"data", &cursor->data},
        {"events", &cursor->events},
        {"mmaps", &cursor->mmaps},
        {"tasks", &cursor->tasks},
    };
    auto list = trace.initCursor(std::size(streams));
    for (unsigned i = 0; i < std::size(streams); ++i) {
      list[i].setStream(streams[i].first);
      list[i].setBlockOffset(streams[i].second->block_offset);
      list[i].setOffsetInBlock(streams[i].second->offset_in_block);
      list[i].setDecodedOffset(streams[i].second->decoded_offset);
    }
  }

  void build_file_identity(const PlannedObject& object, schema::FileIdentity::Builder file) {
    bool deleted = false;
    const std::string name = without_deleted(object.name, deleted);
    file.setPath(as_data(name));
    file.setPathBase(schema::PathBase::ABSOLUTE);
    file.setDeleted(deleted);
    file.setSize(object.length);
    if (object.record != nullptr && object.record->size > 0) {
      file.setSize(static_cast<std::uint64_t>(object.record->size));
      file.setMode(object.record->mode);
      std::int64_t nanoseconds = 0;
      if (!__builtin_mul_overflow(object.record->modified_at, kNanoseconds, &nanoseconds)) {
        file.setModifiedAt(nanoseconds);
      }
    }
  }

  void build_objects() {
    auto objects = state_.initMemoryObjects(static_cast<unsigned>(plan_.objects.size()));
    std::set<std::pair<std::uint64_t, std::uint64_t>> identities;
    for (unsigned o = 0; o < plan_.objects.size(); ++o) {
      const PlannedObject& in = plan_.objects[o];
      auto out = objects[o];
      out.setLength(in.length);
      // Two objects with one identity are the two sides of a file that is mapped both shared and
      // private, or contents that differ where they should not: only the first has the identity.
      if (identities.emplace(in.device, in.inode).second) {
        out.setDevice(in.device);
        out.setInode(in.inode);
      }
      if (in.system_v) {
        auto segment = out.initSystemV();
        if (in.name.starts_with(kSystemV)) {
          std::uint32_t key = 0;
          std::from_chars(in.name.data() + kSystemV.size(), in.name.data() + in.name.size(), key,
                          16);
          segment.setKey(static_cast<std::int32_t>(key));
        }
      } else if (in.shared && in.name.starts_with(kMemfd)) {
        bool deleted = false;
        const std::string name = without_deleted(in.name, deleted);
        out.initMemfd().setName(as_data(std::string_view(name).substr(kMemfd.size())));
      } else if (in.shared && (in.replayers || in.name.empty() || in.name[0] != '/' ||
                               in.name.starts_with("/dev/zero"))) {
        out.setAnonymous();
      } else {
        auto file = out.initFile();
        build_file_identity(in, file);
        if (!in.shared) {
          out.setLength(file.getSize());
        }
      }
    }
  }

  void build_processes() {
    for (const MessageTask& task : tasks_) {
      processes_.emplace(
          std::pair(task.state.getTguid().getTid(), task.state.getTguid().getSerial()), 0U);
    }
    auto out = state_.initProcesses(static_cast<unsigned>(processes_.size()));
    std::uint32_t index = 0;
    for (auto& [id, place] : processes_) {
      place = index;
      out[index].setPid(id.first);
      out[index].setSerial(id.second);
      ++index;
    }
    for (const MessageTask& task : tasks_) {
      if (const std::int64_t first = spaces_[task.space].getProcessSpace().getTaskFirstRunEvent();
          task.rank == 0 && first != 0) {
        out[process_of(task.state)].initRr().setFirstRunEvent(first);
      }
    }
  }

  std::uint32_t process_of(Task task) const {
    return processes_.at(std::pair(task.getTguid().getTid(), task.getTguid().getSerial()));
  }

  // A table of descriptors in the making: its name, and whose monitors it has.
  struct Table {
    std::uint64_t identity = 0;
    std::optional<std::uint32_t> space;
  };

  static bool same_monitors(capnp::List<legacy::FileMonitor>::Reader a,
                            capnp::List<legacy::FileMonitor>::Reader b) {
    if (a.size() != b.size()) {
      return false;
    }
    for (unsigned i = 0; i < a.size(); ++i) {
      if (!(capnp::AnyStruct::Reader(a[i]) == capnp::AnyStruct::Reader(b[i]))) {
        return false;
      }
    }
    return true;
  }

  capnp::List<legacy::FileMonitor>::Reader monitors_of(std::uint32_t space) const {
    return spaces_[space].getProcessSpace().getMonitors();
  }

  void build_file_tables() {
    std::vector<Table> tables;
    table_of_.resize(tasks_.size());
    // First those whose contents the message has: of the first task of each space.
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      if (tasks_[t].rank != 0) {
        continue;
      }
      const std::uint64_t identity = tasks_[t].state.getFdtableIdentity();
      const auto known = std::find_if(tables.begin(), tables.end(), [&](const Table& table) {
        return table.identity == identity &&
               same_monitors(monitors_of(*table.space), monitors_of(tasks_[t].space));
      });
      table_of_[t] = static_cast<std::uint32_t>(known - tables.begin());
      if (known == tables.end()) {
        tables.push_back({identity, tasks_[t].space});
      }
      leader_table_.push_back(table_of_[t]);
    }
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      if (tasks_[t].rank == 0) {
        continue;
      }
      const std::uint64_t identity = tasks_[t].state.getFdtableIdentity();
      const std::uint32_t leaders = leader_table_[tasks_[t].space];
      if (tables[leaders].identity == identity) {
        table_of_[t] = leaders;
        continue;
      }
      const auto known = std::find_if(tables.begin(), tables.end(), [&](const Table& table) {
        return table.identity == identity;
      });
      table_of_[t] = static_cast<std::uint32_t>(known - tables.begin());
      if (known == tables.end()) {
        tables.push_back({identity, std::nullopt});
      }
    }
    auto out = state_.initFileTables(static_cast<unsigned>(tables.size()));
    for (unsigned i = 0; i < tables.size(); ++i) {
      // rr opens no real descriptors in a replay, and stores none.
      out[i].setContentsUnknown(true);
      auto rr = out[i].initRr();
      rr.setIdentity(tables[i].identity);
      if (!tables[i].space) {
        rr.setMonitorsUnknown(true);
        continue;
      }
      const auto monitors = monitors_of(*tables[i].space);
      const auto order =
          sorted_order(monitors.size(), [&](std::uint32_t m) { return monitors[m].getFd(); });
      auto list = rr.initMonitors(monitors.size());
      for (unsigned m = 0; m < order.size(); ++m) {
        build_monitor(monitors[order[m]], list[m]);
      }
    }
    for (std::uint32_t s = 0; s < spaces_.size(); ++s) {
      const auto monitors = monitors_of(s);
      const auto order =
          sorted_order(monitors.size(), [&](std::uint32_t m) { return monitors[m].getFd(); });
      if (!is_identity(order)) {
        set_list(inverse(order), [&](unsigned size) { return details(s).initMonitorOrder(size); });
      }
    }
  }

  static void build_monitor(legacy::FileMonitor::Reader in, schema::rr::FileMonitor::Builder out) {
    out.setFd(in.getFd());
    out.setLegacyType(in.getType());
    const auto last = static_cast<std::int32_t>(schema::rr::FileMonitor::Kind::PID_FD);
    out.setKind(in.getType() >= 0 && in.getType() <= last
                    ? static_cast<schema::rr::FileMonitor::Kind>(in.getType())
                    : schema::rr::FileMonitor::Kind::OTHER);
    switch (in.which()) {
    case legacy::FileMonitor::MMAP: {
      const auto from = in.getMmap();
      if (out.getKind() != schema::rr::FileMonitor::Kind::MMAPPED && !from.getDead() &&
          from.getDevice() == 0 && from.getInode() == 0) {
        out.setPlain(); // the union's first member, never set
        break;
      }
      auto to = out.initMmapped();
      to.setDead(from.getDead());
      to.setDevice(from.getDevice());
      to.setInode(from.getInode());
      break;
    }
    case legacy::FileMonitor::PROC_FD: {
      auto to = out.initProcFd();
      to.setTid(in.getProcFd().getTid());
      to.setSerial(in.getProcFd().getSerial());
      break;
    }
    case legacy::FileMonitor::PROC_MEM: {
      auto to = out.initProcMem();
      to.setTid(in.getProcMem().getTid());
      to.setSerial(in.getProcMem().getSerial());
      to.setExecCount(in.getProcMem().getExecCount());
      break;
    }
    case legacy::FileMonitor::STDIO:
      out.initStdio().setOriginalFd(in.getStdio());
      break;
    case legacy::FileMonitor::PROC_STAT:
      out.initProcStat().setData(in.getProcStat());
      break;
    case legacy::FileMonitor::BPF: {
      auto to = out.initBpfMap();
      to.setKeySize(in.getBpf().getKeySize());
      to.setValueSize(in.getBpf().getValueSize());
      break;
    }
    }
  }

  void build_tasks() {
    const auto order =
        sorted_order(static_cast<std::uint32_t>(tasks_.size()), [&](std::uint32_t t) {
          const Task task = tasks_[t].state;
          return std::tuple(process_of(task), task.getRecTid() != task.getTguid().getTid(),
                            task.getRecTid());
        });
    auto out = state_.initTasks(static_cast<unsigned>(tasks_.size()));
    for (unsigned i = 0; i < order.size(); ++i) {
      build_task(tasks_[order[i]], table_of_[order[i]], out[i]);
    }
  }

  void build_task(const MessageTask& task, std::uint32_t table, schema::Task::Builder out) {
    const Task in = task.state;
    out.setTid(in.getRecTid());
    out.setProcess(process_of(in));
    out.setAddressSpace(task.space);
    out.setFileTable(table);
    const auto name = in.getPrname();
    out.setName(name.slice(0, std::min<std::size_t>(name.size(), kTaskNameMax)));
    out.setSerial(in.getSerial());
    const std::uint16_t machine = elf_machine(spaces_[task.space].getArch());
    const auto sets = to_register_sets(machine, in.getRegs().getRaw(), in.getExtraRegs().getRaw());
    set_register_sets(out.initRegisters(static_cast<unsigned>(sets.size())), sets);
    const auto rseq = in.getRseqState();
    if (rseq.getPtr() != 0 || rseq.getAbortPrefixSignature() != 0) {
      auto registration = out.initRseq();
      registration.setAddress(rseq.getPtr());
      registration.setSignature(rseq.getAbortPrefixSignature());
    }
    const auto areas = in.getThreadAreas();
    auto out_areas = out.initThreadAreas(areas.size());
    for (unsigned a = 0; a < areas.size(); ++a) {
      build_thread_area(areas[a], out_areas[a]);
    }
    auto replay = out.initReplay();
    replay.setTicks(in.getTicks());
    replay.setOwnNamespaceTid(in.getOwnNamespaceRecTid());
    auto rr = out.initRr();
    if (name.size() > kTaskNameMax) {
      rr.setName(name);
    }
    rr.setWaitStatus(in.getWaitStatus());
    rr.setScratchAddress(in.getScratchPtr());
    rr.setScratchSize(in.getScratchSize());
    rr.setTopOfStack(in.getTopOfStack());
    rr.setTlsRegister(in.getTlsRegister());
    rr.setThreadLocals(in.getThreadLocals());
    rr.setPreloadGlobals(in.getPreloadGlobals());
    rr.setRestoreRank(task.rank + 1);
    const bool no_buffer = in.getSyscallbufChild() == 0 && in.getSyscallbufSize() == 0 &&
                           in.getNumSyscallbufBytes() == 0 && in.getDeschedFdChild() == -1 &&
                           in.getClonedFileDataFdChild() == -1 &&
                           in.getClonedFileDataFname().size() == 0 &&
                           in.getClonedFileDataOffset() == 0;
    if (!no_buffer) {
      auto buffer = rr.initSyscallBuffer();
      buffer.setAddress(in.getSyscallbufChild());
      buffer.setSize(in.getSyscallbufSize());
      buffer.setUsedBytes(in.getNumSyscallbufBytes());
      buffer.setDeschedFd(in.getDeschedFdChild());
      buffer.setClonedFileDataFd(in.getClonedFileDataFdChild());
      buffer.setClonedFileDataPath(in.getClonedFileDataFname());
      buffer.setClonedFileDataOffset(in.getClonedFileDataOffset());
    }
  }

  // struct user_desc of set_thread_area(2): three words and one of flags.
  static void build_thread_area(capnp::Data::Reader in, schema::ThreadArea::Builder out) {
    std::uint32_t words[4];
    std::memcpy(words, in.begin(), sizeof words);
    out.setEntryNumber(words[0]);
    out.setBaseAddress(words[1]);
    out.setLimit(words[2]);
    const std::uint32_t flags = words[3];
    out.setSegment32Bit((flags & 1) != 0);
    out.setContents(static_cast<std::uint8_t>(flags >> 1 & 3));
    out.setReadExecuteOnly((flags >> 3 & 1) != 0);
    out.setLimitInPages((flags >> 4 & 1) != 0);
    out.setSegmentNotPresent((flags >> 5 & 1) != 0);
    out.setUseable((flags >> 6 & 1) != 0);
    out.setLongMode((flags >> 7 & 1) != 0);
    out.setReservedBits(flags >> 8);
  }

  void build_spaces() {
    auto out = state_.initAddressSpaces(spaces_.size());
    for (std::uint32_t s = 0; s < spaces_.size(); ++s) {
      build_space(s, out[s]);
    }
  }

  void build_space(std::uint32_t s, schema::AddressSpace::Builder out) {
    const Space in = spaces_[s];
    const auto process = in.getProcessSpace();
    const std::uint16_t machine = elf_machine(in.getArch());
    out.setMachine(machine == state_.getMachine() ? 0 : machine);
    out.setFirstRunEvent(process.getVmFirstRunEvent());
    auto rr = out.initRr();
    rr.setBreakpointFaultAddress(process.getBreakpointFaultAddress());
    out.setExecutablePath(process.getExe());
    out.setOriginalExecutable(process.getOriginalExe());
    rr.setSyscallBuffering(info_.getCloneCompletion().getUsesSyscallBuffering());
    build_auxv(in, machine, s, out);

    const auto memory = in.getCapturedMemory();
    const auto memory_order =
        sorted_order(memory.size(), [&](std::uint32_t m) { return memory[m].getStartAddress(); });
    auto saved = rr.initSavedMemory(memory.size());
    for (unsigned m = 0; m < memory_order.size(); ++m) {
      saved[m].setAddress(memory[memory_order[m]].getStartAddress());
      saved[m].setData(memory[memory_order[m]].getData());
    }
    if (!is_identity(memory_order)) {
      set_list(inverse(memory_order),
               [&](unsigned size) { return details(s).initSavedMemoryOrder(size); });
    }
    build_mappings(s, out);
    find_executable(in, s, out);
  }

  void build_auxv(Space in, std::uint16_t machine, std::uint32_t s,
                  schema::AddressSpace::Builder out) {
    const auto raw = in.getAuxv();
    const std::size_t word = machine == EM_386 ? 4 : 8;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> entries;
    bool exact = raw.size() % (2 * word) == 0 && raw.size() >= 2 * word;
    for (std::size_t at = 0; exact && at < raw.size(); at += 2 * word) {
      std::uint64_t pair[2] = {0, 0};
      std::memcpy(&pair[0], raw.begin() + at, word);
      std::memcpy(&pair[1], raw.begin() + at + word, word);
      const bool last = at + 2 * word == raw.size();
      if (last != (pair[0] == AT_NULL) || (last && pair[1] != 0)) {
        exact = false;
      } else if (!last) {
        entries.emplace_back(pair[0], pair[1]);
      }
    }
    if (!exact) {
      details(s).setAuxv(raw);
      details(s).setAuxvIsExact(true);
    }
    auto list = out.initAuxv(static_cast<unsigned>(entries.size()));
    for (unsigned i = 0; i < entries.size(); ++i) {
      list[i].setType(entries[i].first);
      list[i].setValue(entries[i].second);
    }
  }

  // Scratch memory of any task of the space begins in the mapping.
  bool is_scratch(std::uint32_t space, KernelMapping mapping) const {
    return std::any_of(tasks_.begin(), tasks_.end(), [&](const MessageTask& task) {
      const std::uint64_t at = task.state.getScratchPtr();
      return task.space == space && at != 0 && at >= mapping.getStart() && at < mapping.getEnd();
    });
  }

  // What rr uses the mapping for.
  schema::rr::MappingUse use_of(std::uint32_t space, std::uint32_t index,
                                KernelMapping mapping) const {
    switch (arm_of(mapping)) {
    case Arm::kSyscallBuffer:
      return schema::rr::MappingUse::SYSCALL_BUFFER;
    case Arm::kRrPage:
      return schema::rr::MappingUse::RR_PAGE;
    case Arm::kPrivateAnon:
      if (index != 0 && text(mapping.getFsname()) != "[heap]" && is_scratch(space, mapping)) {
        return schema::rr::MappingUse::SCRATCH;
      }
      return schema::rr::MappingUse::NONE;
    default:
      return schema::rr::MappingUse::NONE;
    }
  }

  schema::MappingRole role_of(std::uint32_t space, std::uint32_t index,
                              KernelMapping mapping) const {
    if (use_of(space, index, mapping) != schema::rr::MappingUse::NONE) {
      return schema::MappingRole::REPLAYER;
    }
    switch (arm_of(mapping)) {
    case Arm::kGuardSegment:
      return schema::MappingRole::GUARD;
    case Arm::kPrivateAnon:
      if (index == 0) {
        return schema::MappingRole::STACK; // rr puts it first
      }
      return text(mapping.getFsname()) == "[heap]" ? schema::MappingRole::HEAP
                                                   : schema::MappingRole::ORDINARY;
    default:
      return schema::MappingRole::ORDINARY;
    }
  }

  void build_mappings(std::uint32_t s, schema::AddressSpace::Builder out) {
    const auto mappings = spaces_[s].getProcessSpace().getVirtualAddressSpace();
    const std::vector<std::uint32_t>& order = plan_.order[s];
    auto list = out.initMappings(mappings.size());
    std::vector<std::pair<std::uint32_t, Arm>> exceptions;
    const std::vector<std::uint32_t> no_flags;
    const std::vector<std::uint32_t>& skipped = s < legacy_.message.monitoring_skipped.size()
                                                    ? legacy_.message.monitoring_skipped[s]
                                                    : no_flags;
    for (unsigned i = 0; i < order.size(); ++i) {
      const std::uint32_t m = order[i];
      const KernelMapping in = mappings[m];
      auto mapping = list[i];
      mapping.setStart(in.getStart());
      mapping.setEnd(in.getEnd());
      mapping.setProtection(static_cast<std::uint32_t>(in.getProtection()));
      mapping.setFlags(static_cast<std::uint32_t>(in.getFlags()));
      mapping.setRole(role_of(s, m, in));
      mapping.setName(in.getFsname());
      mapping.setDevice(in.getDevice());
      mapping.setInode(in.getInode());
      auto rr = mapping.initRr();
      rr.setUse(use_of(s, m, in));
      rr.setFileOffset(in.getOffset());
      rr.setPageFile(as_data(legacy_.page_files[s][m].name));
      rr.setMonitoringSkipped(std::find(skipped.begin(), skipped.end(), m) != skipped.end());
      mapping.setObject(plan_.object[s][m]);
      bool system_v = false;
      if (plan_.object[s][m] != schema::NO_INDEX) {
        mapping.setObjectOffset(in.getOffset());
        system_v = plan_.objects[plan_.object[s][m]].system_v;
      }
      if (implied_arm(mapping.asReader(), system_v) != arm_of(in)) {
        exceptions.emplace_back(i, arm_of(in));
      }
      if (const auto tid = replayer_tid(legacy_.page_files[s][m].name);
          tid != 0 && out.getRr().getReplayPid() == 0) {
        out.getRr().setReplayPid(tid);
      }
    }
    if (!exceptions.empty()) {
      auto arms = details(s).initArms(static_cast<unsigned>(exceptions.size()));
      for (unsigned e = 0; e < exceptions.size(); ++e) {
        arms[e].setMapping(exceptions[e].first);
        arms[e].setArm(static_cast<std::uint16_t>(exceptions[e].second));
      }
    }
    keep_mapping_order(s, out);
  }

  // The number at the front of a page file's name.
  static std::int32_t replayer_tid(std::string_view name) {
    std::int32_t tid = 0;
    const auto [end, status] = std::from_chars(name.data(), name.data() + name.size(), tid);
    return status == std::errc() && end != name.data() + name.size() && *end == '-' ? tid : 0;
  }

  void keep_mapping_order(std::uint32_t s, schema::AddressSpace::Builder out) {
    // What an export would do by itself: the stack, then the rest by address.
    std::vector<std::uint32_t> usual;
    const auto mappings = out.asReader().getMappings();
    for (std::uint32_t i = 0; i < mappings.size(); ++i) {
      if (mappings[i].getRole() == schema::MappingRole::STACK) {
        usual.push_back(i);
      }
    }
    for (std::uint32_t i = 0; i < mappings.size(); ++i) {
      if (mappings[i].getRole() != schema::MappingRole::STACK) {
        usual.push_back(i);
      }
    }
    const std::vector<std::uint32_t> wanted = inverse(plan_.order[s]);
    if (wanted != usual) {
      set_list(wanted, [&](unsigned size) { return details(s).initMappingOrder(size); });
    }
  }

  // The object that /proc/PID/exe named: the file that is mapped under the executable's name.
  void find_executable(Space in, std::uint32_t s, schema::AddressSpace::Builder out) {
    const std::string_view exe = text(in.getProcessSpace().getExe());
    const std::string_view original = text(in.getProcessSpace().getOriginalExe());
    for (const std::uint32_t object : plan_.object[s]) {
      if (object == schema::NO_INDEX || plan_.objects[object].shared) {
        continue;
      }
      const PlannedObject& planned = plan_.objects[object];
      const bool by_backing = planned.record != nullptr && !planned.record->backing_file.empty() &&
                              base_name(planned.record->backing_file) == base_name(exe);
      if (by_backing || planned.name == exe || planned.name == original) {
        out.setExecutable(object);
        return;
      }
    }
  }

  void build_cpu(const RrTraceHeader& header) {
    if (header.machine == EM_AARCH64) {
      state_.initCpu();
      return;
    }
    std::uint64_t features = 0;
    for (const MessageTask& task : tasks_) {
      features |= xstate_bv(task.state.getExtraRegs().getRaw());
    }
    const auto add_mark = [&](legacy::MarkData::Reader mark) {
      features |= xstate_bv(mark.getExtraRegs().getRaw());
    };
    add_mark(legacy_.message.clone_mark());
    if (info_.isNonExplicit()) {
      add_mark(info_.getNonExplicit().getCheckpointMark());
    }
    auto cpu = state_.initCpu();
    cpu.setXsaveFeatures(features);
    std::vector<const RrTraceCpuid*> components;
    for (const RrTraceCpuid& record : header.cpuid) {
      if (record.leaf == kXsaveLeaf && record.subleaf >= 2 && record.subleaf < 64 &&
          record.eax != 0 && (header.xcr0 == 0 || (header.xcr0 >> record.subleaf & 1) != 0)) {
        components.push_back(&record);
      }
    }
    std::sort(components.begin(), components.end(),
              [](const RrTraceCpuid* a, const RrTraceCpuid* b) { return a->subleaf < b->subleaf; });
    auto layout = cpu.initXsaveLayout(static_cast<unsigned>(components.size()));
    for (unsigned c = 0; c < components.size(); ++c) {
      layout[c].setNumber(static_cast<std::uint8_t>(components[c]->subleaf));
      layout[c].setOffset(components[c]->ebx);
      layout[c].setSize(components[c]->eax);
    }
  }

  void build_session(const RrTraceHeader& header) {
    auto session = state_.initSession();
    auto statistics = session.initStatistics();
    statistics.setBytesWritten(info_.getStatistics().getBytesWritten());
    statistics.setTicksProcessed(info_.getStatistics().getTicksProcessed());
    statistics.setSystemCallsPerformed(info_.getStatistics().getSyscallsPerformed());
    session.setNextTaskSerial(info_.getNextSerial());
    const auto continued = info_.getLastContinueTask();
    if (continued.getTaskId() != 0 || continued.getTaskSerial() != 0 ||
        continued.getGroupId() != 0 || continued.getGroupSerial() != 0) {
      auto task = session.initLastContinuedTask();
      task.setPid(continued.getGroupId());
      task.setProcessSerial(continued.getGroupSerial());
      task.setTid(continued.getTaskId());
      task.setTaskSerial(continued.getTaskSerial());
    }
    session.setWhere(info_.getWhere());
    auto rr = session.initRr();
    rr.setCheckpointNumber(info_.getId());
    rr.setHasPointerAuthentication(header.has_pointer_authentication);
    rr.setHasTpidr(header.has_tpidr);
    build_last_signal(session);
    build_step(session);
  }

  void build_last_signal(schema::Session::Builder session) {
    const auto raw = info_.getCloneCompletion().getLastSigInfo();
    if (raw.size() != kSiginfoSize) {
      details_.setLastSignalBytes(raw);
      details_.setLastSignalIsExact(true);
      return;
    }
    if (std::any_of(raw.begin(), raw.end(), [](capnp::byte byte) { return byte != 0; })) {
      decode_siginfo(std::span<const std::byte, kSiginfoSize>(
                         reinterpret_cast<const std::byte*>(raw.begin()), kSiginfoSize),
                     session.initLastSignal());
    }
  }

  void build_step(schema::Session::Builder session) {
    const auto raw = info_.getCloneCompletion().getSessionCurrentStep();
    if (raw.size() != kReplayStepSize) {
      step_version_ = kReplayStepUnknown;
      keep_step_ = true;
      return;
    }
    const std::span<const std::byte, kReplayStepSize> bytes(
        reinterpret_cast<const std::byte*>(raw.begin()), kReplayStepSize);
    capnp::MallocMessageBuilder scratch;
    auto step = scratch.initRoot<schema::rr::ReplayStep>();
    if (!decode_replay_step(bytes, legacy_.message.generation, step)) {
      step_version_ = kReplayStepUnknown;
      keep_step_ = true;
      return;
    }
    if (step.getAction() != schema::rr::ReplayStep::Action::NONE) {
      session.getRr().setCurrentStep(step);
    }
    step_version_ = step.getAction() == schema::rr::ReplayStep::Action::PATCH_VSYSCALL
                        ? kReplayStepRr2022
                        : kReplayStepCurrent;
    std::array<std::byte, kReplayStepSize> again{};
    keep_step_ = !encode_replay_step(step.asReader(), legacy_.message.generation, again) ||
                 !std::equal(again.begin(), again.end(), bytes.begin());
  }

  // What an export would make of the state differs from the message at most in which empty fields
  // are there; that is kept too.
  void keep_presence() {
    capnp::MallocMessageBuilder scratch;
    auto again = scratch.initRoot<legacy::rr2025::CheckpointInfo>();
    build_message(state_.asReader(), legacy_.entry.page_directory, again);
    const std::vector<std::string> paths = presence_differences(info_, again.asReader());
    if (paths.empty()) {
      return;
    }
    auto list = details_.initPresence(static_cast<unsigned>(paths.size()));
    for (unsigned i = 0; i < paths.size(); ++i) {
      list.set(i, paths[i]);
    }
    build_extensions();
  }

  void build_extensions() {
    bool any = details_.getLastSignalIsExact() || details_.hasPresence();
    for (const auto space : details_.asReader().getSpaces()) {
      any = any || space.getMappingOrder().size() != 0 || space.getMonitorOrder().size() != 0 ||
            space.getSavedMemoryOrder().size() != 0 || space.getArms().size() != 0 ||
            space.getAuxvIsExact();
    }
    auto list = state_.initExtensions((any ? 1U : 0U) + (keep_step_ ? 1U : 0U));
    unsigned at = 0;
    if (any) {
      const kj::Array<capnp::word> words = canonical_message(details_.asReader());
      list[at].setId(kDetailsExtension);
      list[at].setVersion(kDetailsVersion);
      list[at].setPayload(words.asBytes());
      ++at;
    }
    if (keep_step_) {
      list[at].setId(kReplayStepExtension);
      list[at].setVersion(step_version_);
      list[at].setPayload(info_.getCloneCompletion().getSessionCurrentStep());
    }
  }

  legacy::SpaceDetails::Builder details(std::uint32_t space) { return details_.getSpaces()[space]; }

  template <typename Init>
  static void set_list(const std::vector<std::uint32_t>& values, Init init) {
    auto list = init(static_cast<unsigned>(values.size()));
    for (unsigned i = 0; i < values.size(); ++i) {
      list.set(i, values[i]);
    }
  }

  const LegacyCheckpoint::Impl& legacy_;
  const ImportPlan& plan_;
  schema::State::Builder state_;
  legacy::rr2025::CheckpointInfo::Reader info_;
  capnp::List<legacy::rr2024::AddressSpaceClone>::Reader spaces_;
  std::vector<MessageTask> tasks_;
  // By pid and serial: index in State.processes.
  std::map<std::pair<std::int32_t, std::uint32_t>, std::uint32_t> processes_;
  // By place in tasks_, and by space: indexes into State.fileTables.
  std::vector<std::uint32_t> table_of_;
  std::vector<std::uint32_t> leader_table_;
  capnp::MallocMessageBuilder details_message_;
  legacy::RrDetails::Builder details_ = details_message_.initRoot<legacy::RrDetails>();
  bool keep_step_ = false;
  std::uint32_t step_version_ = kReplayStepCurrent;
};

} // namespace

void build_state(const LegacyCheckpoint::Impl& legacy, const ImportPlan& plan,
                 const std::optional<RrTraceCursor>& cursor, schema::State::Builder state) {
  StateBuilder(legacy, plan, state).run(cursor);
}

} // namespace rrpcp::compat
