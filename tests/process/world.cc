#include "process/world.h"

#include "base/hash.h"
#include "base/scoped_fd.h"
#include "process/page_scan.h"
#include "process/remote_calls.h"
#include "process/tracee.h"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPage = 4096;
constexpr unsigned kRegisterSets[] = {1, 2, 0x200, 0x202};

std::string hex_text(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, value);
  return text;
}

std::string hex_bytes(const std::string& bytes) {
  std::string text;
  for (unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    text += digits;
  }
  return text;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string link_of(const std::string& path) {
  std::error_code error;
  std::string target = fs::read_symlink(path, error).string();
  return error ? "?" : target;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> tids;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    tids.push_back(std::stoi(entry.path().filename().string()));
  }
  std::sort(tids.begin(), tids.end());
  return tids;
}

// Memory of another process, also where it may not be read by the process itself.
class Memory {
public:
  explicit Memory(pid_t pid)
      : file_(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC)) {}

  std::optional<std::string> read(std::uint64_t address, std::size_t size) const {
    std::string bytes(size, '\0');
    ssize_t n = ::pread(file_.get(), bytes.data(), size, static_cast<off_t>(address));
    return n == static_cast<ssize_t>(size) ? std::optional(bytes) : std::nullopt;
  }
  void write(std::uint64_t address, const std::string& bytes) const {
    if (::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(address)) !=
        static_cast<ssize_t>(bytes.size())) {
      throw std::runtime_error("cannot write memory at " + hex_text(address));
    }
  }

private:
  ScopedFd file_;
};

// How a mapping came about, not what it is: accounting (a read-only mapping that once was writable
// has ac), and whether it was written to since someone asked (sd).
std::string lasting_flags(const std::string& flags) {
  std::istringstream in(flags);
  std::string flag;
  std::string kept;
  while (in >> flag) {
    if (flag != "ac" && flag != "sd") {
      kept += flag + " ";
    }
  }
  return kept;
}

std::vector<WorldMapping> read_smaps(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
  std::vector<WorldMapping> mappings;
  std::string line;
  while (std::getline(file, line)) {
    WorldMapping mapping;
    char permissions[8];
    unsigned high = 0;
    unsigned low = 0;
    int name = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 " %n",
                    &mapping.start, &mapping.end, permissions, &mapping.offset, &high, &low,
                    &mapping.inode, &name) == 7) {
      mapping.permissions = permissions;
      mapping.device = makedev(high, low);
      mapping.name = line.substr(static_cast<std::size_t>(name));
      mappings.push_back(mapping);
    } else if (line.starts_with("VmFlags:") && !mappings.empty()) {
      mappings.back().flags = lasting_flags(line.substr(8));
    }
  }
  return mappings;
}

// Neighbours that differ in nothing but history are one: the kernel joins them or not by chance.
void join_neighbours(std::vector<WorldMapping>& mappings) {
  std::vector<WorldMapping> joined;
  for (const WorldMapping& mapping : mappings) {
    if (!joined.empty() && joined.back().end == mapping.start && joined.back().same_kind(mapping) &&
        (mapping.inode == 0 ||
         joined.back().offset + (joined.back().end - joined.back().start) == mapping.offset)) {
      joined.back().end = mapping.end;
    } else {
      joined.push_back(mapping);
    }
  }
  mappings = joined;
}

// The pages of a mapping that may have contents: in anonymous memory those that were touched.
std::vector<std::uint64_t> pages_to_read(pid_t pid, int pagemap, const WorldMapping& mapping) {
  // A sanitizer sets terabytes of addresses aside for its notes and its heap, whose page map would
  // be gigabytes.
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 32;
  std::vector<std::uint64_t> addresses;
  const std::uint64_t length = mapping.end - mapping.start;
  if (mapping.inode == 0 && length > kLargest) {
    process::PageScanner(pid).scan(
        mapping.start, mapping.end, [&](const process::TouchedRange& range) {
          for (std::uint64_t address = range.start; address < range.end; address += kPage) {
            addresses.push_back(address);
          }
        });
    return addresses;
  }
  const std::size_t pages = length / kPage;
  std::vector<std::uint64_t> entries(pages);
  if (mapping.inode == 0 &&
      ::pread(pagemap, entries.data(), pages * 8, static_cast<off_t>(mapping.start / kPage * 8)) !=
          static_cast<ssize_t>(pages * 8)) {
    throw std::runtime_error("cannot read the page map");
  }
  for (std::size_t i = 0; i < pages; ++i) {
    constexpr std::uint64_t kPresentOrSwapped = std::uint64_t{3} << 62;
    if (mapping.inode != 0 || (entries[i] & kPresentOrSwapped) != 0) { // else zeros
      addresses.push_back(mapping.start + i * kPage);
    }
  }
  return addresses;
}

void read_pages(World& world, pid_t pid, const std::vector<WorldMapping>& mappings) {
  const Memory memory(pid);
  ScopedFd pagemap(
      ::open(("/proc/" + std::to_string(pid) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  const std::string zero(kPage, '\0');
  for (const WorldMapping& mapping : mappings) {
    if (mapping.name.starts_with("[v")) { // [vvar], [vsyscall]: the kernel's own; [vdso] too
      continue;
    }
    for (const std::uint64_t address : pages_to_read(pid, pagemap.get(), mapping)) {
      std::optional<std::string> page = memory.read(address, kPage);
      if (page && *page != zero) {
        world.pages[address] = xxh3_64(std::as_bytes(std::span(*page)));
      } else if (!page) {
        world.pages[address] = 1; // beyond the end of a file
      }
    }
  }
}

// Names of things that get new numbers when they are made anew become "pipe:[#1]".
class Renumbering {
public:
  std::string operator()(const std::string& target) {
    const std::size_t bracket = target.find(":[");
    if (bracket == std::string::npos) {
      return target;
    }
    auto [entry, fresh] = numbers_.try_emplace(target, numbers_.size() + 1);
    return target.substr(0, bracket) + ":[#" + std::to_string(entry->second) + "]";
  }

private:
  std::map<std::string, std::size_t> numbers_;
};

void read_descriptors(World& world, pid_t pid) {
  const std::string base = "/proc/" + std::to_string(pid);
  Renumbering renumber;
  std::map<int, std::string> targets;
  for (const auto& entry : fs::directory_iterator(base + "/fd")) {
    targets[std::stoi(entry.path().filename().string())] = link_of(entry.path().string());
  }
  for (const auto& [fd, target] : targets) {
    std::string text = renumber(target);
    std::set<std::string> watches; // the kernel orders them by addresses of its own
    std::istringstream info(read_text(base + "/fdinfo/" + std::to_string(fd)));
    std::string line;
    while (std::getline(info, line)) {
      const bool is_regular = target.starts_with("/") && !target.starts_with("/memfd:");
      if (line.starts_with("pos:") || line.starts_with("flags:") || line.starts_with("eventfd-")) {
        // eventfd-id is a serial number of the system.
        text += line.starts_with("eventfd-id") ? "" : " " + line;
      } else if (line.starts_with("lock:") || (line.starts_with("ino:") && is_regular)) {
        text += " " + line;
      } else if (line.starts_with("tfd:")) { // "tfd: 5 events: 19 data: 5  pos:0 ino:… sdev:…"
        watches.insert(line.substr(0, line.find("pos:")));
      }
    }
    for (const std::string& watch : watches) {
      text += " " + watch;
    }
    world.facts["descriptor " + std::to_string(fd)] = text;
  }
}

std::string stat_fields(pid_t pid) {
  // After the name in parentheses: field 3 is the first.
  std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream in(stat.substr(stat.rfind(')') + 2));
  std::vector<std::string> fields{"", "", ""};
  std::string field;
  while (in >> field) {
    fields.push_back(field);
  }
  std::string text;
  for (std::size_t i : {26u, 27u, 28u, 45u, 46u, 47u, 48u, 49u, 50u, 51u}) {
    text += fields.at(i) + " ";
  }
  return text;
}

void read_status(std::map<std::string, std::string>& facts, const std::string& path,
                 const std::vector<std::string>& wanted) {
  std::istringstream in(read_text(path));
  std::string line;
  while (std::getline(in, line)) {
    const std::string key = line.substr(0, line.find(':'));
    if (std::find(wanted.begin(), wanted.end(), key) != wanted.end()) {
      facts[key] = line.substr(key.size() + 1);
    }
  }
}

// Memory that changes by itself while a process stands still.
struct Volatile {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
};

// Adds the bytes that the kernel maintains for itself (linux/rseq.h): cpu_id_start, cpu_id,
// node_id, mm_cid. They change whenever the thread moves to another processor.
void add_rseq(std::vector<Volatile>& ranges, std::uint64_t address) {
  ranges.push_back({address, 8});
  ranges.push_back({address + 20, 8});
}

// Hashes the pages with such memory again, without it.
void mask(World& world, const Memory& memory, const std::vector<Volatile>& ranges) {
  std::map<std::uint64_t, std::string> pages;
  for (const Volatile& range : ranges) {
    for (std::uint64_t at = range.address; at < range.address + range.length; ++at) {
      auto [page, fresh] = pages.try_emplace(at / kPage * kPage);
      if (fresh) {
        page->second = memory.read(page->first, kPage).value();
      }
      page->second[at % kPage] = '\0';
    }
  }
  for (const auto& [address, bytes] : pages) {
    world.pages[address] = xxh3_64(std::as_bytes(std::span(bytes)));
  }
}

std::string signal_text(const process::SignalInfoBytes& info) {
  return hex_bytes(std::string(reinterpret_cast<const char*>(&info), sizeof info));
}

// Whether the thread was interrupted in sigsuspend(2), ppoll(2) or the like, which are restarted
// (ERESTARTNOHAND).
bool waits_with_own_mask(const user_regs_struct& registers) {
  constexpr std::int64_t kRestartNoHandler = -514;
  return static_cast<std::int64_t>(registers.rax) == kRestartNoHandler &&
         (registers.orig_rax == SYS_rt_sigsuspend || registers.orig_rax == SYS_ppoll);
}

// Clears the bits of XSTATE_BV of components that hold their initial state, zeros. Whether a
// processor counts such a component as in use depends on what it was interrupted by (Intel SDM
// volume 1, section 13.6: XINUSE may be 1 though the state is the initial one).
void normalize_xstate(std::string& area) {
  constexpr std::size_t kInUse = 512; // XSTATE_BV
  struct Component {
    int bit;
    std::size_t offset;
    std::size_t length;
  };
  constexpr Component kComponents[] = {{1, 160, 256}, {2, 576, 256}}; // XMM, upper halves of YMM
  for (const Component& component : kComponents) {
    if (area.size() >= component.offset + component.length &&
        area.find_first_not_of('\0', component.offset) >= component.offset + component.length) {
      area[kInUse] = static_cast<char>(area[kInUse] & ~(1 << component.bit));
    }
  }
}

void read_thread(World& world, pid_t pid, pid_t tid, std::vector<Volatile>& volatile_memory) {
  WorldThread& thread = world.threads[tid];
  process::Tracee tracee = process::Tracee::adopt(tid, true);
  for (unsigned type : kRegisterSets) {
    if (auto bytes = tracee.register_set(type)) {
      thread.registers[type] =
          std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    }
  }
  if (auto extended = thread.registers.find(0x202); extended != thread.registers.end()) {
    normalize_xstate(extended->second);
  }
  thread.facts["signal mask"] = hex_text(tracee.signal_mask());
  int i = 0;
  for (const process::SignalInfoBytes& info :
       tracee.queued_signals(process::SignalQueue::kThread)) {
    thread.facts["pending signal " + std::to_string(i++)] = signal_text(info);
  }
  if (tid == pid) {
    i = 0;
    for (const process::SignalInfoBytes& info :
         tracee.queued_signals(process::SignalQueue::kProcess)) {
      world.facts["pending signal " + std::to_string(i++)] = signal_text(info);
    }
  }
  if (auto rseq = tracee.rseq()) {
    thread.facts["rseq"] = hex_text(rseq->address) + " " + std::to_string(rseq->length) + " " +
                           hex_text(rseq->signature) + " " + std::to_string(rseq->flags);
    add_rseq(volatile_memory, rseq->address);
  }
  void* head = nullptr;
  std::size_t length = 0;
  if (::syscall(SYS_get_robust_list, tid, &head, &length) == 0) {
    thread.facts["robust list"] =
        hex_text(reinterpret_cast<std::uint64_t>(head)) + " " + std::to_string(length);
  }
  read_status(thread.facts,
              "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/status",
              {"Name",   "Umask",  "Tgid",   "Ngid",       "Uid",     "Gid",    "Groups",
               "SigPnd", "ShdPnd", "SigBlk", "SigIgn",     "SigCgt",  "CapInh", "CapPrm",
               "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "NSpid",  "Threads"});
  // A call with a signal mask of its own sets that mask anew when it is restarted, and SigBlk shows
  // it only from then on; what it will put back in the end is the signal mask above.
  const user_regs_struct registers = tracee.registers();
  if (waits_with_own_mask(registers)) {
    thread.facts["SigBlk"] = "the call's own";
    if (registers.orig_rax == SYS_ppoll && registers.rdx != 0) {
      // The kernel notes there what remains of the time-out, whenever the thread is stopped.
      volatile_memory.push_back({registers.rdx, sizeof(timespec)});
    }
  }
  tracee.release();
}

// Asks a thread by making system calls in it. Memory for the answers is borrowed from the stack of
// the process, far below what is in use, and put back.
class Inside {
public:
  Inside(process::Tracee& tracee, const Memory& memory, const std::vector<WorldMapping>& mappings,
         std::optional<std::uint64_t> instruction)
      : memory_(memory), calls_(tracee, instruction) {
    for (const WorldMapping& mapping : mappings) {
      if (mapping.permissions.starts_with("rw") && mapping.permissions[3] == 'p' &&
          mapping.end - mapping.start >= kPage) {
        buffer_ = mapping.start;
      }
    }
    saved_ = memory_.read(buffer_, kPage).value();
  }
  ~Inside() { memory_.write(buffer_, saved_); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  // The answer that the call writes to the address that `call` gets.
  template <typename Call> std::string answer(std::size_t size, Call call) {
    memory_.write(buffer_, std::string(size, '\0'));
    const std::int64_t result = call(calls_, buffer_);
    return result < 0 ? "error " + std::to_string(-result)
                      : hex_bytes(memory_.read(buffer_, size).value());
  }
  process::RemoteCalls& calls() { return calls_; }

private:
  const Memory& memory_;
  process::RemoteCalls calls_;
  std::uint64_t buffer_ = 0;
  std::string saved_;
};

void ask_inside(World& world, pid_t pid, const Memory& memory,
                const std::vector<WorldMapping>& mappings) {
  std::optional<std::uint64_t> instruction =
      process::find_syscall_instruction(pid, process::read_mappings(pid));
  for (auto& [tid, thread] : world.threads) {
    process::Tracee tracee = process::Tracee::adopt(tid, true);
    tracee.set_options(PTRACE_O_TRACESYSGOOD);
    {
      Inside inside(tracee, memory, mappings, instruction);
      thread.facts["alternate stack"] =
          inside.answer(24, [](process::RemoteCalls& calls, std::uint64_t buffer) {
            return calls.call(SYS_sigaltstack, 0, buffer);
          });
      thread.facts["clear_child_tid"] =
          inside.answer(8, [](process::RemoteCalls& calls, std::uint64_t buffer) {
            return calls.call(SYS_prctl, 40 /* PR_GET_TID_ADDRESS */, buffer, 0, 0, 0);
          });
      thread.facts["parent-death signal"] =
          inside.answer(4, [](process::RemoteCalls& calls, std::uint64_t buffer) {
            return calls.call(SYS_prctl, 2 /* PR_GET_PDEATHSIG */, buffer, 0, 0, 0);
          });
      if (tid == pid) {
        for (std::uint64_t signal = 1; signal <= 64; ++signal) {
          world.facts["action " + std::to_string(signal)] =
              inside.answer(32, [&](process::RemoteCalls& calls, std::uint64_t buffer) {
                return calls.call(SYS_rt_sigaction, signal, 0, buffer, 8);
              });
        }
        for (std::uint64_t which = 0; which < 3; ++which) {
          // Only the interval: the rest goes on running.
          world.facts["interval timer " + std::to_string(which)] =
              inside.answer(16, [&](process::RemoteCalls& calls, std::uint64_t buffer) {
                return calls.call(SYS_getitimer, which, buffer);
              });
        }
        world.facts["dumpable"] = std::to_string(inside.calls().call(SYS_prctl, 3, 0, 0, 0, 0));
        world.facts["subreaper"] =
            inside.answer(4, [](process::RemoteCalls& calls, std::uint64_t buffer) {
              return calls.call(SYS_prctl, 37, buffer, 0, 0, 0);
            });
        world.facts["brk"] = hex_text(static_cast<std::uint64_t>(inside.calls().call(SYS_brk, 0)));
        world.facts["process group"] = std::to_string(inside.calls().call(SYS_getpgid, 0));
      }
    }
    tracee.release();
  }
}

} // namespace

bool WorldMapping::same_kind(const WorldMapping& other) const {
  return permissions == other.permissions && name == other.name && flags == other.flags &&
         device == other.device && inode == other.inode;
}

World read_world(pid_t pid, const WorldOptions& options) {
  World world;
  const std::string base = "/proc/" + std::to_string(pid);
  std::vector<WorldMapping> mappings = read_smaps(pid);
  read_pages(world, pid, mappings);
  const Memory memory(pid);
  std::vector<Volatile> volatile_memory;
  for (pid_t tid : threads_of(pid)) {
    read_thread(world, pid, tid, volatile_memory);
  }
  mask(world, memory, volatile_memory);
  read_descriptors(world, pid);
  for (const char* name : {"auxv", "cmdline", "environ", "limits", "personality", "comm"}) {
    world.facts[name] = read_text(base + "/" + name);
  }
  for (const char* name : {"exe", "cwd", "root"}) {
    world.facts[name] = link_of(base + "/" + name);
  }
  world.facts["areas"] = stat_fields(pid);
  if (options.ask_inside) {
    ask_inside(world, pid, memory, mappings);
  }
  world.mappings = mappings;
  struct stat checkpoint {};
  if (!options.checkpoint.empty() && ::stat(options.checkpoint.c_str(), &checkpoint) != 0) {
    throw std::runtime_error("no checkpoint " + options.checkpoint);
  }
  std::uint64_t heap[2] = {};
  for (WorldMapping& mapping : world.mappings) {
    if (mapping.name == "[heap]") {
      heap[0] = heap[0] == 0 ? mapping.start : heap[0];
      heap[1] = mapping.end;
    }
  }
  for (WorldMapping& mapping : world.mappings) {
    if (checkpoint.st_ino != 0 && mapping.inode == checkpoint.st_ino &&
        mapping.device == checkpoint.st_dev) {
      mapping.name = mapping.start >= heap[0] && mapping.end <= heap[1] ? "[heap]" : "";
      mapping.offset = mapping.device = mapping.inode = 0;
    } else if (mapping.name.starts_with("/memfd:") || mapping.name.starts_with("/dev/zero") ||
               mapping.name.starts_with("/SYSV")) {
      mapping.device = 0; // made anew: another inode
      mapping.inode = 1;
    }
  }
  for (WorldMapping& mapping : world.mappings) {
    if (options.join_heap && mapping.name == "[heap]") {
      mapping.name.clear();
    }
  }
  join_neighbours(world.mappings);
  return world;
}

World look_at(pid_t pid, const WorldOptions& options) {
  std::vector<process::Tracee> tracees;
  for (pid_t tid : threads_of(pid)) {
    tracees.push_back(process::Tracee::seize(tid, PTRACE_O_TRACESYSGOOD));
    tracees.back().stop();
  }
  World world = read_world(pid, options);
  for (process::Tracee& tracee : tracees) {
    tracee.detach();
  }
  return world;
}

namespace {

constexpr const char* kGeneralRegisters[] = {
    "r15",    "r14", "r13", "r12",     "rbp",     "rbx", "r11",      "r10", "r9",
    "r8",     "rax", "rcx", "rdx",     "rsi",     "rdi", "orig_rax", "rip", "cs",
    "eflags", "rsp", "ss",  "fs_base", "gs_base", "ds",  "es",       "fs",  "gs"};

class Differences {
public:
  explicit Differences(std::size_t limit) : limit_(limit) {}

  void add(const std::string& field, const std::string& a, const std::string& b) {
    if (a != b && found_.size() < limit_) {
      found_.push_back(field + ": " + a + " vs " + b);
    }
  }

  void add_facts(const std::string& where, const std::map<std::string, std::string>& a,
                 const std::map<std::string, std::string>& b) {
    for (const auto& [key, value] : a) {
      auto other = b.find(key);
      add(where + key, printable(value), other == b.end() ? "(none)" : printable(other->second));
    }
    for (const auto& [key, value] : b) {
      if (a.count(key) == 0) {
        add(where + key, "(none)", printable(value));
      }
    }
  }

  void add_registers(const std::string& where, unsigned type, const std::string& a,
                     const std::string& b) {
    add(where + " register set " + hex_text(type) + " size", std::to_string(a.size()),
        std::to_string(b.size()));
    for (std::size_t at = 0; at + 8 <= std::min(a.size(), b.size()); at += 8) {
      std::uint64_t x;
      std::uint64_t y;
      std::memcpy(&x, a.data() + at, 8);
      std::memcpy(&y, b.data() + at, 8);
      const std::string name =
          type == 1 && at / 8 < std::size(kGeneralRegisters)
              ? kGeneralRegisters[at / 8]
              : "register set " + hex_text(type) + " byte " + std::to_string(at);
      add(where + name, hex_text(x), hex_text(y));
    }
  }

  std::vector<std::string> take() { return std::move(found_); }

private:
  static std::string printable(const std::string& text) {
    const bool binary = std::any_of(
        text.begin(), text.end(), [](unsigned char c) { return c < 32 && c != '\n' && c != '\t'; });
    return binary ? hex_bytes(text) : text;
  }

  std::size_t limit_;
  std::vector<std::string> found_;
};

std::string mapping_text(const WorldMapping& m) {
  return hex_text(m.start) + "-" + hex_text(m.end) + " " + m.permissions + " " +
         hex_text(m.offset) + " " + std::to_string(m.inode) + " " + m.name + " {" + m.flags + "}";
}

} // namespace

std::vector<std::string> differences(const World& a, const World& b, std::size_t limit) {
  Differences found(limit);
  std::map<std::uint64_t, std::pair<std::string, std::string>> mappings;
  for (const WorldMapping& mapping : a.mappings) {
    mappings[mapping.start].first = mapping_text(mapping);
  }
  for (const WorldMapping& mapping : b.mappings) {
    mappings[mapping.start].second = mapping_text(mapping);
  }
  for (const auto& [start, texts] : mappings) {
    found.add("mapping at " + hex_text(start), texts.first.empty() ? "(none)" : texts.first,
              texts.second.empty() ? "(none)" : texts.second);
  }
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> pages;
  for (const auto& [address, hash] : a.pages) {
    pages[address].first = hash;
  }
  for (const auto& [address, hash] : b.pages) {
    pages[address].second = hash;
  }
  for (const auto& [address, hashes] : pages) {
    found.add("page at " + hex_text(address), hex_text(hashes.first), hex_text(hashes.second));
  }
  found.add("number of threads", std::to_string(a.threads.size()),
            std::to_string(b.threads.size()));
  for (const auto& [tid, thread] : a.threads) {
    const std::string where = "thread " + std::to_string(tid) + ": ";
    auto other = b.threads.find(tid);
    if (other == b.threads.end()) {
      found.add(where, "there", "(none)");
      continue;
    }
    for (const auto& [type, bytes] : thread.registers) {
      auto same = other->second.registers.find(type);
      found.add_registers(where, type, bytes,
                          same == other->second.registers.end() ? "" : same->second);
    }
    found.add_facts(where, thread.facts, other->second.facts);
  }
  found.add_facts("", a.facts, b.facts);
  return found.take();
}

} // namespace rrpcp::test
