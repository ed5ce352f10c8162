// From a core file to a checkpoint for looking at.

#include "base/bytes.h"
#include "base/clock.h"
#include "base/open_file.h"
#include "core/core_memory.h"
#include "core/core_reader.h"
#include "core/xsave_layouts.h"
#include "model/register_sets.h"
#include "model/signal_info.h"
#include "rrpcp/error.h"
#include "rrpcp/interop/core_file.h"

#include <algorithm>
#include <array>
#include <capnp/message.h>
#include <chrono>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>
#include <sys/utsname.h>

namespace rrpcp {

namespace {

capnp::Data::Reader data_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()};
}

capnp::Data::Reader data_of(const std::string& text) {
  return data_of(std::as_bytes(std::span(text)));
}

class Importer {
public:
  Importer(const ByteSource& source, int fd, Output& output, const CoreImportOptions& options)
      : source_(source), fd_(fd), output_(output), options_(options), core_(read_core(source)) {}

  CoreImportResult run() {
    settle_threads();
    state_ = message_.initRoot<schema::Manifest>().initState();
    state_.setMachine(core_.layout->machine);
    state_.setElfClass(core_.layout->elf_class);
    state_.setDataEncoding(ELFDATA2LSB);
    state_.setProducer("org.rrpcp.core");
    state_.setInspectOnly(true);
    schema::PageStream::Builder stream = state_.initPageStream();
    stream.setPageSize(static_cast<std::uint32_t>(core_.page_size));
    stream.setChunkPages(
        static_cast<std::uint32_t>(std::max<std::uint64_t>((256 << 10) / core_.page_size, 1)));

    CheckpointWriter writer(output_, header_fields(state_.asReader()), options_.writer);
    ImportedMemory memory = import_memory(source_, fd_, core_, options_, writer);
    set_process();
    set_tasks();
    set_memory(memory);
    CoreImportResult result;
    result.pid = pid_;
    result.threads = core_.threads.size();
    result.mappings = memory.mappings.size();
    result.pages = memory.stored_pages;
    result.unknown_pages = memory.unknown_pages;
    result.remarks = std::move(core_.remarks);
    result.id = writer.finish(state_, provenance());
    return result;
  }

private:
  // One pid, and each tid once and above 0: cores of hostile or odd origin have neither.
  void settle_threads() {
    current_ = core_.threads.front().tid;
    pid_ = core_.pid > 0 ? core_.pid : current_;
    std::set<std::int32_t> seen;
    const std::size_t before = core_.threads.size();
    std::erase_if(core_.threads, [&](const CoreThread& thread) {
      return thread.tid <= 0 || !seen.insert(thread.tid).second;
    });
    if (core_.threads.empty()) {
      throw Error(ErrorCode::kDamaged, "no thread of the core has an id").in_file(source_.name());
    }
    if (core_.threads.size() != before) {
      core_.remarks.push_back(
          "threads without an id, or with one that occurs twice, were left out");
    }
    if (!seen.contains(current_)) {
      current_ = core_.threads.front().tid;
    }
    if (pid_ <= 0) {
      pid_ = current_;
    }
    std::sort(core_.threads.begin(), core_.threads.end(),
              [&](const CoreThread& a, const CoreThread& b) {
                return std::pair(a.tid != pid_, a.tid) < std::pair(b.tid != pid_, b.tid);
              });
  }

  void set_process() {
    schema::Process::Builder process = state_.initProcesses(1)[0];
    const CoreThread& first = core_.threads.front();
    const bool known = core_.pid > 0;
    process.setPid(pid_);
    process.setParentPid(std::max(known ? core_.parent : first.parent, 0));
    process.setProcessGroup(std::max(known ? core_.group : first.group, 0));
    process.setSessionId(std::max(known ? core_.session : first.session, 0));
    if (!core_.arguments.empty()) {
      process.initCommandLine(1).set(0, data_of(core_.arguments));
    }
    if (known) {
      schema::Credentials::Builder credentials = process.initCredentials();
      credentials.setRealUid(core_.uid);
      credentials.setRealGid(core_.gid);
    }
  }

  void set_tasks() {
    auto tasks = state_.initTasks(static_cast<unsigned>(core_.threads.size()));
    for (unsigned i = 0; i < tasks.size(); ++i) {
      set_task(tasks[i], core_.threads[i]);
    }
    set_cpu();
  }

  void set_task(schema::Task::Builder task, const CoreThread& thread) {
    task.setTid(thread.tid);
    const std::string& name = thread.name.empty() && thread.tid == pid_ ? core_.name : thread.name;
    task.setName(data_of(name));
    task.setSignalMask(core_.layout->word == 8
                           ? thread.held
                           : thread.held & 0xffffffff); // a 32-bit core has the first 32 only
    if (thread.pending != 0) {
      core_pending(task, thread.pending);
    }
    std::vector<CoreNote> sets = thread.more;
    sets.push_back({NT_PRSTATUS, thread.registers});
    std::erase_if(sets, [&](const CoreNote& set) { return !can_keep(set); });
    std::sort(sets.begin(), sets.end(),
              [](const CoreNote& a, const CoreNote& b) { return a.type < b.type; });
    auto out = task.initRegisters(static_cast<unsigned>(sets.size()));
    for (unsigned i = 0; i < sets.size(); ++i) {
      out[i].setNoteType(sets[i].type);
      out[i].setData(data_of(sets[i].data));
    }
    if (thread.tid == current_ && (thread.signal != 0 || !thread.siginfo.empty())) {
      set_signal(thread);
    }
  }

  // A core has the numbers alone.
  static void core_pending(schema::Task::Builder task, std::uint64_t bits) {
    auto signals = task.initPendingSignals(static_cast<unsigned>(std::popcount(bits)));
    unsigned i = 0;
    for (int number = 1; number <= 64; ++number) {
      if ((bits >> (number - 1) & 1) != 0) {
        signals[i++].setSignal(number);
      }
    }
  }

  void set_signal(const CoreThread& thread) {
    schema::Session::Builder session = state_.initSession();
    schema::TaskId::Builder task = session.initLastContinuedTask();
    task.setPid(pid_);
    task.setTid(thread.tid);
    if (thread.signal < 1 || thread.signal > 64) {
      return;
    }
    schema::SignalInfo::Builder info = session.initLastSignal();
    info.setSignal(thread.signal);
    if (thread.siginfo.size() == kSiginfoSize &&
        load_le<std::int32_t>(thread.siginfo, 0) == thread.signal && core_.layout->word == 8) {
      decode_siginfo(std::span<const std::byte, kSiginfoSize>(thread.siginfo.data(), kSiginfoSize),
                     info);
    }
  }

  // Register sets that follow the rules of the model; others are left out and told.
  bool can_keep(const CoreNote& set) {
    bool fits = judge_register_set(core_.layout->machine, set.type, set.data.size()) !=
                RegisterSetSize::kImpossible;
    if (fits && set.type == NT_X86_XSTATE) {
      fits = take_xsave(set.data);
    }
    if (!fits && told_.insert(set.type).second) {
      core_.remarks.push_back("register sets of type " + std::to_string(set.type) +
                              " are not as this program knows them, and were left out");
    }
    return fits;
  }

  bool take_xsave(std::span<const std::byte> area) {
    if (area.size() < 576) {
      return false;
    }
    const auto in_use = load_le<std::uint64_t>(area, 512);
    const auto compacted = load_le<std::uint64_t>(area, 520);
    const auto features = load_le<std::uint64_t>(area, 464) | 3 | in_use;
    std::vector<XsaveRow> layout = core_.xsave_layout;
    if (layout.empty()) {
      const auto known = known_xsave_layout(features, area.size());
      if (!known) {
        return false;
      }
      layout = *known;
    }
    if (compacted != 0 || (in_use >> 63 & 1) != 0) {
      return false;
    }
    std::sort(layout.begin(), layout.end(),
              [](const XsaveRow& a, const XsaveRow& b) { return a.number < b.number; });
    std::erase_if(layout, [](const XsaveRow& row) { return row.number < 2; });
    for (std::size_t i = 0; i < layout.size(); ++i) {
      const XsaveRow& row = layout[i];
      if (row.number > 62 || row.offset < 576 || row.size == 0 || row.size > (1 << 20) ||
          row.offset > (1 << 20) || (i != 0 && layout[i - 1].number == row.number)) {
        return false;
      }
    }
    for (unsigned number = 2; number < 63; ++number) {
      if ((in_use >> number & 1) == 0) {
        continue;
      }
      const auto row = std::find_if(layout.begin(), layout.end(),
                                    [&](const XsaveRow& r) { return r.number == number; });
      if (row == layout.end() || std::uint64_t{row->offset} + row->size > area.size()) {
        return false;
      }
    }
    if (xsave_layout_.empty()) {
      xsave_layout_ = layout;
    }
    xsave_features_ |= in_use;
    return true;
  }

  void set_cpu() {
    schema::Cpu::Builder cpu = state_.initCpu();
    for (const auto& [type, value] : core_.auxv) {
      if (type == AT_HWCAP) {
        cpu.setHwcap(value);
      } else if (type == AT_HWCAP2) {
        cpu.setHwcap2(value);
      }
    }
    cpu.setXsaveFeatures(xsave_features_);
    auto layout = cpu.initXsaveLayout(static_cast<unsigned>(xsave_layout_.size()));
    for (unsigned i = 0; i < layout.size(); ++i) {
      layout[i].setNumber(static_cast<std::uint8_t>(xsave_layout_[i].number));
      layout[i].setOffset(xsave_layout_[i].offset);
      layout[i].setSize(xsave_layout_[i].size);
    }
  }

  void set_memory(const ImportedMemory& memory) {
    schema::AddressSpace::Builder space = state_.initAddressSpaces(1)[0];
    std::uint64_t entry = 0;
    std::uint64_t vdso = 0;
    auto auxv = space.initAuxv(static_cast<unsigned>(core_.auxv.size()));
    for (unsigned i = 0; i < auxv.size(); ++i) {
      auxv[i].setType(core_.auxv[i].first);
      auxv[i].setValue(core_.auxv[i].second);
      entry = core_.auxv[i].first == AT_PHDR ? core_.auxv[i].second : entry;
      vdso = core_.auxv[i].first == AT_SYSINFO_EHDR ? core_.auxv[i].second : vdso;
    }
    // Objects stand in the order in which mappings meet them.
    std::vector<int> place(memory.files.size(), -1);
    std::vector<std::size_t> order;
    auto mappings = space.initMappings(static_cast<unsigned>(memory.mappings.size()));
    for (unsigned i = 0; i < mappings.size(); ++i) {
      const ImportedMapping& from = memory.mappings[i];
      schema::Mapping::Builder mapping = mappings[i];
      mapping.setStart(from.start);
      mapping.setEnd(from.end);
      mapping.setProtection(from.protection);
      mapping.setFlags(2 | (from.file < 0 ? 0x20 : 0)); // MAP_PRIVATE, MAP_ANONYMOUS
      if (vdso != 0 && from.start == vdso && from.file < 0) {
        mapping.setRole(schema::MappingRole::VDSO);
        mapping.setName(data_of(std::string("[vdso]")));
      }
      if (from.file >= 0) {
        int& index = place[static_cast<std::size_t>(from.file)];
        if (index < 0) {
          index = static_cast<int>(order.size());
          order.push_back(static_cast<std::size_t>(from.file));
        }
        mapping.setObject(static_cast<std::uint32_t>(index));
        mapping.setObjectOffset(from.offset);
        mapping.setName(data_of(memory.files[static_cast<std::size_t>(from.file)].path));
        if (from.start <= entry && entry < from.end) {
          space.setExecutable(static_cast<std::uint32_t>(index));
          space.setExecutablePath(data_of(memory.files[static_cast<std::size_t>(from.file)].path));
        }
      }
      const schema::RunKind plain =
          from.file < 0 ? schema::RunKind::ZERO : schema::RunKind::BACKING;
      if (from.runs.size() != 1 || from.runs[0].kind != plain) {
        set_runs(mapping.initRuns(static_cast<unsigned>(from.runs.size())), from.runs);
      }
    }
    auto objects = state_.initMemoryObjects(static_cast<unsigned>(order.size()));
    for (unsigned i = 0; i < objects.size(); ++i) {
      set_object(objects[i], memory.files[order[i]]);
    }
  }

  static void set_object(schema::MemoryObject::Builder object, const ImportedFile& from) {
    object.setLength(from.size);
    schema::FileIdentity::Builder file = object.initFile();
    file.setPath(data_of(from.path));
    file.setSize(from.size);
    file.setModifiedAt(from.modified);
    file.setMode(from.mode);
    file.setBuildId(data_of(from.build_id));
    auto digests = file.initDigests(static_cast<unsigned>(from.digests.size()));
    for (unsigned i = 0; i < digests.size(); ++i) {
      digests[i].setOffset(from.digests[i].offset);
      digests[i].setLength(from.digests[i].length);
      digests[i].setHigh(from.digests[i].high);
      digests[i].setLow(from.digests[i].low);
    }
  }

  schema::Provenance::Reader provenance() {
    schema::Provenance::Builder out = message_.getRoot<schema::Manifest>().initProvenance();
    out.setCreator("rrpcp " RRPCP_VERSION);
    out.setConvertedFrom("elf-core");
    if (!options_.reproducible) {
      out.setCreatedAt(wall_clock());
      utsname machine{};
      if (::uname(&machine) == 0) {
        out.setHostName(machine.nodename);
        out.setKernelRelease(machine.release);
      }
    }
    return out.asReader();
  }

  const ByteSource& source_;
  int fd_;
  Output& output_;
  const CoreImportOptions& options_;
  CoreContents core_;
  std::int32_t pid_ = 0;
  std::int32_t current_ = 0;
  std::set<std::uint32_t> told_;
  std::vector<XsaveRow> xsave_layout_;
  std::uint64_t xsave_features_ = 0;
  capnp::MallocMessageBuilder message_;
  schema::State::Builder state_{nullptr};
};

} // namespace

CoreImportResult import_core(const std::string& path, Output& output,
                             const CoreImportOptions& options) {
  const ByteSource source = ByteSource::open(path);
  const ScopedFd file = open_file(path.c_str(), O_RDONLY);
  return Importer(source, file.get(), output, options).run();
}

CoreImportResult import_core(std::span<const std::byte> bytes, const std::string& name,
                             Output& output, const CoreImportOptions& options) {
  const ByteSource source(bytes, name);
  return Importer(source, -1, output, options).run();
}

bool is_core_file(const std::string& path) {
  const ScopedFd file = open_file(path.c_str(), O_RDONLY);
  std::array<unsigned char, EI_NIDENT + 2> head{};
  struct stat status;
  return file && ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::pread(file.get(), head.data(), head.size(), 0) == static_cast<ssize_t>(head.size()) &&
         std::memcmp(head.data(), ELFMAG, SELFMAG) == 0 && head[EI_NIDENT] == ET_CORE &&
         head[EI_NIDENT + 1] == 0;
}

} // namespace rrpcp
