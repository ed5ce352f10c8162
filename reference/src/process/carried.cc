#include "process/carried.h"

#include "base/bytes.h"
#include "process/namespaces.h"
#include "process/proc_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/user.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process {

namespace {

constexpr std::uint32_t kNotePorts = 0x201; // NT_386_IOPERM
constexpr std::uint32_t kNoteShadowStack = 0x204;
// `cs` for 64-bit user code (asm/segment.h).
constexpr std::uint64_t kUserCodeSegment64 = 0x33;
constexpr const char* kInherited =
    "a restore gives it the restorer's own descriptor of that number, or /dev/null";

std::string text_of(capnp::Data::Reader bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

// Character devices that mean the same everywhere (Documentation/admin-guide/devices.txt, major 1).
bool is_harmless_device(std::uint64_t number) {
  constexpr std::array<unsigned, 5> kMinors = {3, 5, 7, 8, 9}; // null zero full random urandom
  return major(number) == 1 &&
         std::find(kMinors.begin(), kMinors.end(), minor(number)) != kMinors.end();
}

class Judge {
public:
  explicit Judge(schema::State::Reader state) : state_(state) {}

  std::vector<Judgement> run() {
    if (state_.getInspectOnly()) {
      never("it is for looking at only: it was made from a core file, or captured so");
    }
    for (schema::Process::Reader process : state_.getProcesses()) {
      judge_process(process);
    }
    for (std::uint32_t i = 0; i < state_.getTasks().size(); ++i) {
      judge_task(state_.getTasks()[i]);
    }
    judge_leaders();
    judge_namespaces();
    for (schema::AddressSpace::Reader space : state_.getAddressSpaces()) {
      judge_space(space);
    }
    for (schema::MemoryObject::Reader object : state_.getMemoryObjects()) {
      judge_object(object);
    }
    judge_files();
    return std::move(found_);
  }

  std::vector<Judgement> of_task(schema::Task::Reader task) {
    judge_task(task);
    return std::move(found_);
  }

private:
  void never(std::string what) { found_.push_back({{}, std::move(what), {}, false}); }
  void unless(const char* name, std::string what, const char* instead) {
    found_.push_back({name, std::move(what), instead, false});
  }
  void tell(std::string what, const char* instead) {
    found_.push_back({{}, std::move(what), instead, true});
  }

  void judge_process(schema::Process::Reader process) {
    if (process.getSemaphoreUndo().size() != 0) {
      unless("semaphore-undo", "semaphore operations that its end undoes (semop(2), SEM_UNDO)",
             "they stay as they are at its end");
    }
  }

  void judge_task(schema::Task::Reader task) {
    const std::string name = "thread " + std::to_string(task.getTid());
    const schema::Task::Reader leader = leader_of(task);
    if (task.getAddressSpace() != leader.getAddressSpace() ||
        task.getFileTable() != leader.getFileTable() ||
        task.getFileSystemContext() != leader.getFileSystemContext() ||
        task.getSignalHandlers() != leader.getSignalHandlers()) {
      never(name + " does not share memory, descriptors, working directory or signal handlers with "
                   "its process (clone(2), unshare(2))");
    }
    if (task.getNamespaces() != leader.getNamespaces()) {
      never(name + " is in other namespaces than its process (unshare(2), setns(2))");
    }
    judge_registers(task, name);
    const schema::TaskAttributes::Reader attributes = task.getAttributes();
    judge_seccomp(task, name);
    if (attributes.getLandlocked()) {
      unless("landlock", "a confinement by landlock(7) or another security module",
             "a restored process is not confined");
    }
    if (attributes.getCoreSchedulingCookie() != 0) {
      tell(name + " shares a processor's core with its group only (PR_SCHED_CORE)",
           "a restored one may share it with anybody");
    }
    const std::string groups = text_of(attributes.getControlGroups());
    if (!groups.empty() && groups != text_of(leader.getAttributes().getControlGroups())) {
      tell(name + " is in other control groups than its process (cgroups(7))",
           "a restored one is in those of its restorer, as all are");
    }
    judge_label(task.hasCredentials() ? task.getCredentials()
                                      : state_.getProcesses()[task.getProcess()].getCredentials());
  }

  void judge_seccomp(schema::Task::Reader task, const std::string& name) {
    constexpr std::uint32_t kFilters = 2;
    constexpr const char* kFree = "a restored process is not confined";
    const schema::TaskAttributes::Reader attributes = task.getAttributes();
    if (attributes.getSeccompMode() != kFilters) {
      return;
    }
    if (attributes.getSeccompFilters().size() == 0) {
      unless("seccomp", name + " is confined by filters of seccomp(2) that could not be read",
             kFree);
      return;
    }
    for (schema::SeccompFilter::Reader filter : attributes.getSeccompFilters()) {
      if (asks_supervisor(filter.getProgram())) {
        unless("seccomp",
               name + " is confined by a filter that asks another process (seccomp(2) "
                      "SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE)",
               kFree);
        break;
      }
    }
    // What installs filters: no new privileges, or the privilege.
    const schema::Credentials::Reader credentials =
        task.hasCredentials() ? task.getCredentials()
                              : state_.getProcesses()[task.getProcess()].getCredentials();
    constexpr std::uint64_t kSysAdmin = std::uint64_t{1} << 21; // CAP_SYS_ADMIN
    if (!attributes.getNoNewPrivileges() &&
        (credentials.getEffectiveCapabilities() & kSysAdmin) == 0) {
      unless("seccomp",
             name + " is confined by filters of seccomp(2) that it may not install any "
                    "more (PR_SET_NO_NEW_PRIVS)",
             kFree);
    }
  }

  // A filter that returns what somebody else has to answer: struct sock_filter is 16 bits of code,
  // two jumps, and 32 bits of operand; BPF_RET | BPF_K is 6 (linux/filter.h).
  static bool asks_supervisor(capnp::Data::Reader program) {
    const auto bytes = std::as_bytes(std::span(program.begin(), program.size()));
    constexpr std::size_t kInstruction = 8;
    for (std::size_t at = 0; at + kInstruction <= bytes.size(); at += kInstruction) {
      const std::uint32_t action = load_le<std::uint32_t>(bytes, at + 4) & 0xffff0000;
      if (load_le<std::uint16_t>(bytes, at) == 6 &&
          (action == 0x7fc00000 || action == 0x7ff00000)) {
        return true;
      }
    }
    return false;
  }

  void judge_registers(schema::Task::Reader task, const std::string& name) {
    if (task.getRegisters().size() == 0) {
      return; // not collected yet
    }
    bool general = false;
    for (schema::RegisterSet::Reader set : task.getRegisters()) {
      auto bytes = std::as_bytes(std::span(set.getData().begin(), set.getData().size()));
      auto has_other = [&](std::byte usual) {
        return std::any_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b != usual; });
      };
      switch (set.getNoteType()) {
      case NT_PRSTATUS:
        general =
            bytes.size() == sizeof(user_regs_struct) &&
            load_le<std::uint64_t>(bytes, offsetof(user_regs_struct, cs)) == kUserCodeSegment64;
        break;
      case kNoteShadowStack:
        if (has_other(std::byte{0})) {
          never(name + " uses a shadow stack");
        }
        break;
      case kNotePorts:
        if (has_other(std::byte{0xff})) {
          never(name + " may use I/O ports (ioperm(2))");
        }
        break;
      default:
        break;
      }
    }
    if (!general) {
      never(name + " does not run 64-bit code");
    }
  }

  void judge_label(schema::Credentials::Reader credentials) {
    const std::string label = text_of(credentials.getSecurityLabel());
    if (label.empty() || !labels_.insert(label).second) {
      return;
    }
    std::string own;
    try {
      own = try_read_file("/proc/thread-self/attr/current").value_or("");
    } catch (const Error&) {
      // No security module.
    }
    while (!own.empty() && (own.back() == '\0' || own.back() == '\n')) {
      own.pop_back();
    }
    if (own != label) {
      unless("security-label", "the security label " + label, "a restored process has this one's");
    }
  }

  schema::Task::Reader leader_of(schema::Task::Reader task) const {
    for (schema::Task::Reader other : state_.getTasks()) {
      if (other.getProcess() == task.getProcess()) {
        return other; // the leader is first, or the process has none
      }
    }
    return task;
  }

  void judge_leaders() {
    auto processes = state_.getProcesses();
    for (std::uint32_t i = 0; i < processes.size(); ++i) {
      bool any = false;
      bool leader = false;
      for (schema::Task::Reader task : state_.getTasks()) {
        any = any || task.getProcess() == i;
        leader = leader || (task.getProcess() == i && task.getTid() == processes[i].getPid());
      }
      if (any && !leader) {
        never("the main thread of process " + std::to_string(processes[i].getPid()) +
              " had ended before its others; such a process cannot be made");
      }
    }
  }

  void judge_namespaces() {
    if (state_.getNamespaceSets().size() == 0) {
      return;
    }
    const NamespaceIds own = read_namespaces(0, 0);
    std::string kinds;
    bool children = false;
    for (schema::NamespaceSet::Reader set : state_.getNamespaceSets()) {
      const auto described = members_of(set);
      for (std::size_t i = 0; i < described.size(); ++i) {
        const auto kind = static_cast<NamespaceKind>(i);
        const bool for_children =
            kind == NamespaceKind::kPidForChildren || kind == NamespaceKind::kTimeForChildren;
        if (for_children) {
          children = children || described[i].inode != described[i - 1].inode;
        } else if (kind != NamespaceKind::kTime && described[i].inode != 0 &&
                   differs(described[i], own[i])) {
          kinds += (kinds.empty() ? "" : ", ") + std::string(kNamespaceNames[i]);
        }
      }
    }
    if (!kinds.empty()) {
      unless("namespaces", "namespaces that are not those of this program (" + kinds + ")",
             "it is restored in this program's, without capabilities where the user namespace is "
             "another one; its files are looked for there");
    }
    if (children) {
      unless("namespaces", "other namespaces for its children than its own (unshare(2))",
             "its children are in its own");
    }
  }

  struct Member {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    bool foreign = false;
  };

  static std::array<Member, kNamespaceKinds> members_of(schema::NamespaceSet::Reader set) {
    auto member = [](schema::Namespace::Reader space) {
      return Member{space.getDevice(), space.getInode(), space.getForeign()};
    };
    return {member(set.getUser()),         member(set.getMount()),
            member(set.getPid()),          member(set.getPidForChildren()),
            member(set.getTime()),         member(set.getTimeForChildren()),
            member(set.getInterProcess()), member(set.getNetwork()),
            member(set.getHostName()),     member(set.getControlGroup())};
  }

public:
  // Ids can be compared until the machine is started anew; afterwards only whether it was the
  // namespace of whoever captured.
  bool differs(const Member& member, const NamespaceId& own) {
    if (!same_start_) {
      const std::vector<std::byte> now = read_boot_id();
      const capnp::Data::Reader then = state_.getClocks().getBootId();
      same_start_ = now.size() == then.size() && !now.empty() &&
                    std::memcmp(now.data(), then.begin(), now.size()) == 0;
    }
    return *same_start_ ? member.device != own.device || member.inode != own.inode : member.foreign;
  }

  bool foreign_user(schema::Task::Reader task) {
    if (task.getNamespaces() >= state_.getNamespaceSets().size()) {
      return false;
    }
    const auto members = members_of(state_.getNamespaceSets()[task.getNamespaces()]);
    const auto user = static_cast<std::size_t>(NamespaceKind::kUser);
    return members[user].inode != 0 && differs(members[user], read_namespaces(0, 0)[user]);
  }

private:
  void judge_space(schema::AddressSpace::Reader space) {
    if (space.hasAttributes() && space.getAttributes().getAddressMask() != ~std::uint64_t{0}) {
      never("tags in addresses (linear address masking)");
    }
    for (schema::Mapping::Reader mapping : space.getMappings()) {
      if (mapping.getUserFaults() != 0) {
        never("memory whose faults a program handles (userfaultfd(2))");
        break;
      }
    }
  }

  void judge_object(schema::MemoryObject::Reader object) {
    if (object.isMemfd() && object.getMemfd().getSecret()) {
      never("secret memory (memfd_secret(2))");
    }
    if ((object.isMemfd() && object.getMemfd().getHugePageSize() != 0) ||
        (object.isSystemV() && object.getSystemV().getHugePageSize() != 0)) {
      never("shared memory of huge pages (hugetlbfs)");
    }
  }

  void judge_files() {
    auto files = state_.getOpenFiles();
    if (files.size() == 0) {
      return;
    }
    std::vector<std::vector<std::int32_t>> users(files.size());
    for (schema::FileTable::Reader table : state_.getFileTables()) {
      for (schema::FileDescriptor::Reader descriptor : table.getDescriptors()) {
        if (descriptor.getOpenFile() < users.size()) {
          users[descriptor.getOpenFile()].push_back(descriptor.getFd());
        }
      }
    }
    const std::int32_t pid =
        state_.getProcesses().size() == 0 ? 0 : state_.getProcesses()[0].getPid();
    for (std::uint32_t i = 0; i < files.size(); ++i) {
      std::vector<Judgement> judged = judge_open_file(files[i], name_descriptors(users[i]), pid);
      std::move(judged.begin(), judged.end(), std::back_inserter(found_));
    }
  }

  schema::State::Reader state_;
  std::optional<bool> same_start_;
  std::set<std::string> labels_;
  std::vector<Judgement> found_;
};

// "/proc/12/…": 12; 0 where the path is not of that form.
std::int32_t process_in_path(std::string_view path) {
  constexpr std::string_view kProc = "/proc/";
  if (!path.starts_with(kProc)) {
    return 0;
  }
  path.remove_prefix(kProc.size());
  const std::string_view number = path.substr(0, path.find('/'));
  std::int32_t pid = 0;
  const auto end = std::from_chars(number.data(), number.data() + number.size(), pid);
  return end.ec == std::errc() && end.ptr == number.data() + number.size() ? pid : 0;
}

void judge_path(std::string_view path, const std::string& who, std::int32_t pid,
                std::vector<Judgement>& found) {
  if (path.size() >= PATH_MAX) {
    found.push_back({{}, who + ": a file whose path is too long to be opened by", {}, false});
  }
  const std::int32_t other = process_in_path(path);
  if (other != 0 && other != pid) {
    found.push_back(
        {{}, who + ": " + std::string(path) + ", which is of another process", {}, false});
  } else if (own_proc_entry(path, pid).starts_with("task/")) {
    found.push_back({{}, who + ": " + std::string(path) + ", which is of a thread", {}, false});
  }
}

constexpr const char* kReplaced = "a restore replaces it by /dev/null";

template <typename Unless>
void judge_socket_end(schema::SocketEnd::Reader end, std::int32_t pid, const Unless& unless) {
  constexpr const char* kReset =
      "after a restore, every call on it fails as if the peer had reset the connection";
  bool has_files = false;
  for (schema::SocketMessage::Reader message : end.getReceived()) {
    has_files = has_files || message.getOpenFiles().size() != 0;
  }
  const std::string name = "a socket (socket:[" + std::to_string(end.getId()) + "]";
  if (has_files) {
    unless("socket", name + ", with descriptors queued in it)", kReset);
  } else if (end.getDomain() != AF_UNIX || end.getAddress().size() != 0) {
    unless("socket", name + ", which has a name)", kReset);
  } else if (end.getType() != SOCK_STREAM && end.getType() != SOCK_DGRAM &&
             end.getType() != SOCK_SEQPACKET) {
    unless("socket", name + ", of type " + std::to_string(end.getType()) + ")", kReset);
  } else if (has_maker(end, pid) &&
             (end.getPeer() == 0 || ::kill(end.getPeerPid(), 0) == 0 || errno != ESRCH)) {
    unless("socket",
           name + ", whose peer is told to be process " + std::to_string(end.getPeerPid()) +
               ", which made it (SO_PEERCRED)" +
               (end.getPeer() == 0 ? "; the other end is gone)" : ", and whose id is in use)"),
           kReset);
  }
}

template <typename Unless>
void judge_pidfd(schema::OpenFile::Pidfd::Reader pidfd, std::int32_t pid, const Unless& unless) {
  if (pidfd.getPid() != -1 && (!pidfd.getInCheckpoint() || pidfd.getPid() != pid)) {
    unless("other-fd",
           pidfd.getInCheckpoint() ? "a pidfd of thread " + std::to_string(pidfd.getPid())
                                   : "a pidfd of process " + std::to_string(pidfd.getPid()) +
                                         ", which is not part of the checkpoint",
           kReplaced);
  }
}

bool has_word(std::string_view text, std::string_view word) {
  while (!text.empty()) {
    if (cut_word(text) == word) {
      return true;
    }
  }
  return false;
}

} // namespace

bool has_maker(schema::SocketEnd::Reader socket, std::int32_t pid) {
  return socket.getPeerPid() != 0 && socket.getPeerPid() != pid;
}

bool is_listening(schema::OpenFile::Reader file) {
  return file.isSocket() && has_word(file.getSocket().getDescription().cStr(), kListening);
}

bool is_connectionless(schema::OpenFile::Reader file) {
  const std::string_view text = file.isSocket() ? file.getSocket().getDescription().cStr() : "";
  return has_word(text, "datagram") || has_word(text, "raw");
}

std::string own_namespace_file(std::string_view description) {
  const std::string name(description.substr(0, description.find(':')));
  if (std::find(std::begin(kNamespaceNames), std::end(kNamespaceNames), name) ==
      std::end(kNamespaceNames)) {
    return {};
  }
  const std::string path = "/proc/thread-self/ns/" + name;
  return try_read_link(path).value_or("") == description ? path : std::string();
}

std::string name_descriptors(const std::vector<std::int32_t>& numbers) {
  constexpr std::size_t kShown = 8;
  std::string text = numbers.size() == 1 ? "descriptor" : "descriptors";
  for (std::size_t i = 0; i < numbers.size() && i < kShown; ++i) {
    text += (i == 0 ? " " : ", ") + std::to_string(numbers[i]);
  }
  return text + (numbers.size() > kShown ? ", …" : "");
}

std::string_view own_proc_entry(std::string_view path, std::int32_t pid) {
  const std::string own = "/proc/" + std::to_string(pid) + "/";
  return pid > 0 && path.starts_with(own) ? path.substr(own.size()) : std::string_view();
}

std::vector<Judgement> judge_open_file(schema::OpenFile::Reader file, const std::string& who,
                                       std::int32_t pid) {
  std::vector<Judgement> found;
  auto never = [&](const std::string& what) {
    found.push_back({{}, who + ": " + what, {}, false});
  };
  auto unless = [&](const char* name, const std::string& what, const char* instead) {
    found.push_back({name, who + ": " + what, instead, false});
  };
  auto identity = [&](schema::FileIdentity::Reader stored, bool has_contents) {
    const std::string path = text_of(stored.getPath());
    if (!stored.getDeleted()) {
      judge_path(path, who, pid, found);
    } else if (has_contents) {
      unless("deleted-file", "the file " + path + ", which its path does not name any more",
             "an unnamed file of the same size, full of zeros, takes its place");
    } else {
      never(path + ", which its path does not name any more");
    }
  };
  switch (file.which()) {
  case schema::OpenFile::REGULAR:
    if (file.getContentsObject() == schema::NO_INDEX) {
      identity(file.getRegular(), true);
    }
    break;
  case schema::OpenFile::DIRECTORY:
    identity(file.getDirectory(), false);
    break;
  case schema::OpenFile::PATH:
    identity(file.getPath(), false);
    break;
  case schema::OpenFile::FIFO:
    identity(file.getFifo(), false);
    break;
  case schema::OpenFile::DEVICE: {
    const std::string path = text_of(file.getDevice().getPath());
    judge_path(path, who, pid, found);
    if (!is_harmless_device(file.getDevice().getNumber())) {
      unless("device", "the device " + path, "a restore opens it again by its path");
    }
    break;
  }
  case schema::OpenFile::TERMINAL:
    unless("terminal", "the terminal " + text_of(file.getTerminal().getPath()), kInherited);
    break;
  case schema::OpenFile::PIPE:
    if (file.getPipe().getExternal()) {
      const bool reads = (file.getFlags() & O_ACCMODE) != O_WRONLY;
      unless("pipe",
             std::string("the ") + (reads ? "read" : "write") +
                 " end of a pipe to another process (pipe:[" +
                 std::to_string(file.getPipe().getId()) + "])",
             kInherited);
    }
    break;
  case schema::OpenFile::SOCKET:
    unless("socket", "a socket (" + std::string(file.getSocket().getDescription().cStr()) + ")",
           is_listening(file)        ? "after a restore, nobody connects to it"
           : is_connectionless(file) ? "after a restore, nothing comes, and what is sent fails"
                                     : "after a restore, every call on it fails as if the peer had "
                                       "reset the connection");
    break;
  case schema::OpenFile::SOCKET_END:
    judge_socket_end(file.getSocketEnd(), pid, unless);
    break;
  case schema::OpenFile::EVENTFD:
  case schema::OpenFile::EPOLL:
  case schema::OpenFile::MEMFD:
  case schema::OpenFile::TIMERFD:
  case schema::OpenFile::SIGNALFD:
    break;
  case schema::OpenFile::INOTIFY:
    for (schema::InotifyWatch::Reader watch : file.getInotify().getWatches()) {
      if (watch.getPath().size() == 0) {
        unless("other-fd",
               "an inotify that watches what no path was found of (inode " +
                   std::to_string(watch.getInode()) + ")",
               "that is not watched after a restore");
      }
    }
    if (file.getInotify().getEvents().size() != 0) {
      unless("other-fd", "an inotify with events that were not read yet", "they are lost");
    }
    break;
  case schema::OpenFile::PIDFD:
    judge_pidfd(file.getPidfd(), pid, unless);
    break;
  case schema::OpenFile::OTHER: {
    const std::string kind = file.getOther().getDescription();
    if (!own_namespace_file(kind).empty()) {
      break; // opened again
    }
    if (kind == "anon_inode:[io_uring]" || kind == "anon_inode:[userfaultfd]") {
      never(kind + ", which the kernel acts upon by itself");
    } else {
      unless("other-fd", kind, kReplaced);
    }
    break;
  }
  default:
    never("an open file of a kind that this version does not know");
    break;
  }
  for (schema::FileLock::Reader lock : file.getLocks()) {
    if (lock.getBreaking() != schema::FileLock::LeaseBreak::NONE) {
      never("a lease that another process waits for (fcntl(2) F_SETLEASE)");
    }
  }
  return found;
}

std::vector<Judgement> judge_state(schema::State::Reader state) {
  return Judge(state).run();
}

std::vector<Judgement> judge_task(schema::State::Reader state, schema::Task::Reader task) {
  return Judge(state).of_task(task);
}

bool is_seccomp_carried(schema::State::Reader state, schema::Task::Reader task) {
  const std::vector<Judgement> judged = judge_task(state, task);
  return std::none_of(judged.begin(), judged.end(),
                      [](const Judgement& judgement) { return judgement.allow_name == "seccomp"; });
}

bool has_foreign_user_namespace(schema::State::Reader state, schema::Task::Reader task) {
  return Judge(state).foreign_user(task);
}

} // namespace rrpcp::process
