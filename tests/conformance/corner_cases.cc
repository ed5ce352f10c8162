#include "conformance/corner_cases.h"

#include "base/scoped_fd.h"
#include "rrpcp/output.h"
#include "rrpcp/schema/manifest.capnp.h"
#include "rrpcp/writer.h"

#include <capnp/message.h>
#include <functional>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

using State = schema::State::Builder;
using Action = schema::rr::ReplayStep::Action;

constexpr std::uint32_t kPage = 4096;
constexpr std::uint32_t kPrivate = 2, kShared = 1, kAnonymous = 0x20;
constexpr std::uint16_t k386 = 3;

capnp::Data::Reader data(std::string_view text) {
  return {reinterpret_cast<const capnp::byte*>(text.data()), text.size()};
}

std::vector<std::byte> written(State state, std::uint64_t pages) {
  auto geometry = state.initPageStream();
  geometry.setPageSize(kPage);
  geometry.setChunkPages(64);
  geometry.setPageCount(pages);
  capnp::MallocMessageBuilder provenance;
  ScopedFd file(::memfd_create("corner", MFD_CLOEXEC));
  Output output(file.get(), "corner");
  CheckpointWriter writer(output, header_fields(state.asReader()),
                          {.profile = Profile::kRaw, .threads = 1});
  writer.append_stream(std::vector<std::byte>(pages * kPage, std::byte{7}));
  writer.finish(state, provenance.initRoot<schema::Provenance>().asReader());
  std::vector<std::byte> bytes(output.offset());
  if (::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("cannot read the file back");
  }
  return bytes;
}

void machine_and_trace(State state) {
  state.setMachine(62);
  state.setElfClass(2);
  state.setDataEncoding(1);
  state.setProducer("org.rr-project.rr");
  auto trace = state.initTrace();
  trace.setUuid(data("sixteen bytes..."));
  trace.setFormat("org.rr-project.trace");
  trace.setFormatVersion(85);
  state.initPosition().initClone().setEvent(7);
}

void registers(capnp::List<schema::RegisterSet>::Builder sets, std::size_t size) {
  sets[0].setNoteType(1);
  sets[0].initData(static_cast<unsigned>(size))[0] = 1;
}

schema::Mapping::Builder map(capnp::List<schema::Mapping>::Builder mappings, unsigned index,
                             std::uint32_t protection, std::uint32_t flags) {
  auto mapping = mappings[index];
  mapping.setStart(0x10000 + 0x10000 * index);
  mapping.setEnd(mapping.getStart() + 4 * kPage);
  mapping.setProtection(protection);
  mapping.setFlags(flags);
  return mapping;
}

void run(schema::PageRun::Builder run, schema::RunKind kind, std::uint64_t pages) {
  run.setKind(kind);
  run.setPages(pages);
}

void spaces(State state) {
  using Use = schema::rr::MappingUse;
  auto list = state.initAddressSpaces(2);
  const Use uses[] = {Use::PATCH_STUBS, Use::RR_PAGE, Use::VDSO_PAGE, Use::THREAD_LOCALS,
                      Use::SYSCALL_BUFFER};
  auto mappings = list[0].initMappings(9);
  for (unsigned i = 0; i < std::size(uses); ++i) {
    auto mapping = map(mappings, i, 5, kPrivate | kAnonymous);
    mapping.setRole(schema::MappingRole::REPLAYER);
    mapping.initRr().setUse(uses[i]);
  }
  map(mappings, 5, 3, kPrivate | kAnonymous).setRole(schema::MappingRole::SHADOW_STACK);
  // A guard page below a stack, and pages that could not be read.
  auto ordinary = map(mappings, 6, 3, kPrivate | kAnonymous);
  ordinary.initRr().setFileOffset(kPage);
  auto holes = ordinary.initRuns(3);
  run(holes[0], schema::RunKind::GUARD, 1);
  run(holes[1], schema::RunKind::STREAM, 1);
  run(holes[2], schema::RunKind::UNKNOWN, 2);
  // A shared mapping of a file that was opened for reading, with a guard page.
  auto shared = map(mappings, 7, 1, kShared);
  shared.setObject(0);
  shared.setMaximumProtection(5);
  auto guarded = shared.initRuns(2);
  run(guarded[0], schema::RunKind::GUARD, 1);
  run(guarded[1], schema::RunKind::BACKING, 3);
  map(mappings, 8, 3, kPrivate | kAnonymous | 0x40000 | 21u << 26).setAdvice(1 << 5);
  auto small = list[1];
  small.setMachine(k386);
  small.setElfClass(1);
  map(small.initMappings(1), 0, 5, kPrivate | kAnonymous).setRole(schema::MappingRole::VDSO);

  auto object = state.initMemoryObjects(1)[0];
  object.setLength(4 * kPage);
  auto file = object.initFile();
  file.setPath(data("/tmp/gone"));
  file.setSize(4 * kPage);
  file.setDeleted(true);
  file.setModifiedAt(-1); // a nanosecond before 1970
  file.setUid(1000);
  file.setGid(1000);
}

void signals(capnp::List<schema::SignalInfo>::Builder list) {
  list[0].setSignal(29);
  list[0].setCode(1);
  auto poll = list[0].initPoll();
  poll.setBand(65);
  poll.setFd(3);
  list[1].setSignal(31);
  list[1].setError(38);
  auto call = list[1].initSystemCall();
  call.setCallAddress(0x10010);
  call.setNumber(-1);
  call.setArch(0xc000003e);
  list[2].setSignal(11);
  list[2].setCode(3);
  auto fault = list[2].initFault();
  fault.setAddress(0x1000);
  fault.setLower(0x2000);
  fault.setUpper(0x3000);
  fault.setPkey(1);
  list[3].setSignal(1);
  list[3].setNone();
  list[4].setSignal(14);
  list[4].setCode(-2);
  list[4].initTimer().setId(5);
}

void tasks(State state) {
  auto processes = state.initProcesses(2);
  processes[0].setPid(200);
  processes[0].setChildSubreaper(true);
  processes[0].setNotDumpable(true);
  processes[0].setPersonality(0);
  processes[1].setPid(300);
  processes[1].setParentPid(200);
  auto list = state.initTasks(2);
  list[0].setTid(200);
  list[0].setFileTable(0);
  list[0].setSignalMask(0);
  registers(list[0].initRegisters(1), 216);
  signals(list[0].initPendingSignals(5));
  auto rseq = list[0].initRseq();
  rseq.setAddress(0x10020);
  rseq.setFlags(1);
  auto area = list[0].initThreadAreas(1)[0];
  area.setEntryNumber(6);
  area.setContents(3);
  area.setReadExecuteOnly(true);
  area.setSegmentNotPresent(true);
  area.setLongMode(true);
  auto stack = list[0].initAlternateStack();
  stack.setFlags(2); // SS_DISABLE
  list[1].setTid(300);
  list[1].setProcess(1);
  list[1].setAddressSpace(1);
  list[1].setFileTable(1);
  registers(list[1].initRegisters(1), 68);
}

void files(State state) {
  auto list = state.initOpenFiles(3);
  list[0].initSocket().setDescription("socket:[4711]");
  list[0].setFlags(2);
  auto path = list[1].initPath();
  path.setPath(data("/tmp/only a path\xff"));
  path.setSize(1);
  list[1].setFlags(010000000);
  auto pipe = list[2].initPipe();
  pipe.setId(88);
  pipe.setCapacity(4096);
  pipe.setExternal(true);
  auto locks = list[2].initLocks(2);
  locks[0].setKind(schema::FileLock::Kind::FLOCK);
  locks[0].setEnd(INT64_MAX);
  locks[1].setKind(schema::FileLock::Kind::LEASE);
  locks[1].setBreaking(schema::FileLock::LeaseBreak::TO_READ);
  locks[1].setExclusive(true);
  locks[1].setEnd(INT64_MAX);
  auto tables = state.initFileTables(2);
  auto descriptors = tables[0].initDescriptors(3);
  for (unsigned i = 0; i < 3; ++i) {
    descriptors[i].setFd(static_cast<std::int32_t>(i));
    descriptors[i].setOpenFile(i);
  }
  tables[1].setContentsUnknown(true);
  using Kind = schema::rr::FileMonitor::Kind;
  const Kind kinds[] = {Kind::BASE,    Kind::PRESERVE, Kind::NONVIRTUAL_PERF_COUNTER,
                        Kind::SYS_CPU, Kind::RR_PAGE,  Kind::ODIRECT,
                        Kind::PID_FD,  Kind::OTHER};
  auto monitors = tables[1].initRr().initMonitors(std::size(kinds));
  for (unsigned i = 0; i < std::size(kinds); ++i) {
    monitors[i].setFd(static_cast<std::int32_t>(i));
    monitors[i].setKind(kinds[i]); // their details were not stored, or there are none
  }
}

void rest(State state) {
  auto leaf = state.initCpu().initCpuid(2)[1];
  leaf.setLeaf(7);
  leaf.setSubleaf(1);
  leaf.setEcx(0x11);
  leaf.setEdx(0x22);
  auto clone = state.getPosition().getClone();
  clone.setTask(300);
  clone.setMachine(k386);
  registers(clone.initRegisters(1), 68);
  auto step = state.initSession().initRr().initCurrentStep();
  step.setAction(Action::ASYNCHRONOUS_INTERRUPT);
  step.setMachine(k386);
  step.setSystemCall(4);
  step.setTargetTicks(0);
  step.setSignal(11);
  step.setBufferHook(0x70001000);
  step.setFlushOffset(12);
  step.setFlushTicks(-1);
}

std::vector<std::byte> corners() {
  capnp::MallocMessageBuilder message;
  auto state = message.initRoot<schema::State>();
  machine_and_trace(state);
  spaces(state);
  tasks(state);
  files(state);
  rest(state);
  return written(state, 1);
}

} // namespace

std::vector<ValidCase> corner_cases() {
  std::vector<ValidCase> cases;
  cases.push_back({"corners", corners()});
  // One small file for each thing that rr may be about to do.
  const std::pair<const char*, Action> steps[] = {
      {"retire", Action::RETIRE},
      {"exit-system-call", Action::EXIT_SYSTEM_CALL},
      {"deterministic-signal", Action::DETERMINISTIC_SIGNAL},
      {"deliver-signal", Action::DELIVER_SIGNAL},
      {"flush-buffer", Action::FLUSH_BUFFER},
      {"patch-system-call", Action::PATCH_SYSTEM_CALL},
      {"exit-task", Action::EXIT_TASK},
      {"patch-after-system-call", Action::PATCH_AFTER_SYSTEM_CALL},
      {"patch-instruction", Action::PATCH_INSTRUCTION},
      {"patch-vsyscall", Action::PATCH_VSYSCALL},
  };
  for (const auto& [name, action] : steps) {
    capnp::MallocMessageBuilder message;
    auto state = message.initRoot<schema::State>();
    machine_and_trace(state);
    state.initSession().initRr().initCurrentStep().setAction(action);
    cases.push_back({std::string("rr-step-") + name, written(state, 0)});
  }
  return cases;
}

} // namespace rrpcp::test
