#include "replay/engine/program_start.h"

#include "base/raw_call.h"
#include "replay/buffer/call_filter.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::replay {

namespace {

constexpr std::size_t kStackSize = 64 << 10;
constexpr int kFailed = 127;
constexpr int kFirstOwnSignal = 32; // of the C library, which keeps these two to itself
constexpr int kLastOwnSignal = 33;

struct KernelAction { // struct sigaction of the kernel, asm/signal.h
  void (*handler)(int) = SIG_DFL;
  unsigned long flags = 0;
  void (*restorer)() = nullptr;
  std::uint64_t mask = 0;
};

// Whether execvp(3) tries the next directory.
bool goes_on(int error) {
  return error == EACCES || error == ENOENT || error == ESTALE || error == ENOTDIR ||
         error == ENODEV || error == ETIMEDOUT;
}

} // namespace

ProgramStart::ProgramStart(ProgramOptions options)
    : options_(std::move(options)), parent_(::getpid()),
      stack_(std::make_unique_for_overwrite<std::byte[]>(kStackSize)) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  told_.reset(ends[0]);
  tells_.reset(ends[1]);
  find_program();
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &former_mask_);
  pid_ = ::clone(begin, stack_.get() + kStackSize, CLONE_VM | SIGCHLD, this);
  if (pid_ < 0) {
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &former_mask_, nullptr);
    throw system_error(error, "cannot create a process");
  }
}

ProgramStart::~ProgramStart() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    siginfo_t info;
    // (Whoever traces it takes its status.)
    while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT | __WALL) != 0 &&
           errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &former_mask_, nullptr);
}

void ProgramStart::go() {
  if (::write(tells_.get(), "x", 1) != 1) {
    throw system_error(errno, "cannot start the program");
  }
}

std::optional<int> ProgramStart::failure() const {
  return failure_ != 0 ? std::optional(failure_) : std::nullopt;
}

void ProgramStart::find_program() {
  const std::string& name = options_.command.front();
  if (name.find('/') != std::string::npos) {
    paths_.push_back(name);
  } else if (!name.empty()) {
    const char* variable = std::getenv("PATH"); // NOLINT: nobody changes it meanwhile
    std::string_view rest = variable != nullptr ? variable : "/bin:/usr/bin";
    for (bool more = true; more;) {
      const std::size_t end = rest.find(':');
      std::string path(rest.substr(0, end));
      path += path.empty() ? name : "/" + name;
      paths_.push_back(std::move(path));
      more = end != std::string_view::npos;
      rest = more ? rest.substr(end + 1) : rest;
    }
  }
  script_ = {"/bin/sh", nullptr};
  for (const std::string& argument : options_.command) {
    arguments_.push_back(argument.c_str());
    script_.push_back(argument.c_str());
  }
  script_.erase(script_.begin() + 2); // the program's name: its path is before
  arguments_.push_back(nullptr);
  script_.push_back(nullptr);
}

int ProgramStart::begin(void* self) {
  auto* const start = static_cast<ProgramStart*>(self);
  start->prepare();
  char byte = 0;
  long read = 0;
  do {
    read =
        raw_call(SYS_read, static_cast<std::uintptr_t>(start->told_.get()), raw_pointer(&byte), 1);
  } while (read == -EINTR);
  if (read == 1) {
    start->failure_ = start->execute();
  }
  raw_call(SYS_exit_group, kFailed);
  return kFailed;
}

// What the program is to find as the recorder found it: the mask, and which signals are ignored.
// (Until it is traced it must not outlive the recorder, which may have ended already.)
void ProgramStart::prepare() const {
  raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
  if (raw_call(SYS_getppid) != parent_) {
    raw_call(SYS_exit_group, kFailed);
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal < kFirstOwnSignal || signal > kLastOwnSignal) {
      KernelAction action;
      action.handler = (options_.ignored_signals >> (signal - 1) & 1) != 0 ? SIG_IGN : SIG_DFL;
      raw_call(SYS_rt_sigaction, static_cast<std::uintptr_t>(signal), raw_pointer(&action), 0,
               sizeof action.mask); // some cannot be set, and are what they are
    }
  }
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, raw_pointer(&options_.mask), 0, sizeof(std::uint64_t));
  raw_call(SYS_personality, options_.personality);
}

// Returns errno.
int ProgramStart::execute() {
  raw_call(SYS_prctl, PR_SET_PDEATHSIG); // the trace option takes over, which nobody can see
  if (options_.filter) {
    buffer::install_call_filter(); // where that cannot be, every call stops
  }
  const auto try_to = [](const char* path, const std::vector<const char*>& arguments) {
    return static_cast<int>(-raw_call(SYS_execve, raw_pointer(path), raw_pointer(arguments.data()),
                                      raw_pointer(environ)));
  };
  bool denied = false;
  int error = ENOENT;
  for (const std::string& path : paths_) {
    error = try_to(path.c_str(), arguments_);
    if (error == ENOEXEC) {
      script_[1] = path.c_str();
      error = try_to(script_[0], script_);
    }
    denied = denied || error == EACCES;
    if (!goes_on(error)) {
      return error;
    }
  }
  return denied ? EACCES : error;
}

} // namespace rrpcp::replay
