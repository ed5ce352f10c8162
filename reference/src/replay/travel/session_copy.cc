#include "replay/travel/session_copy.h"

#include "base/page.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/engine/behind_end.h"
#include "replay/engine/injected_calls.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <elf.h>
#include <fcntl.h>
#include <functional>
#include <sched.h>
#include <set>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::replay {

namespace {

struct Source {
  process::Tracee* tracee = nullptr;
  pid_t pid = 0; // of the real process
  std::uint64_t site = 0;
};

// Memory that a fork goes on sharing.
bool is_shared_memory(const process::ProcMapping& mapping) {
  const std::string_view name = mapping.name;
  return mapping.shared && (name.substr(0, 7) == "/memfd:" || name.substr(0, 9) == "/dev/zero" ||
                            name.substr(0, 5) == "/SYSV");
}

ScopedFd make_memory(std::uint64_t size) {
  ScopedFd fd(::memfd_create("pcp-rr", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    throw system_error(errno, "cannot make shared memory");
  }
  return fd;
}

void write_bytes(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  if (::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) !=
      static_cast<ssize_t>(bytes.size())) {
    throw system_error(errno, "cannot fill shared memory");
  }
}

ScopedFd copy_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine shared memory");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  ScopedFd made = make_memory(size);
  std::vector<std::byte> piece(256 << 10);
  for (off_t at = 0;;) {
    const off_t start = ::lseek(fd, at, SEEK_DATA);
    if (start < 0) { // only a hole is left
      write_behind_end(made.get(), size, read_behind_end(fd, size), size);
      return made;
    }
    at = ::lseek(fd, start, SEEK_HOLE);
    for (off_t place = start; place < at;) {
      const std::size_t wanted =
          std::min<std::size_t>(piece.size(), static_cast<std::size_t>(at - place));
      const ssize_t n = ::pread(fd, piece.data(), wanted, place);
      if (n <= 0) {
        throw system_error(errno, "cannot read shared memory");
      }
      write_bytes(made.get(), std::span(piece).first(static_cast<std::size_t>(n)),
                  static_cast<std::uint64_t>(place));
      place += n;
    }
  }
}

class Copying {
public:
  Copying(const SupervisorState& state, std::function<Source(pid_t)> source,
          const std::map<std::uint32_t, int>& objects)
      : state_(state), source_(std::move(source)) {
    for (const auto& [number, fd] : objects) {
      struct stat status {};
      if (::fstat(fd, &status) != 0) {
        throw system_error(errno, "cannot examine shared memory");
      }
      ScopedFd copy = copy_of(fd);
      shared_[status.st_ino] = copy.get();
      made_.objects[number] = std::move(copy);
    }
  }

  CopiedTasks run() {
    try {
      // Who shares somebody's memory comes after them.
      std::set<pid_t> done;
      for (bool progress = true; progress;) {
        progress = false;
        for (const ProcessState& process : state_.processes) {
          if (done.count(process.pid) == 0 &&
              (process.shares_memory_of == 0 || done.count(process.shares_memory_of) != 0 ||
               !state_.has_tasks(process.shares_memory_of))) {
            copy_process(process);
            done.insert(process.pid);
            progress = true;
          }
        }
      }
    } catch (...) {
      kill_tasks(made_.tasks);
      throw;
    }
    for (const auto& [inode, fd] : shared_) {
      struct stat status {};
      constexpr std::uint64_t kBlock = 512; // of st_blocks
      made_.shared_bytes +=
          ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kBlock : 0;
    }
    return std::move(made_);
  }

private:
  void copy_process(const ProcessState& process) {
    std::size_t first = made_.tasks.size();
    for (const TaskState& task : state_.tasks) {
      if (task.pid != process.pid) {
        continue;
      }
      const Source source = source_(task.tid);
      if (made_.tasks.size() == first) {
        const AdoptedTask* sharer = nullptr;
        if (process.shares_memory_of != 0) {
          sharer = made_task_of(process.shares_memory_of);
        }
        if (sharer != nullptr) {
          add_sharing(task.tid, source, *sharer);
        } else {
          add_leader(task.tid, source);
        }
      } else {
        add_thread(task.tid, source, first);
      }
    }
  }

  const AdoptedTask* made_task_of(pid_t pid) const {
    for (const AdoptedTask& made : made_.tasks) {
      if (state_.find_task(made.tid)->pid == pid) {
        return &made;
      }
    }
    return nullptr;
  }

  // Lets `maker` make a task, and puts its registers back.
  process::Tracee make(process::Tracee& maker, std::uint64_t site, std::uint64_t flags) {
    const user_regs_struct registers = maker.registers();
    InjectedCalls calls(maker, site);
    const auto real =
        static_cast<pid_t>(calls.require("copying a task", SYS_clone, flags, 0, 0, 0, 0));
    process::Tracee made = process::Tracee::adopt(calls.new_task().value_or(real), false);
    made.wait_stop();
    maker.set_registers(registers);
    made_.stops += 4;
    return made;
  }

  void add_leader(pid_t tid, const Source& source) {
    const user_regs_struct registers = source.tracee->registers();
    process::Tracee made = make(*source.tracee, source.site, CLONE_PARENT | SIGCHLD);
    made.set_registers(registers);
    const pid_t pid = made.tid();
    made_.tasks.push_back({tid, pid, std::move(made), source.site});
    replace_shared_memory(made_.tasks.back());
  }

  void add_sharing(pid_t tid, const Source& source, const AdoptedTask& sharer) {
    process::Tracee made = make(const_cast<process::Tracee&>(sharer.tracee), sharer.site,
                                CLONE_VM | CLONE_PARENT | SIGCHLD);
    give_state(made, source);
    const pid_t pid = made.tid();
    made_.tasks.push_back({tid, pid, std::move(made), source.site});
  }

  void add_thread(pid_t tid, const Source& source, std::size_t leader) {
    constexpr std::uint64_t kThread =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    process::Tracee made = make(made_.tasks[leader].tracee, made_.tasks[leader].site, kThread);
    give_state(made, source);
    made_.tasks.push_back({tid, made_.tasks[leader].pid, std::move(made), source.site});
  }

  static void give_state(process::Tracee& made, const Source& source) {
    if (const auto extended = source.tracee->register_set(NT_X86_XSTATE)) {
      made.set_register_set(NT_X86_XSTATE, *extended);
    }
    made.set_signal_mask(source.tracee->signal_mask());
    made.set_registers(source.tracee->registers());
  }

  // The fork has what it shared mapped still: it gets copies, the same for all its processes.
  void replace_shared_memory(AdoptedTask& task) {
    std::vector<process::ProcMapping> shared;
    for (process::ProcMapping& mapping : process::read_mappings(task.pid)) {
      if (is_shared_memory(mapping)) {
        shared.push_back(std::move(mapping));
      }
    }
    if (shared.empty()) {
      return;
    }
    const user_regs_struct registers = task.tracee.registers();
    process::RemoteMemory memory(task.pid);
    for (const process::ProcMapping& mapping : shared) {
      const int fd = shared_copy(mapping, memory);
      const std::string path = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd);
      const std::uint64_t place = registers.rsp & ~(kPage - 1);
      std::vector<std::byte> before(path.size() + 1);
      memory.read(place, before);
      memory.write(place, std::as_bytes(std::span(path.c_str(), path.size() + 1)));
      InjectedCalls calls(task.tracee, task.site);
      const std::int64_t opened = calls.call(SYS_openat, AT_FDCWD, place, O_RDWR | O_CLOEXEC, 0);
      memory.write(place, before);
      calls.check("opening shared memory", opened);
      calls.require("mapping shared memory", SYS_mmap, mapping.start, mapping.length(),
                    mapping.protection, MAP_SHARED | MAP_FIXED, opened, mapping.offset);
      calls.require("closing shared memory", SYS_close, opened);
      task.tracee.set_registers(registers);
      made_.stops += 6;
    }
  }

  int shared_copy(const process::ProcMapping& mapping, process::RemoteMemory& memory) {
    if (auto found = shared_.find(mapping.inode); found != shared_.end()) {
      // Of memory without a descriptor, a process may have a part that another does not.
      struct stat status {};
      const std::uint64_t end = mapping.offset + mapping.length();
      if (::fstat(found->second, &status) == 0 &&
          static_cast<std::uint64_t>(status.st_size) < end && nameless_.count(mapping.inode) != 0) {
        fill(found->second, mapping, memory);
      }
      return found->second;
    }
    kept_.push_back(make_memory(0));
    const int fd = kept_.back().get();
    shared_[mapping.inode] = fd;
    nameless_.insert(mapping.inode);
    fill(fd, mapping, memory);
    return fd;
  }

  static void fill(int fd, const process::ProcMapping& mapping, process::RemoteMemory& memory) {
    const std::uint64_t end = mapping.offset + mapping.length();
    struct stat status {};
    if (::fstat(fd, &status) != 0 || (static_cast<std::uint64_t>(status.st_size) < end &&
                                      ::ftruncate(fd, static_cast<off_t>(end)) != 0)) {
      throw system_error(errno, "cannot resize shared memory");
    }
    std::vector<std::byte> page(kPage);
    for (std::uint64_t at = mapping.start; at < mapping.end; at += kPage) {
      if (memory.read_some(at, page) == kPage &&
          std::any_of(page.begin(), page.end(), [](std::byte b) { return b != std::byte{0}; })) {
        write_bytes(fd, page, mapping.offset + (at - mapping.start));
      }
    }
  }

  const SupervisorState& state_;
  std::function<Source(pid_t)> source_;
  CopiedTasks made_;
  std::map<std::uint64_t, int> shared_; // copies by the inode of the original
  std::set<std::uint64_t> nameless_;    // those of no object
  std::vector<ScopedFd> kept_;
};

} // namespace

void kill_tasks(std::vector<AdoptedTask>& tasks) {
  std::set<pid_t> pids;
  for (const AdoptedTask& task : tasks) {
    if (pids.insert(task.pid).second) {
      ::kill(task.pid, SIGKILL);
    }
  }
  // Leaders last: they are reported only after the others.
  for (bool leaders : {false, true}) {
    for (AdoptedTask& task : tasks) {
      if ((task.tracee.tid() == task.pid) != leaders) {
        continue;
      }
      try {
        while (task.tracee.attached() && !task.tracee.wait().gone()) {
        }
      } catch (const Error&) {
        // Gone already.
      }
      task.tracee.release();
    }
  }
  tasks.clear();
}

SessionCopy::SessionCopy(ReplaySession& session) : state_(session.state()) {
  session.put_back_trap();
  std::map<std::uint32_t, int> objects;
  for (const ObjectState& object : state_.objects) {
    objects[object.number] = session.object(object.number);
  }
  copied_ =
      Copying(
          state_,
          [&](pid_t tid) {
            return Source{&session.tracee(tid), session.real_process(tid), session.call_site(tid)};
          },
          objects)
          .run();
}

SessionCopy::~SessionCopy() {
  kill_tasks(copied_.tasks);
}

AdoptedTask& SessionCopy::task(pid_t tid) {
  for (AdoptedTask& task : copied_.tasks) {
    if (task.tid == tid) {
      return task;
    }
  }
  throw Error(ErrorCode::kInternal, "a copied task is missing");
}

CopiedTasks SessionCopy::copy() {
  std::map<std::uint32_t, int> objects;
  for (const auto& [number, fd] : copied_.objects) {
    objects[number] = fd.get();
  }
  return Copying(
             state_,
             [&](pid_t tid) {
               AdoptedTask& task = this->task(tid);
               return Source{&task.tracee, task.pid, task.site};
             },
             objects)
      .run();
}

std::unique_ptr<ReplaySession> SessionCopy::start(const std::string& directory,
                                                  ReplayOptions options) {
  CopiedTasks made = copy();
  options.machine_tried = true;
  auto session = std::make_unique<ReplaySession>(directory, std::move(options), state_,
                                                 std::move(made.tasks), std::move(made.objects));
  for (std::uint64_t i = 0; i < made.stops; ++i) {
    session->count_stop();
  }
  return session;
}

namespace {

// The number of KiB behind `name` in a file of /proc; 0: it is not there.
std::uint64_t kibibytes(const std::string& content, const std::string& name) {
  const std::size_t at = content.find("\n" + name);
  if (at == std::string::npos) {
    return 0;
  }
  std::string_view rest = std::string_view(content).substr(at + 1 + name.size());
  return process::parse_number(process::cut_word(rest), 10, "the size of a process") * 1024;
}

std::uint64_t sum_of(const CopiedTasks& copied, const char* file, const std::string& name) {
  std::uint64_t bytes = copied.shared_bytes;
  std::set<pid_t> seen;
  for (const AdoptedTask& task : copied.tasks) {
    if (seen.insert(task.pid).second) {
      bytes += kibibytes(process::read_proc_file(process::proc_path(task.pid, file)), name);
    }
  }
  return bytes;
}

} // namespace

std::uint64_t SessionCopy::memory() const {
  return sum_of(copied_, "smaps_rollup", "Pss:");
}

std::uint64_t SessionCopy::most_memory() const {
  return sum_of(copied_, "status", "VmRSS:");
}

} // namespace rrpcp::replay
