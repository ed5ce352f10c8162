#include "support/sample_state.h"

#include "base/scoped_fd.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

constexpr std::uint32_t kNone = schema::NO_INDEX;
constexpr std::uint32_t kPrivate = 2, kShared = 1, kAnonymous = 0x20;

capnp::Data::Reader data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

struct Run {
  schema::RunKind kind;
  std::uint64_t pages;
  std::uint64_t first = 0;
};

constexpr auto kZero = schema::RunKind::ZERO;
constexpr auto kStream = schema::RunKind::STREAM;
constexpr auto kBacking = schema::RunKind::BACKING;
constexpr auto kUnknown = schema::RunKind::UNKNOWN;

void put_runs(capnp::List<schema::PageRun>::Builder out, std::initializer_list<Run> runs) {
  unsigned i = 0;
  for (const Run& run : runs) {
    out[i].setKind(run.kind);
    out[i].setPages(run.pages);
    out[i].setFirst(run.first);
    ++i;
  }
}

class SampleBuilder {
public:
  SampleBuilder(schema::Manifest::Builder manifest, const Sample& sample)
      : manifest_(manifest), state_(manifest.initState()), sample_(sample),
        replay_(sample.position != SamplePosition::kNone), x86_(sample.machine != 183),
        page_(sample.page_size) {}

  std::vector<std::byte> build() {
    state_.setMachine(sample_.machine);
    state_.setElfClass(sample_.machine == 3 ? 1 : 2);
    state_.setDataEncoding(1);
    state_.setProducer(replay_ ? "org.rr-project.rr" : "org.rrpcp.process");
    provenance();
    objects();
    spaces();
    processes();
    tasks();
    files();
    handlers();
    cpu();
    if (replay_) {
      position();
      session();
    }
    if (sample_.extensions) {
      extensions();
    }
    auto geometry = state_.initPageStream();
    geometry.setPageSize(sample_.page_size);
    geometry.setChunkPages(sample_.chunk_pages);
    geometry.setPageCount(stream_.size() / page_);
    return std::move(stream_);
  }

private:
  // Adds `count` pages to the stream; beyond `used` bytes they are zero. Returns the first's index.
  std::uint64_t pages(std::uint64_t count, std::uint64_t used = UINT64_MAX) {
    const std::uint64_t first = stream_.size() / page_;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t index = first + i;
      std::mt19937_64 random(sample_.seed * 1000 + index);
      std::vector<std::byte> bytes(page_);
      for (std::size_t at = 0; at < page_; at += 8) {
        // Every third page is random, the others repeat words.
        std::uint64_t value =
            index % 3 == 2 && !sample_.plain ? random() : sample_.seed + index + at / 512;
        std::memcpy(&bytes[at], &value, 8);
      }
      const std::uint64_t begin = i * page_;
      if (used < begin + page_) {
        std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(used > begin ? used - begin : 0),
                  bytes.end(), std::byte{0});
      }
      stream_.insert(stream_.end(), bytes.begin(), bytes.end());
    }
    return first;
  }

  void identity(schema::FileIdentity::Builder file, std::string_view path, std::uint64_t size,
                bool in_trace = false) {
    file.setPath(data(path));
    file.setPathBase(in_trace ? schema::PathBase::TRACE : schema::PathBase::ABSOLUTE);
    file.setSize(size);
    file.setModifiedAt(1700000000123456789);
    file.setMode(0100755);
  }

  void provenance() {
    auto provenance = manifest_.initProvenance();
    provenance.setCreator("test 1.0");
    provenance.setCreatedAt(1750000000000000000);
    provenance.setHostName("exämple");
    provenance.setKernelRelease("6.18.0");
    provenance.setComment("A sample.");
    provenance.setFrozenNanoseconds(1234567);
    if (replay_) {
      provenance.setConvertedFrom("rr-2025");
      provenance.setOriginalDirectory(data("/old/trace-0/checkpoint-1000"));
    }
  }

  // In the order in which mappings first refer to them.
  void objects() {
    auto objects = state_.initMemoryObjects(6);
    // 0: the program; its pages stay in the file.
    auto program = objects[0];
    program_length_ = 3 * page_ + 100;
    program.setLength(program_length_);
    program.setDevice(0x801);
    program.setInode(4711);
    auto file = program.initFile();
    identity(file, replay_ ? "mmap_clone_1_program" : "/usr/bin/program", program_length_, replay_);
    file.setBuildId(data("\x12\x34\x56\x78\x9a\xbc\xde\xf0 0123456789a"));
    auto digests = file.initDigests(2);
    digests[0].setLength(2 * page_);
    digests[0].setHigh(0x1122334455667788);
    digests[0].setLow(0x99aabbccddeeff00);
    digests[1].setOffset(2 * page_);
    digests[1].setLength(page_ + 100);
    digests[1].setHigh(1);
    digests[1].setLow(2);
    auto strong = digests[1].initSha256(32);
    std::fill(strong.begin(), strong.end(), 0x5a);
    // 1: a library that is embedded, with a partial last page.
    auto library = objects[1];
    library.setLength(2 * page_ + 1000);
    library.setDevice(0x801);
    library.setInode(4712);
    put_runs(library.initRuns(1), {{kStream, 3, pages(3, 2 * page_ + 1000)}});
    identity(library.initFile(), "/lib/libsample.so", 2 * page_ + 1000);
    // 2: shared anonymous memory.
    auto anonymous = objects[2];
    anonymous.setLength(4 * page_);
    anonymous.setInode(99);
    anonymous_page_ = pages(1);
    put_runs(anonymous.initRuns(3), {{kZero, 1}, {kStream, 1, anonymous_page_}, {kZero, 2}});
    anonymous.setAnonymous();
    // 3: a memfd whose length is no multiple of the page size.
    auto memfd = objects[3];
    memfd.setLength(page_ + 17);
    memfd.setInode(100);
    put_runs(memfd.initRuns(1), {{kStream, 2, pages(2, page_ + 17)}});
    auto details = memfd.initMemfd();
    details.setName(data("sample"));
    details.setSeals(2);
    details.setMode(0640);
    details.setUid(1000);
    details.setGid(100);
    details.setModifiedAt(1700000000000000001);
    details.setHugePageSize(2 << 20);
    details.setSecret(true);
    // 4: a System V segment.
    auto segment = objects[4];
    segment.setLength(page_);
    segment.setInode(32768);
    put_runs(segment.initRuns(1), {{kZero, 1}});
    auto shm = segment.initSystemV();
    shm.setKey(0x1234);
    shm.setId(32768);
    shm.setMode(0600);
    shm.setUid(1000);
    shm.setGid(100);
    shm.setCreatorUid(1001);
    shm.setCreatorGid(101);
    shm.setHugePageSize(2 << 20);
    // 5: an empty memfd that no mapping shows, only a descriptor.
    auto empty = objects[5];
    empty.setInode(101);
    empty.initMemfd().setName(data("empty"));
  }

  schema::Mapping::Builder map(std::uint64_t start, std::uint64_t length_in_pages,
                               std::uint32_t protection, std::uint32_t flags,
                               std::uint32_t object = kNone, std::uint64_t object_page = 0) {
    auto mapping = mappings_[next_mapping_++];
    mapping.setStart(start);
    mapping.setEnd(start + length_in_pages * page_);
    mapping.setProtection(protection);
    mapping.setFlags(flags);
    mapping.setObject(object);
    mapping.setObjectOffset(object_page * page_);
    return mapping;
  }

  void spaces() {
    auto spaces = state_.initAddressSpaces(2);
    first_space(spaces[0]);
    // A child that shares memory with the first.
    auto space = spaces[1];
    mappings_ = space.initMappings(2);
    next_mapping_ = 0;
    map(0x20000000, 4, 3, kShared | kAnonymous, 2);
    auto mapping = map(0x30000000, 2, 3, kPrivate | kAnonymous);
    // The same bytes as the parent's: stored once.
    put_runs(mapping.initRuns(2), {{kStream, 1, heap_page_}, {kZero, 1}});
    space.setExecutable(0);
    space.setExecutablePath(data("/usr/bin/program"));
    if (replay_) {
      space.setOriginalExecutable(data("/usr/bin/other"));
      space.setFirstRunEvent(500);
    }
  }

  void first_space(schema::AddressSpace::Builder space) {
    const bool small = sample_.machine == 3;
    mappings_ = space.initMappings(small ? 13 : 14);
    next_mapping_ = 0;
    auto text = map(0x10000000, 2, 5, kPrivate, 0);
    text.setName(data("/usr/bin/program"));
    text.setDevice(0x801);
    text.setInode(4711);
    if (!x86_) {
      text.setProtection(5 | 0x10); // PROT_BTI
    }
    auto written = map(0x10000000 + 2 * page_, 2, 3, kPrivate, 0, 2);
    put_runs(written.initRuns(2), {{kBacking, 1}, {kStream, 1, pages(1)}});
    auto guard = map(0x11000000, 16, 0, kPrivate | kAnonymous);
    guard.setRole(schema::MappingRole::GUARD);
    auto heap = map(0x12000000, 6, 3, kPrivate | kAnonymous);
    heap.setRole(schema::MappingRole::HEAP);
    heap.setName(data("[heap]"));
    heap_page_ = pages(3);
    put_runs(heap.initRuns(3), {{kStream, 3, heap_page_}, {kZero, 2}, {kStream, 1, heap_page_}});
    auto library = map(0x13000000, 3, 5, kPrivate, 1);
    library.setName(data("/lib/libsample.so"));
    auto advised = map(0x14000000, 4, 3, kPrivate | kAnonymous | 0x6000);
    advised.setAdvice(1 << 0 | 1 << 2 | 1 << 3 | 1 << 6);
    advised.setPkey(1);
    advised.setLockedOnFault(true);
    advised.setDroppable(true);
    advised.setSealed(true);
    advised.setUserFaults(3);
    auto policy = advised.initMemoryPolicy();
    policy.setMode(1);
    policy.setNodes(data("\x01"));
    map(0x20000000, 4, 3, kShared | kAnonymous, 2);
    map(0x21000000, 2, 3, kShared, 3);
    map(0x22000000, 1, 1, kShared, 4);
    auto scratch = map(0x23000000, 8, 3, kPrivate | kAnonymous);
    if (replay_) {
      scratch.setRole(schema::MappingRole::REPLAYER);
      auto rr = scratch.initRr();
      rr.setUse(schema::rr::MappingUse::SCRATCH);
      rr.setFileOffset(page_);
      rr.setMonitoringSkipped(true);
      rr.setPageFile(data("4711-23000000-23008000"));
    }
    auto stack = map(0x70000000, 3, 3, kPrivate | kAnonymous | 0x100);
    stack.setRole(schema::MappingRole::STACK);
    stack.setName(data("[stack]"));
    put_runs(stack.initRuns(2), {{kZero, 1}, {kStream, 2, pages(2)}});
    auto vvar = map(0x71000000, 4, 1, kPrivate | kAnonymous);
    vvar.setRole(schema::MappingRole::VVAR);
    put_runs(vvar.initRuns(1), {{kUnknown, 4}});
    auto vdso = map(0x71000000 + 4 * page_, 2, 5, kPrivate | kAnonymous);
    vdso.setRole(schema::MappingRole::VDSO);
    put_runs(vdso.initRuns(1), {{kStream, 2, pages(2)}});
    if (!small) {
      auto vsyscall = map(0xffffffffff600000, 1, 4, kPrivate | kAnonymous);
      vsyscall.setRole(schema::MappingRole::VSYSCALL);
      put_runs(vsyscall.initRuns(1), {{kUnknown, 1}});
    }

    auto attributes = space.initAttributes();
    attributes.setCoreDumpFilter(0x33);
    attributes.setDenyWriteExecute(1);
    attributes.setHugePagesDisabled(1);
    attributes.setMergeAll(true);
    attributes.setLockFuture(true);
    attributes.setLockFutureOnFault(true);
    attributes.setMembarrier(1 << 4);
    attributes.setAddressMask(~(0x3full << 57));
    auto layout = space.initLayout();
    layout.setStartCode(0x10000000);
    layout.setEndCode(0x10000100);
    layout.setStartData(0x10004000);
    layout.setEndData(0x10004100);
    layout.setStartBrk(0x12000000);
    layout.setBrk(0x12000000 + 6 * page_);
    layout.setStartStack(0x70000100);
    layout.setArgStart(0x70000200);
    layout.setArgEnd(0x70000300);
    layout.setEnvStart(0x70000300);
    layout.setEnvEnd(0x70000400);
    auto auxv = space.initAuxv(3);
    auxv[0].setType(6); // AT_PAGESZ
    auxv[0].setValue(page_);
    auxv[1].setType(16); // AT_HWCAP
    auxv[1].setValue(0x178bfbff);
    auxv[2].setType(9); // AT_ENTRY
    auxv[2].setValue(0x10000040);
    space.setExecutable(0);
    space.setExecutablePath(data("/usr/bin/program"));
    if (replay_) {
      space.setFirstRunEvent(100);
      auto rr = space.initRr();
      rr.setBreakpointFaultAddress(0x10000080);
      rr.setSyscallBuffering(true);
      rr.setReplayPid(9000);
      rr.setExecCount(1);
      rr.setTracedSystemCallAddress(0x70000002);
      rr.setPrivilegedSystemCallAddress(0x70000012);
      rr.setVdsoStart(0x71000000 + 4 * page_);
      rr.setInterpreterPath(data("/lib/ld-linux.so.2"));
      rr.setInterpreterBase(0x13000000);
      rr.setLayoutRandomizationDisabled(true);
      task_id(rr.initLeader(), 100, 1);
      task_id(rr.initThreadLocalsTask(), 102, 2);
      auto saved = rr.initSavedMemory(2);
      saved[0].setAddress(0x10000080);
      saved[0].setData(data("\xcc"));
      saved[1].setAddress(0x10000090);
      saved[1].setData(data("four"));
    }
  }

  void signal_info(schema::SignalInfo::Builder info, int which) {
    switch (which) {
    case 0: {
      info.setSignal(10);
      auto kill = info.initKill();
      kill.setPid(100);
      kill.setUid(1000);
      break;
    }
    case 1: {
      info.setSignal(34);
      info.setCode(-1);
      auto queue = info.initQueue();
      queue.setPid(100);
      queue.setUid(1000);
      queue.setValue(0xfeedface);
      break;
    }
    case 2: {
      info.setSignal(17);
      info.setCode(1);
      auto child = info.initChild();
      child.setPid(101);
      child.setUid(1000);
      child.setStatus(3);
      child.setUserTime(12);
      child.setSystemTime(-1);
      break;
    }
    case 3: {
      info.setSignal(11);
      info.setCode(1);
      auto fault = info.initFault();
      fault.setAddress(0xdead000);
      fault.setAddressLsb(12);
      fault.setPkey(3);
      std::vector<capnp::byte> raw(128);
      raw[0] = 11;
      raw[8] = 1;
      raw[100] = 0x55;
      info.setRaw(capnp::Data::Reader(raw.data(), raw.size()));
      break;
    }
    default: {
      info.setSignal(14);
      info.setCode(-2);
      auto timer = info.initTimer();
      timer.setId(0);
      timer.setOverrun(2);
      timer.setValue(7);
      break;
    }
    }
  }

  void processes() {
    auto processes = state_.initProcesses(2);
    auto first = processes[0];
    first.setPid(100);
    first.setParentPid(1);
    first.setProcessGroup(100);
    first.setSessionId(100);
    first.setPersonality(0x0040000);
    auto pending = first.initPendingSignals(2);
    signal_info(pending[0], 0);
    signal_info(pending[1], 1);
    auto timers = first.initIntervalTimers(2);
    timers[0].setValue(1000000);
    timers[1].setTimer(2);
    timers[1].setInterval(10000);
    timers[1].setValue(5000);
    auto posix = first.initPosixTimers(2);
    posix[0].setId(0);
    posix[0].setClock(1);
    posix[0].setSignal(14);
    posix[0].setValue(7);
    posix[0].setInterval(1000000000);
    posix[0].setRemaining(500000000);
    posix[1].setId(3);
    posix[1].setClock(-6);
    posix[1].setNotify(4);
    posix[1].setSignal(34);
    posix[1].setTid(102);
    auto limits = first.initResourceLimits(2);
    limits[0].setResource(3);
    limits[0].setSoft(8 << 20);
    limits[0].setHard(UINT64_MAX);
    limits[1].setResource(7);
    limits[1].setSoft(1024);
    limits[1].setHard(4096);
    auto credentials = first.initCredentials();
    credentials.setRealUid(1000);
    credentials.setEffectiveUid(1000);
    credentials.setSavedUid(1000);
    credentials.setRealGid(100);
    credentials.setEffectiveGid(100);
    credentials.setSavedGid(100);
    credentials.setGroups({100, 27});
    credentials.setPermittedCapabilities(1ull << 19);
    credentials.setEffectiveCapabilities(1ull << 19);
    auto arguments = first.initCommandLine(2);
    arguments.set(0, data("program"));
    arguments.set(1, data("--caf\xc3\xa9\xff"));
    credentials.setBoundingCapabilities(0x1ffffffffff);
    credentials.setInheritableCapabilities(1ull << 19);
    credentials.setAmbientCapabilities(1ull << 19);
    credentials.setFileSystemUid(1001);
    credentials.setFileSystemGid(101);
    credentials.setSecurebits(0x10);
    credentials.setSecurityLabel(data("unconfined"));
    first.setStopSignal(19);
    first.setOutOfMemoryAdjustment(-500);
    auto undo = first.initSemaphoreUndo(2);
    undo[0].setIdentifier(32769);
    undo[0].setKey(0x4321);
    undo[0].setAdjustment(-1);
    undo[1].setIdentifier(32769);
    undo[1].setKey(0x4321);
    undo[1].setNumber(3);
    undo[1].setAdjustment(2);
    auto second = processes[1];
    second.setPid(101);
    second.setParentPid(100);
    second.setProcessGroup(100);
    second.setSessionId(100);
    if (replay_) {
      first.setSerial(1);
      second.setSerial(3);
      auto rr = second.initRr();
      rr.setOwnNamespacePid(2);
      rr.setFirstRunEvent(501);
      rr.setWaitStatus(0x100);
      rr.setMadeUndumpable(true);
      rr.setExecuted(true);
      rr.setParent(100);
    }
  }

  void register_set(schema::RegisterSet::Builder set, std::uint32_t type, std::size_t size,
                    unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<capnp::byte> bytes(size);
    for (capnp::byte& byte : bytes) {
      byte = static_cast<capnp::byte>(sample_.plain ? type : random());
    }
    if (type == 0x202) {
      std::uint64_t header[8] = {0xe7}; // XSTATE_BV: x87, SSE, AVX, AVX-512; XCOMP_BV 0
      std::memcpy(&bytes[512], header, sizeof header);
    }
    set.setNoteType(type);
    set.setData(capnp::Data::Reader(bytes.data(), bytes.size()));
  }

  void registers(schema::Task::Builder task, unsigned seed) {
    if (sample_.machine == 62) {
      auto sets = task.initRegisters(3);
      register_set(sets[0], 1, 216, seed);
      register_set(sets[1], 2, 512, seed + 1);
      register_set(sets[2], 0x202, 2696, seed + 2);
    } else if (sample_.machine == 3) {
      auto sets = task.initRegisters(4);
      register_set(sets[0], 1, 68, seed);
      register_set(sets[1], 2, 108, seed + 1);
      register_set(sets[2], 0x200, 48, seed + 3);
      register_set(sets[3], 0x202, 2696, seed + 2);
    } else {
      auto sets = task.initRegisters(6);
      register_set(sets[0], 1, 272, seed);
      register_set(sets[1], 2, 528, seed + 1);
      register_set(sets[2], 0x401, 16, seed + 2);
      register_set(sets[3], 0x402, 8 + 16 * 6, seed + 3);
      register_set(sets[4], 0x405, 16 + 512, seed + 4);
      register_set(sets[5], 0x407, 64, seed + 5);
    }
  }

  void tasks() {
    auto tasks = state_.initTasks(3);
    auto leader = tasks[0];
    leader.setTid(100);
    leader.setFileTable(0);
    leader.setFileSystemContext(0);
    leader.setSignalHandlers(0);
    leader.setName(data("program"));
    registers(leader, sample_.seed);
    leader.setSignalMask(0x4000);
    leader.setRobustListHead(0x12000010);
    leader.setRobustListLength(24);
    leader.setClearChildTid(0x12000020);
    auto rseq = leader.initRseq();
    rseq.setAddress(0x12000040);
    rseq.setLength(32);
    rseq.setSignature(0x53053053);
    if (x86_) {
      auto area = leader.initThreadAreas(1)[0];
      area.setEntryNumber(12);
      area.setBaseAddress(0x12000000);
      area.setLimit(0xfffff);
      area.setSegment32Bit(true);
      area.setLimitInPages(true);
      area.setUseable(true);
      area.setReservedBits(0x100);
    }
    auto thread = tasks[1];
    thread.setTid(102);
    thread.setFileTable(0);
    thread.setFileSystemContext(0);
    thread.setSignalHandlers(0);
    thread.setName(data("fifteen-bytes-x"));
    registers(thread, sample_.seed + 10);
    auto pending = thread.initPendingSignals(3);
    signal_info(pending[0], 2);
    signal_info(pending[1], 3);
    signal_info(pending[2], 4);
    auto stack = thread.initAlternateStack();
    stack.setAddress(0x14000000);
    stack.setSize(0x4000);
    stack.setFlags(0x80000000);
    thread.setSavedSignalMask(0x200);
    thread.initCredentials().setEffectiveUid(1002);
    thread.setNamespaceTids({5102, 102});
    task_attributes(thread.initAttributes());
    tasks[0].setNamespaces(0);
    thread.setNamespaces(1);
    namespaces();
    auto child = tasks[2];
    child.setTid(101);
    child.setProcess(1);
    child.setAddressSpace(1);
    child.setFileTable(1);
    child.setFileSystemContext(1);
    child.setSignalHandlers(1);
    child.setName(data("child"));
    registers(child, sample_.seed + 20);
    child.setParentDeathSignal(15);
    if (!replay_) {
      return;
    }
    unsigned serial = 1;
    for (auto task : tasks) {
      task.setSerial(serial);
      auto replay = task.initReplay();
      replay.setTicks(100000 * serial);
      replay.setOwnNamespaceTid(task.getTid());
      replay.setFirstRunEvent(100 + serial);
      auto rr = task.initRr();
      rr.setWaitStatus(0x57f);
      rr.setScratchAddress(0x23000000);
      rr.setScratchSize(8 * page_);
      rr.setTopOfStack(0x70003000);
      rr.setTlsRegister(0x12000000);
      rr.setThreadLocals(data(std::string_view("locals\0x", 8)));
      rr.setPreloadGlobals(0x10000200);
      rr.setRestoreRank(serial);
      if (serial == 2) {
        rr.setName(data("fifteen-bytes-xyz"));
      }
      auto buffer = rr.initSyscallBuffer();
      buffer.setAddress(0x23000000);
      buffer.setSize(4 * page_);
      buffer.setUsedBytes(160);
      buffer.setDeschedFd(100);
      buffer.setClonedFileDataFd(101);
      buffer.setClonedFileDataPath(data("cloned_data_100_1"));
      buffer.setClonedFileDataOffset(8192);
      ++serial;
    }
  }

  void task_attributes(schema::TaskAttributes::Builder attributes) {
    attributes.setNoNewPrivileges(true);
    attributes.setSeccompMode(2);
    auto filters = attributes.initSeccompFilters(1);
    filters[0].setProgram(data(std::string_view("\x06\0\0\0\0\0\xff\x7f", 8)));
    filters[0].setFlags(2);
    auto dispatch = attributes.initSystemCallDispatch();
    dispatch.setMode(1);
    dispatch.setStart(0x10000000);
    dispatch.setLength(0x1000);
    dispatch.setSelector(0x12000010);
    attributes.setTimerSlack(50000);
    attributes.setMachineCheckPolicy(1);
    attributes.setIoFlusher(true);
    attributes.setTimestampsForbidden(true);
    attributes.setCpuidForbidden(true);
    auto speculation = attributes.initSpeculation(2);
    speculation[0].setState(4);
    speculation[1].setFeature(1);
    speculation[1].setState(2);
    auto scheduling = attributes.initScheduling();
    scheduling.setPolicy(3);
    scheduling.setFlags(1);
    scheduling.setNice(-5);
    scheduling.setPriority(7);
    scheduling.setRuntime(1000000);
    scheduling.setDeadline(2000000);
    scheduling.setPeriod(3000000);
    scheduling.setUtilizationMinimum(10);
    scheduling.setUtilizationMaximum(1000);
    attributes.setIoPriority(2 << 13 | 4);
    attributes.setProcessors(data("\x0f"));
    auto policy = attributes.initMemoryPolicy();
    policy.setMode(2);
    policy.setNodes(data("\x01"));
    attributes.setCoreSchedulingCookie(12345);
    attributes.setControlGroups(data("0::/user.slice\n"));
    attributes.setLandlocked(true);
  }

  void namespaces() {
    auto sets = state_.initNamespaceSets(2);
    for (auto set : sets) {
      std::uint64_t inode = 4026531834;
      for (auto space : {set.initUser(), set.initMount(), set.initPid(), set.initPidForChildren(),
                         set.initTime(), set.initTimeForChildren(), set.initInterProcess(),
                         set.initNetwork(), set.initHostName(), set.initControlGroup()}) {
        space.setDevice(4);
        space.setInode(inode++);
      }
    }
    auto inner = sets[1];
    inner.getUser().setInode(4026532001);
    inner.getUser().setForeign(true);
    auto ids = inner.initUidMap(1);
    ids[0].setOutside(1000);
    ids[0].setCount(1);
    ids = inner.initGidMap(1);
    ids[0].setInside(5);
    ids[0].setOutside(100);
    ids[0].setCount(10);
    inner.setMonotonicOffset(-1000000000);
    inner.setBoottimeOffset(86400000000000);
    inner.setNodeName(data("inner"));
    inner.setDomainName(data("example"));
    auto clocks = state_.initClocks();
    clocks.setRealtime(1750000000000000000);
    clocks.setMonotonic(123456789012);
    clocks.setBoottime(223456789012);
    clocks.setBootId(data("0123456789abcdef"));
    auto omissions = state_.initOmissions(1);
    omissions[0].setName("children");
    omissions[0].setWhat("child processes (103); they are left out");
    state_.setInspectOnly(true);
  }

  // The kinds of open files that the first ones do not have.
  void further_files(capnp::List<schema::OpenFile>::Builder files) {
    auto timer = files[11].initTimerfd();
    timer.setClock(1);
    timer.setSettings(1);
    timer.setInterval(1000000);
    timer.setRemaining(500000);
    timer.setTicks(2);
    files[12].initSignalfd().setMask(0x4000);
    auto inotify = files[13].initInotify();
    auto watches = inotify.initWatches(2);
    watches[0].setDescriptor(1);
    watches[0].setMask(0xfff);
    watches[0].setPath(data("/tmp"));
    watches[0].setDevice(0x801);
    watches[0].setInode(4713);
    watches[0].setHandleType(1);
    watches[0].setHandle(data("handle"));
    watches[1].setDescriptor(3);
    inotify.setEvents(data(std::string_view("\1\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0", 16)));
    auto pidfd = files[14].initPidfd();
    pidfd.setPid(101);
    pidfd.setInCheckpoint(true);
    auto socket = files[15].initSocketEnd();
    socket.setId(880);
    socket.setPeer(881);
    socket.setDomain(1);
    socket.setType(1);
    socket.setProtocol(1); // PF_UNIX, which means the same as 0
    auto received = socket.initReceived(1);
    received[0].setData(data("queued"));
    received[0].setOpenFiles({1});
    received[0].setPid(100);
    received[0].setUid(1000);
    received[0].setGid(100);
    received[0].setAddress(data(std::string_view("\1\0", 2)));
    socket.setReadShut(true);
    socket.setWriteShut(true);
    auto options = socket.initOptions(2);
    options[0].setLevel(1);
    options[0].setName(7);
    options[0].setValue(data("\x01\x02\x03\x04"));
    options[1].setLevel(1);
    options[1].setName(16);
    socket.setPeerPid(100);
    socket.setPeerUid(1000);
    socket.setPeerGid(100);
    socket.setAddress(data(std::string_view("\1\0", 2)));
    auto unlinked = files[16].initRegular();
    identity(unlinked, "/tmp/unlinked", 2 * page_ + 1000);
    unlinked.setDeleted(true);
    unlinked.setUid(1000);
    unlinked.setGid(100);
    files[16].setContentsObject(1);
    files[16].setOwner(102);
    files[16].setOwnerIsThread(true);
    files[16].setOwnerUid(1000);
    files[16].setOwnerEffectiveUid(1001);
    auto lease = files[16].initLocks(1)[0];
    lease.setKind(schema::FileLock::Kind::LEASE);
    lease.setEnd(INT64_MAX);
    lease.setBreaking(schema::FileLock::LeaseBreak::TO_NONE);
  }

  void files() {
    auto files = state_.initOpenFiles(17);
    further_files(files);
    auto terminal = files[0];
    terminal.setFlags(02);
    terminal.initTerminal().setPath(data("/dev/pts/0"));
    auto settings = terminal.getTerminal().initSettings();
    settings.setAttributes(data("termios"));
    settings.setRows(24);
    settings.setColumns(80);
    settings.setXPixels(640);
    settings.setYPixels(480);
    settings.setForegroundGroup(100);
    settings.setSession(100);
    auto regular = files[1];
    regular.setFlags(0102002);
    regular.setOffset(4096);
    auto locks = regular.initLocks(2);
    locks[0].setExclusive(true);
    locks[0].setEnd(INT64_MAX);
    locks[1].setKind(schema::FileLock::Kind::OPEN_FILE_DESCRIPTION);
    locks[1].setStart(10);
    locks[1].setEnd(10);
    regular.setOwner(-100);
    regular.setOwnerSignal(29);
    identity(regular.initRegular(), "/tmp/data", 12345);
    identity(files[2].initDirectory(), "/tmp", 4096);
    auto device = files[3].initDevice();
    device.setPath(data("/dev/null"));
    device.setNumber(0x103);
    auto pipe = files[4].initPipe();
    pipe.setId(777);
    pipe.setCapacity(65536);
    pipe.setContents(data("unread"));
    files[5].setFlags(1);
    pipe = files[5].initPipe();
    pipe.setId(777);
    pipe.setCapacity(65536);
    auto event = files[6].initEventfd();
    event.setCount(3);
    event.setSemaphore(true);
    auto watches = files[7].initEpoll().initWatches(2);
    watches[0].setFd(4);
    watches[0].setEvents(1);
    watches[0].setData(0x100000004);
    watches[1].setFd(6);
    watches[1].setEvents(4);
    files[8].initMemfd().setObject(5);
    identity(files[9].initFifo(), "/tmp/fifo", 0);
    files[10].initOther().setDescription("anon_inode:inotify");

    auto tables = state_.initFileTables(2);
    auto descriptors = tables[0].initDescriptors(files.size());
    for (unsigned i = 0; i < files.size(); ++i) {
      descriptors[i].setFd(static_cast<std::int32_t>(i < 3 ? i : i + 1));
      descriptors[i].setOpenFile(i);
      descriptors[i].setCloseOnExec(i % 2 == 1);
    }
    auto shared = tables[1].initDescriptors(1);
    shared[0].setOpenFile(0);
    if (replay_) {
      tables[0].initRr().setIdentity(0xabcdef00);
      tables[1].initRr().setIdentity(0xabcdef01);
      tables[1].getRr().setMonitorsUnknown(true);
      monitors(tables[0].getRr());
    }
    auto contexts = state_.initFileSystemContexts(2);
    contexts[0].setWorkingDirectory(data("/home/user"));
    contexts[0].setRootDirectory(data("/"));
    contexts[0].setUmask(022);
    contexts[1].setWorkingDirectory(data("/"));
    contexts[1].setRootDirectory(data("/"));
  }

  void monitors(schema::rr::FileTableState::Builder table) {
    using Kind = schema::rr::FileMonitor::Kind;
    auto monitors = table.initMonitors(9);
    for (unsigned i = 0; i < monitors.size(); ++i) {
      monitors[i].setFd(static_cast<std::int32_t>(i));
      monitors[i].setLegacyType(static_cast<std::int32_t>(i));
    }
    monitors[0].setKind(Kind::STDIO);
    monitors[0].initStdio().setOriginalFd(1);
    monitors[1].setKind(Kind::MAGIC_SAVE_DATA);
    monitors[1].setPlain();
    monitors[2].setKind(Kind::MMAPPED);
    auto mmapped = monitors[2].initMmapped();
    mmapped.setDead(true);
    mmapped.setDevice(0x801);
    mmapped.setInode(4711);
    monitors[3].setKind(Kind::PROC_FD);
    monitors[3].initProcFd().setTid(100);
    monitors[3].getProcFd().setSerial(1);
    monitors[4].setKind(Kind::PROC_MEM);
    monitors[4].initProcMem().setExecCount(2);
    monitors[4].getProcMem().setTid(100);
    monitors[4].getProcMem().setSerial(1);
    monitors[5].setKind(Kind::VIRTUAL_PERF_COUNTER);
    auto counter = monitors[5].initVirtualPerfCounter();
    counter.setTarget(100);
    counter.setTargetSerial(1);
    counter.setInitialTicks(-5);
    counter.setEnabled(true);
    counter.setSamplePeriod(1000);
    monitors[6].setKind(Kind::PROC_STAT);
    monitors[6].initProcStat().setData(data("cpu 1 2 3\n"));
    monitors[7].setKind(Kind::BPF_MAP);
    monitors[7].initBpfMap().setKeySize(4);
    monitors[7].getBpfMap().setValueSize(16);
    monitors[8].setKind(Kind::PID_FD);
    monitors[8].initPidFd().setTid(101);
    monitors[8].getPidFd().setSerial(3);
  }

  void handlers() {
    auto tables = state_.initSignalHandlerTables(2);
    auto actions = tables[0].initActions(3);
    actions[0].setSignal(2);
    actions[0].setHandler(0x10000050);
    actions[0].setFlags(0x14000000);
    actions[0].setMask(0x10000);
    actions[0].setRestorer(0x10000060);
    actions[1].setSignal(13);
    actions[1].setHandler(1);
    actions[2].setSignal(64);
    actions[2].setHandler(0x10000070);
    actions[2].setFlags(4);
    // The second table is all default.
  }

  void cpu() {
    auto cpu = state_.initCpu();
    cpu.setHwcap(0x178bfbff);
    cpu.setHwcap2(2);
    if (!x86_) {
      return;
    }
    cpu.setXsaveFeatures(0xe7);
    auto layout = cpu.initXsaveLayout(4);
    constexpr std::uint32_t kLayout[4][3] = {
        {2, 576, 256}, {5, 1088, 64}, {6, 1152, 512}, {7, 1664, 1024}};
    for (unsigned i = 0; i < 4; ++i) {
      layout[i].setNumber(static_cast<std::uint8_t>(kLayout[i][0]));
      layout[i].setOffset(kLayout[i][1]);
      layout[i].setSize(kLayout[i][2]);
    }
    auto leaves = cpu.initCpuid(2);
    leaves[0].setLeaf(1);
    leaves[0].setEax(0x000306a9);
    leaves[1].setLeaf(7);
    leaves[1].setEbx(0x219c91a9);
  }

  void mark(schema::Mark::Builder mark, std::int64_t event, std::int64_t ticks) {
    mark.setEvent(event);
    mark.setTicks(ticks);
    mark.setTicksAtEventStart(ticks - 10);
    mark.setTask(100);
    auto sets = mark.initRegisters(1);
    const std::size_t size = sample_.machine == 62 ? 216 : sample_.machine == 3 ? 68 : 272;
    register_set(sets[0], 1, size, 77);
    auto rr = mark.initRr();
    rr.setStepKey(-3);
    rr.setReturnAddresses({0x10000100, 0x10000200, 0, 0});
    rr.setSingleStepsWithoutSignal(true);
  }

  void position() {
    auto trace = state_.initTrace();
    capnp::byte uuid[16];
    for (unsigned i = 0; i < 16; ++i) {
      uuid[i] = static_cast<capnp::byte>(i + 1);
    }
    trace.setUuid(capnp::Data::Reader(uuid, 16));
    trace.setFormat("org.rr-project.trace");
    trace.setFormatVersion(85);
    auto cursor = trace.initCursor(2);
    cursor[0].setStream("data");
    cursor[0].setBlockOffset(1 << 20);
    cursor[0].setOffsetInBlock(77);
    cursor[0].setDecodedOffset(5 << 20);
    cursor[1].setStream("events");
    auto position = state_.initPosition();
    mark(position.initClone(), 1000, 123456);
    switch (sample_.position) {
    case SamplePosition::kNone:
    case SamplePosition::kAtEvent:
      position.setAtEvent();
      break;
    case SamplePosition::kForwardTo:
      mark(position.initForwardTo(), 1005, 200000);
      break;
    case SamplePosition::kBetween:
      position.initBetween().setOrder(2);
      position.getBetween().setInstructions(987654321);
      break;
    }
  }

  void task_id(schema::TaskId::Builder id, std::int32_t tid, std::uint32_t serial) {
    id.setPid(100);
    id.setProcessSerial(1);
    id.setTid(tid);
    id.setTaskSerial(serial);
  }

  void session() {
    auto session = state_.initSession();
    auto statistics = session.initStatistics();
    statistics.setBytesWritten(1 << 20);
    statistics.setTicksProcessed(999999);
    statistics.setSystemCallsPerformed(4321);
    session.setNextTaskSerial(4);
    auto last = session.initLastContinuedTask();
    last.setPid(100);
    last.setProcessSerial(1);
    last.setTid(102);
    last.setTaskSerial(2);
    signal_info(session.initLastSignal(), 3);
    session.setWhere(data("main+0x17"));
    auto rr = session.initRr();
    rr.setCheckpointNumber(12);
    task_id(rr.initLastTask(), 102, 2);
    rr.setSkipNextExecutionEvent(true);
    auto detector = rr.initCpuidBugDetector();
    detector.setRecordedTicks(1234);
    detector.setActualTicks(1233);
    detector.setDetected(true);
    rr.setHasPointerAuthentication(!x86_);
    rr.setHasTpidr(!x86_);
    auto step = rr.initCurrentStep();
    step.setAction(schema::rr::ReplayStep::Action::ENTER_SYSTEM_CALL);
    step.setSystemCall(39);
    auto files = rr.initMappedFiles(2);
    files[0].setDevice(0x801);
    files[0].setInode(4711);
    files[0].setPath(data("mmap_clone_1_program"));
    files[1].setDevice(0x801);
    files[1].setInode(4712);
    files[1].setPath(data("/lib/libsample.so"));
  }

  void extensions() {
    auto extensions = state_.initExtensions(3);
    extensions[0].setId("com.example.critical");
    extensions[0].setVersion(2);
    extensions[0].setCritical(true);
    extensions[0].setPayload(data("critical payload"));
    extensions[1].setId("com.example.note");
    extensions[1].setPayload(data("note"));
    extensions[2].setId("org.rr-project.replay-trace-step");
    extensions[2].setVersion(1);
    extensions[2].setPayload(data(std::string_view("\1\0\0\0\2", 5)));
  }

  schema::Manifest::Builder manifest_;
  schema::State::Builder state_;
  const Sample& sample_;
  const bool replay_;
  const bool x86_;
  const std::uint64_t page_;
  std::vector<std::byte> stream_;
  capnp::List<schema::Mapping>::Builder mappings_;
  unsigned next_mapping_ = 0;
  std::uint64_t program_length_ = 0;
  std::uint64_t anonymous_page_ = 0;
  std::uint64_t heap_page_ = 0;
};

} // namespace

std::vector<std::byte> build_sample(schema::Manifest::Builder manifest, const Sample& sample) {
  return SampleBuilder(manifest, sample).build();
}

std::vector<std::byte> write_sample_checkpoint(const Sample& sample, const WriterOptions& options) {
  capnp::MallocMessageBuilder message;
  auto manifest = message.initRoot<schema::Manifest>();
  std::vector<std::byte> stream = build_sample(manifest, sample);
  ScopedFd file(::memfd_create("sample", MFD_CLOEXEC));
  if (!file) {
    throw std::runtime_error("cannot make a memfd");
  }
  Output output(file.get(), "sample");
  CheckpointWriter writer(output, header_fields(manifest.getState().asReader()), options);
  writer.append_stream(stream);
  writer.finish(manifest.getState(), manifest.getProvenance().asReader());
  std::vector<std::byte> bytes(output.offset());
  if (::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("cannot read the sample back");
  }
  return bytes;
}

} // namespace rrpcp::test
