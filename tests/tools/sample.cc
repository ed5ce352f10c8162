#include "tools/sample.h"

#include "base/hash.h"
#include "base/scoped_fd.h"
#include "support/checkpoint_bytes.h"

#include <algorithm>
#include <capnp/message.h>
#include <cstring>
#include <fcntl.h>
#include <numeric>
#include <stdexcept>
#include <sys/stat.h>

namespace rrpcp::test {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kFilePages = 4;

capnp::Data::Reader blob(const std::string& text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}

std::vector<kj::byte> counting(std::size_t size, unsigned start) {
  std::vector<kj::byte> bytes(size);
  std::iota(bytes.begin(), bytes.end(), static_cast<kj::byte>(start));
  return bytes;
}

void put_word(std::vector<kj::byte>& bytes, std::size_t index, std::uint64_t value) {
  std::memcpy(&bytes[index * 8], &value, 8);
}

capnp::Data::Reader blob(const std::vector<kj::byte>& bytes) {
  return {bytes.data(), bytes.size()};
}

class Sample {
public:
  Sample(const std::string& directory, const std::string& name, const SampleOptions& options)
      : options_(options), program_(directory + "/program"), path_(directory + "/" + name),
        state_(message_.initRoot<schema::State>()) {}

  std::string write() {
    make_program();
    state_.setMachine(options_.machine);
    state_.setElfClass(options_.machine == 3 ? 1 : 2);
    state_.setDataEncoding(1);
    state_.initPageStream().setPageSize(kPage);
    state_.setProducer("org.example.sample");
    set_position();
    ScopedFd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file) {
      throw std::runtime_error("cannot create " + path_);
    }
    Output output(file.get(), path_);
    CheckpointWriter writer(output, header_fields(state_.asReader()), options_.writer);
    set_memory(writer);
    set_processes();
    set_tasks();
    set_files();
    set_rest();
    if (options_.change) {
      options_.change(state_);
    }
    capnp::MallocMessageBuilder provenance;
    auto origin = provenance.initRoot<schema::Provenance>();
    origin.setCreator(options_.creator);
    origin.setCreatedAt(1750000000123456789);
    origin.setHostName("host");
    origin.setKernelRelease("6.18.0");
    origin.setFrozenNanoseconds(3400000);
    writer.finish(state_, origin.asReader());
    return path_;
  }

private:
  bool is_x86() const { return options_.machine == 62; }

  std::vector<std::byte> program_pages() const { return sample_pages(kFilePages, 77); }

  void make_program() {
    if (::access(program_.c_str(), F_OK) != 0) {
      write_file(program_, program_pages());
    }
  }

  void set_identity(schema::FileIdentity::Builder identity) {
    struct stat status {};
    if (::stat(program_.c_str(), &status) != 0) {
      throw std::runtime_error("cannot examine " + program_);
    }
    identity.setPath(blob(program_));
    identity.setSize(static_cast<std::uint64_t>(status.st_size));
    identity.setModifiedAt(status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec);
    identity.setMode(status.st_mode);
    identity.setBuildId(blob(counting(20, 1)));
    auto digest = identity.initDigests(1)[0];
    digest.setOffset(0);
    digest.setLength(kFilePages * kPage);
    const Digest128 hash = xxh3_128(program_pages());
    digest.setHigh(hash.high);
    digest.setLow(hash.low);
  }

  void set_position() {
    if (!is_x86()) {
      return; // a live process
    }
    auto position = state_.initPosition();
    auto clone = position.initClone();
    clone.setEvent(1000);
    clone.setTicks(123456);
    clone.setTicksAtEventStart(123000);
    auto mark = position.initForwardTo();
    mark.setEvent(1007);
    mark.setTicks(130000);
    auto rr = mark.initRr();
    rr.setStepKey(3);
    auto addresses = rr.initReturnAddresses(2);
    addresses.set(0, 0x401234);
    addresses.set(1, 0);
    auto trace = state_.initTrace();
    trace.setUuid(blob(counting(16, 0xa0)));
    trace.setFormat("org.rr-project.trace");
    trace.setFormatVersion(85);
    auto cursor = trace.initCursor(1)[0];
    cursor.setStream("events");
    cursor.setBlockOffset(4096);
    cursor.setOffsetInBlock(17);
    cursor.setDecodedOffset(70000);
  }

  static void set_mapping(schema::Mapping::Builder mapping, std::uint64_t start,
                          std::uint64_t pages, std::uint32_t protection, std::uint32_t flags,
                          const std::string& name) {
    mapping.setStart(start);
    mapping.setEnd(start + pages * kPage);
    mapping.setProtection(protection);
    mapping.setFlags(flags);
    mapping.setName(blob(name));
  }

  static void store(CheckpointWriter& writer, schema::Mapping::Builder mapping,
                    std::span<const std::byte> pages) {
    std::vector<PageRun> runs;
    writer.append(pages, runs);
    set_runs(mapping.initRuns(static_cast<unsigned>(runs.size())), runs);
  }

  void set_memory(CheckpointWriter& writer) {
    auto objects = state_.initMemoryObjects(3);
    objects[0].setLength(kFilePages * kPage);
    objects[0].setDevice(0x801);
    objects[0].setInode(4711);
    set_identity(objects[0].initFile());

    std::vector<PageRun> runs;
    writer.append(sample_pages(2, 5), runs);
    objects[1].setLength(2 * kPage);
    objects[1].setAnonymous();
    set_runs(objects[1].initRuns(static_cast<unsigned>(runs.size())), runs);

    runs.clear();
    std::vector<std::byte> memfd = sample_pages(1, 6);
    std::fill(memfd.begin() + 100, memfd.end(), std::byte{0});
    writer.append(memfd, runs);
    objects[2].setLength(100);
    objects[2].initMemfd().setName(blob("buffer"));
    set_runs(objects[2].initRuns(static_cast<unsigned>(runs.size())), runs);

    auto spaces = state_.initAddressSpaces(2);
    set_first_space(writer, spaces[0]);
    auto second = spaces[1].initMappings(1);
    set_mapping(second[0], kSampleShared, 2, 3, 0x21, "/dev/zero (deleted)");
    second[0].setObject(1);
  }

  void set_first_space(CheckpointWriter& writer, schema::AddressSpace::Builder space) {
    const std::vector<std::byte> heap = options_.heap.empty() ? sample_heap() : options_.heap;
    auto mappings = space.initMappings(7);
    set_mapping(mappings[0], kSampleCode, kFilePages, 5, 2, program_);
    mappings[0].setObject(0);
    mappings[0].setDevice(0x801);
    mappings[0].setInode(4711);
    std::vector<PageRun> runs = {{schema::RunKind::BACKING, 1, 0}};
    writer.append(sample_pages(1, 9), runs);
    runs.push_back({schema::RunKind::BACKING, 2, 0});
    set_runs(mappings[0].initRuns(static_cast<unsigned>(runs.size())), runs);

    set_mapping(mappings[1], kSampleHeap, 8, 3, 0x22, "[heap]");
    mappings[1].setRole(schema::MappingRole::HEAP);
    store(writer, mappings[1], heap);
    set_mapping(mappings[2], kSampleShared, 2, 3, 0x21, "/dev/zero (deleted)");
    mappings[2].setObject(1);
    set_mapping(mappings[3], kSampleMemfd, 1, 1, 1, "/memfd:buffer (deleted)");
    mappings[3].setObject(2);
    set_mapping(mappings[4], kSampleGuard, std::uint64_t{1} << 28, 0, 0x4022, "");
    mappings[4].setRole(schema::MappingRole::GUARD);
    set_mapping(mappings[5], kSampleStack, 4, 3, 0x122, "[stack]");
    mappings[5].setRole(schema::MappingRole::STACK);
    store(writer, mappings[5], std::span(heap).first(4 * kPage));
    set_mapping(mappings[6], kSampleVvar, 4, 1, 2, "[vvar]");
    mappings[6].setRole(schema::MappingRole::VVAR);
    auto unstored = mappings[6].initRuns(1)[0];
    unstored.setKind(schema::RunKind::UNKNOWN);
    unstored.setPages(4);

    space.setExecutable(0);
    space.setExecutablePath(blob(program_));
    auto layout = space.initLayout();
    layout.setStartBrk(kSampleHeap);
    layout.setBrk(kSampleHeap + 8 * kPage);
    auto auxv = space.initAuxv(2);
    auxv[0].setType(6);
    auxv[0].setValue(kPage);
    auxv[1].setType(9);
    auxv[1].setValue(kSampleCode + 0x100);
    auto saved = space.initRr().initSavedMemory(1)[0];
    saved.setAddress(kSampleHeap + 16);
    saved.setData(blob(counting(8, 3)));
  }

  void set_processes() {
    auto processes = state_.initProcesses(2);
    processes[0].setPid(100);
    processes[0].setProcessGroup(100);
    processes[0].setSessionId(90);
    auto arguments = processes[0].initCommandLine(2);
    arguments.set(0, blob(program_));
    arguments.set(1, blob("caf\xc3\xa9 \xff"));
    auto pending = processes[0].initPendingSignals(1)[0];
    pending.setSignal(10);
    pending.setCode(-1);
    pending.initQueue().setValue(0xdeadbeefcafe);
    auto timer = processes[0].initIntervalTimers(1)[0];
    timer.setInterval(1000);
    timer.setValue(250);
    auto limit = processes[0].initResourceLimits(1)[0];
    limit.setResource(7);
    limit.setSoft(1024);
    limit.setHard(~std::uint64_t{0});
    auto credentials = processes[0].initCredentials();
    credentials.setRealUid(1000);
    credentials.initGroups(1).set(0, 27);
    processes[1].setPid(200);
    processes[1].setParentPid(100);
  }

  void set_registers(schema::Task::Builder task, unsigned number) {
    if (!is_x86()) {
      auto sets = task.initRegisters(3);
      std::vector<kj::byte> general = counting(34 * 8, number);
      put_word(general, 31, 0x7ffffff01000);
      put_word(general, 32, kSampleCode + number);
      sets[0].setNoteType(1);
      sets[0].setData(blob(general));
      sets[1].setNoteType(2);
      sets[1].setData(blob(counting(528, number)));
      sets[2].setNoteType(0x401);
      sets[2].setData(blob(counting(8, number)));
      return;
    }
    auto sets = task.initRegisters(4);
    std::vector<kj::byte> general(27 * 8);
    put_word(general, 10, number);                             // rax
    put_word(general, 16, kSampleCode + number);               // rip
    put_word(general, 19, kSampleStack + 0x1000 - number * 8); // rsp
    put_word(general, 21, 0x7ffff7d80740);                     // fs_base
    sets[0].setNoteType(1);
    sets[0].setData(blob(general));
    std::vector<kj::byte> floating(512);
    std::vector<kj::byte> vectors = counting(256, number);
    std::copy(vectors.begin(), vectors.end(), floating.begin() + 160);
    sets[1].setNoteType(2);
    sets[1].setData(blob(floating));
    std::vector<kj::byte> xsave(2696);
    std::copy(floating.begin(), floating.end(), xsave.begin());
    xsave[512] = 0xe7 & ~0x80; // x87, SSE, AVX, opmask, ZMM_Hi256; Hi16_ZMM in its initial state
    std::fill(xsave.begin() + 576, xsave.begin() + 832, 0x11);   // upper halves of ymm
    std::fill(xsave.begin() + 1088, xsave.begin() + 1152, 0x22); // k0 to k7
    std::fill(xsave.begin() + 1152, xsave.begin() + 1664, 0x33); // upper halves of zmm
    std::fill(xsave.begin() + 1664, xsave.begin() + 2688, 0x44); // not in use
    sets[2].setNoteType(0x202);
    sets[2].setData(blob(xsave));
    sets[3].setNoteType(0x999);
    sets[3].setData(blob(counting(40, number)));
  }

  void set_tasks() {
    auto tasks = state_.initTasks(3);
    constexpr std::int32_t kTids[] = {100, 101, 200};
    const char* const names[] = {"main", "work\x1b[31m", "child"};
    for (unsigned i = 0; i < 3; ++i) {
      tasks[i].setTid(kTids[i]);
      tasks[i].setProcess(i / 2);
      tasks[i].setAddressSpace(i / 2);
      tasks[i].setFileTable(i / 2);
      tasks[i].setFileSystemContext(0);
      tasks[i].setSignalHandlers(i / 2);
      tasks[i].setName(blob(names[i]));
      set_registers(tasks[i], i + 1);
    }
    tasks[1].setSignalMask(0x4002); // SIGINT, SIGTERM
    auto pending = tasks[1].initPendingSignals(1)[0];
    pending.setSignal(34);
    pending.initKill().setPid(1);
    tasks[0].initAlternateStack().setAddress(kSampleHeap);
    auto rseq = tasks[0].initRseq();
    rseq.setAddress(kSampleHeap + 64);
    rseq.setLength(32);
    rseq.setSignature(0x53053053);
    tasks[0].setClearChildTid(kSampleHeap + 128);
    if (is_x86()) {
      for (unsigned i = 0; i < 3; ++i) {
        tasks[i].initReplay().setTicks(1000 * (i + 1));
      }
    }
    auto handlers = state_.initSignalHandlerTables(2);
    auto actions = handlers[0].initActions(2);
    actions[0].setSignal(2);
    actions[0].setHandler(kSampleCode + 0x200);
    actions[0].setFlags(0x4000000);
    actions[0].setMask(0x200);
    actions[1].setSignal(17);
    actions[1].setHandler(1);
  }

  void set_files() {
    auto files = state_.initOpenFiles(10);
    set_identity(files[0].initRegular());
    files[0].setFlags(0100002); // O_RDWR|O_LARGEFILE
    files[0].setOffset(1234);
    auto locks = files[0].initLocks(2);
    locks[0].setKind(schema::FileLock::Kind::POSIX);
    locks[0].setExclusive(true);
    locks[0].setStart(100);
    locks[0].setEnd(199);
    locks[1].setKind(schema::FileLock::Kind::FLOCK);
    locks[1].setEnd(INT64_MAX);
    files[1].initTerminal().setPath(blob("/dev/pts/3"));
    files[1].setFlags(2);
    auto pipe = files[2].initPipe();
    pipe.setId(5555);
    pipe.setCapacity(65536);
    pipe.setContents(blob("unread"));
    auto event = files[3].initEventfd();
    event.setCount(7);
    auto watches = files[4].initEpoll().initWatches(1);
    watches[0].setFd(3);
    watches[0].setEvents(1);
    watches[0].setData(42);
    files[5].initMemfd().setObject(2);
    files[6].initSocket().setDescription("socket:[99]");
    auto device = files[7].initDevice();
    device.setPath(blob("/dev/null"));
    device.setNumber(0x103);
    files[8].initOther().setDescription("anon_inode:inotify");
    files[9].initDirectory().setPath(blob(std::string("/tmp/\xff\xfe", 7)));
    auto tables = state_.initFileTables(2);
    auto descriptors = tables[0].initDescriptors(11);
    for (unsigned i = 0; i < 10; ++i) {
      descriptors[i].setFd(static_cast<std::int32_t>(i));
      descriptors[i].setOpenFile(i);
    }
    descriptors[10].setFd(20);
    descriptors[10].setOpenFile(0);
    descriptors[10].setCloseOnExec(true);
    auto monitors = tables[1].initRr().initMonitors(2);
    monitors[0].setFd(1);
    monitors[0].setKind(schema::rr::FileMonitor::Kind::STDIO);
    monitors[0].initStdio().setOriginalFd(1);
    monitors[1].setFd(5);
    monitors[1].setKind(schema::rr::FileMonitor::Kind::MMAPPED);
    monitors[1].initMmapped().setInode(4711);
    auto context = state_.initFileSystemContexts(1)[0];
    context.setWorkingDirectory(blob("/home/user"));
    context.setRootDirectory(blob("/"));
    context.setUmask(022);
  }

  void set_rest() {
    if (is_x86()) {
      auto cpu = state_.initCpu();
      cpu.setXsaveFeatures(0xe7);
      constexpr struct {
        std::uint8_t number;
        std::uint32_t offset;
        std::uint32_t size;
      } kLayout[] = {{2, 576, 256}, {5, 1088, 64}, {6, 1152, 512}, {7, 1664, 1024}, {9, 2688, 8}};
      auto layout = cpu.initXsaveLayout(static_cast<unsigned>(std::size(kLayout)));
      for (unsigned i = 0; i < layout.size(); ++i) {
        layout[i].setNumber(kLayout[i].number);
        layout[i].setOffset(kLayout[i].offset);
        layout[i].setSize(kLayout[i].size);
      }
      auto session = state_.initSession();
      session.initStatistics().setTicksProcessed(999999);
      session.setNextTaskSerial(5);
      session.setWhere(blob("main at x.c:3"));
    }
    auto extension = state_.initExtensions(1)[0];
    extension.setId("org.example.extra");
    extension.setVersion(2);
    extension.setPayload(blob(counting(10, 0)));
  }

  const SampleOptions& options_;
  std::string program_;
  std::string path_;
  capnp::MallocMessageBuilder message_;
  schema::State::Builder state_;
};

} // namespace

std::vector<std::byte> sample_heap() {
  std::vector<std::byte> heap = sample_pages(8, 3);
  std::fill(heap.begin() + 3 * kPage, heap.begin() + 4 * kPage, std::byte{0});
  return heap;
}

std::string write_rich_sample(const std::string& directory, const std::string& name,
                              const SampleOptions& options) {
  return Sample(directory, name, options).write();
}

} // namespace rrpcp::test
