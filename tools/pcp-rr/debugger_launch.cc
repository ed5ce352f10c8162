#include "pcp-rr/debugger_launch.h"

#include "base/scoped_fd.h"
#include "common/text.h"
#include "pcp-rr/gdb_macros.h"
#include "pcp-rr/pcp_rr.h"
#include "pcp-rr/trace_argument.h"
#include "rrpcp/error.h"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

bool is_lldb(const std::string& debugger) {
  return debugger.substr(debugger.rfind('/') + 1).starts_with("lldb");
}

// Looked for as execvp(3) does; empty: not there.
std::string find_program(const std::string& name) {
  if (name.find('/') != name.npos) {
    return ::access(name.c_str(), X_OK) == 0 ? name : std::string();
  }
  const char* path = std::getenv("PATH");
  const std::string list = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    const std::string directory = list.substr(at, end - at);
    const std::string file = (directory.empty() ? "." : directory) + "/" + name;
    if (::access(file.c_str(), X_OK) == 0) {
      return file;
    }
    at = end + 1;
  }
  return {};
}

// lldb of Debian 12 looks for its own Python module where it is not: it lies beside the program.
void help_lldb_find_python(const std::string& program) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(program, error);
  const std::filesystem::path libraries = real.parent_path().parent_path() / "lib";
  if (error) {
    return;
  }
  for (const auto& entry : std::filesystem::directory_iterator(libraries, error)) {
    const std::filesystem::path packages = entry.path() / "dist-packages";
    if (entry.path().filename().string().starts_with("python3.") &&
        std::filesystem::exists(packages / "lldb", error)) {
      const char* before = std::getenv("PYTHONPATH");
      ::setenv("PYTHONPATH",
               (packages.string() + (before != nullptr ? ":" + std::string(before) : "")).c_str(),
               1);
    }
  }
}

// A directory that only the user can enter, with the socket and the commands in it.
struct Meeting {
  std::string directory;
  std::string socket;
  std::string macros;
  ScopedFd listener;

  explicit Meeting(bool lldb) {
    const char* root = std::getenv("TMPDIR");
    std::string name =
        std::string(root != nullptr && *root != '\0' ? root : "/tmp") + "/pcp-rr-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      throw system_error(errno, "cannot make a directory for the socket of the debugger");
    }
    directory = name;
    socket = directory + "/socket";
    macros = directory + (lldb ? "/pcp_rr_commands.py" : "/commands.gdb");
    const std::string text = lldb ? lldb_macros() : gdb_macros();
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(macros.c_str(), "we"),
                                                         &std::fclose);
    if (!file || std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() ||
        std::fflush(file.get()) != 0) {
      const int problem = errno;
      remove();
      throw system_error(problem, "cannot write the debugger's commands").in_file(macros);
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket.size() >= sizeof address.sun_path) {
      remove();
      throw Error(ErrorCode::kInvalidArgument, "the path is too long for a socket")
          .in_file(socket)
          .with_hint("set TMPDIR to a shorter one");
    }
    std::memcpy(address.sun_path, socket.data(), socket.size());
    listener.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener ||
        ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener.get(), 1) != 0) {
      const int problem = errno;
      remove();
      throw system_error(problem, "cannot make the debugger's socket").in_file(socket);
    }
  }

  void remove() const {
    ::unlink(socket.c_str());
    ::unlink(macros.c_str());
    // lldb's Python may have compiled it.
    const std::string cache = directory + "/__pycache__";
    std::error_code ignored;
    if (::rmdir(directory.c_str()) != 0) {
      for (const char* version : {"39", "310", "311", "312", "313", "314", "315"}) {
        ::unlink((cache + "/pcp_rr_commands.cpython-" + version + ".pyc").c_str());
      }
      ::rmdir(cache.c_str());
      ::rmdir(directory.c_str());
    }
  }
};

// The connection that comes first; nothing where `other`, a pidfd, ends before.
ScopedFd accept_one(int listener, int other = -1) {
  while (true) {
    pollfd waits[] = {{listener, POLLIN, 0}, {other, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw system_error(errno, "cannot wait for a debugger");
    }
    if (waits[0].revents != 0) {
      ScopedFd connection(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      if (connection) {
        return connection;
      }
      if (errno != EINTR && errno != ECONNABORTED) {
        throw system_error(errno, "cannot accept a debugger");
      }
    } else if (waits[1].revents != 0) {
      return {};
    }
  }
}

// The child of the process that becomes the debugger.
[[noreturn]] void serve_one(const DebugRequest& request, Meeting& meeting, int debugger) {
  // ^C in the terminal is for the debugger, which sends it on.
  ::setpgid(0, 0);
  std::signal(SIGTTOU, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  int status = 0;
  try {
    Timeline timeline = request.open();
    DebugServer server(timeline, request.prepare(timeline));
    const ScopedFd connection = accept_one(meeting.listener.get(), debugger);
    meeting.remove();
    meeting.listener.reset();
    if (connection) {
      server.serve(connection.get());
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "pcp-rr: %s\n", printable(error.what()).c_str());
    status = 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "pcp-rr: %s\n", error.what());
    status = 1;
  }
  meeting.remove();
  std::fflush(nullptr);
  ::_exit(status);
}

std::vector<std::string> debugger_command(const DebugRequest& request, const Meeting& meeting) {
  std::vector<std::string> words{request.debugger};
  if (is_lldb(request.debugger)) {
    words.insert(words.end(),
                 {"--source-quietly", "-o", "command script import " + meeting.macros, "-o",
                  "process connect --plugin gdb-remote unix-connect://" + meeting.socket});
  } else {
    words.insert(words.end(), {"-l", "10000", "-ex", "set sysroot /", "-x", meeting.macros, "-ex",
                               "target extended-remote " + meeting.socket});
  }
  words.insert(words.end(), request.options.begin(), request.options.end());
  if (is_lldb(request.debugger) && !request.program.empty()) {
    words.push_back(request.program);
  }
  return words;
}

ScopedFd listen_on(const std::string& host, std::uint16_t port, std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string wanted = host.empty() ? "127.0.0.1" : host;
  if (const int problem =
          ::getaddrinfo(wanted.c_str(), std::to_string(port).c_str(), &hints, &found);
      problem != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot listen on '" + printable(wanted) + "': " + ::gai_strerror(problem));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, &::freeaddrinfo);
  ScopedFd listener(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, found->ai_protocol));
  const int one = 1;
  if (!listener || ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      ::bind(listener.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listener.get(), 4) != 0) {
    throw system_error(errno,
                       "cannot listen on port " + std::to_string(port) + " of " + printable(wanted))
        .with_hint("-s 0 takes a port that is free");
  }
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  char address[NI_MAXHOST];
  char service[NI_MAXSERV];
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0 ||
      ::getnameinfo(reinterpret_cast<const sockaddr*>(&own), length, address, sizeof address,
                    service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    throw Error(ErrorCode::kInternal, "cannot find out the port that was taken");
  }
  name = (found->ai_family == AF_INET6 ? "tcp6:[" + std::string(address) + "]"
                                       : std::string(address)) +
         ":" + service;
  return listener;
}

bool is_loopback(const std::string& name) {
  return name.starts_with("127.") || name.starts_with("tcp6:[::1]");
}

bool same_contents(const std::string& a, const std::string& b) {
  const ScopedFd first(::open(a.c_str(), O_RDONLY | O_CLOEXEC));
  const ScopedFd second(::open(b.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat one = {};
  struct stat two = {};
  if (!first || !second || ::fstat(first.get(), &one) != 0 || ::fstat(second.get(), &two) != 0 ||
      one.st_size != two.st_size || !S_ISREG(one.st_mode)) {
    return false;
  }
  if (one.st_dev == two.st_dev && one.st_ino == two.st_ino) {
    return true;
  }
  std::vector<char> left(1 << 16);
  std::vector<char> right(1 << 16);
  while (true) {
    const ssize_t n = ::read(first.get(), left.data(), left.size());
    if (n <= 0) {
      return n == 0;
    }
    if (::read(second.get(), right.data(), static_cast<std::size_t>(n)) != n ||
        std::memcmp(left.data(), right.data(), static_cast<std::size_t>(n)) != 0) {
      return false;
    }
  }
}

} // namespace

std::string program_to_read(const Timeline& timeline, std::int32_t process) {
  for (const TimelineProcess& candidate : timeline.processes()) {
    if (candidate.pid != process) {
      continue;
    }
    return candidate.kept_executable.empty() ||
                   same_contents(candidate.executable, candidate.kept_executable)
               ? candidate.executable
               : candidate.kept_executable;
  }
  return {};
}

void become_debugger(const DebugRequest& request) {
  const std::string program = find_program(request.debugger);
  if (program.empty()) {
    throw Error(ErrorCode::kNotFound,
                "the debugger '" + printable(request.debugger) + "' cannot be executed")
        .with_hint("install it (apt-get install gdb), name another with -d, or use -a to see what "
                   "the program printed");
  }
  Meeting meeting(is_lldb(request.debugger));
  const pid_t own = ::getpid();
  const ScopedFd self(static_cast<int>(::syscall(SYS_pidfd_open, own, 0)));
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    const int problem = errno;
    meeting.remove();
    throw system_error(problem, "cannot start the process that replays");
  }
  if (child == 0) {
    serve_one(request, meeting, self.get());
  }
  const std::vector<std::string> words = debugger_command(request, meeting);
  std::vector<char*> arguments;
  for (const std::string& word : words) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  if (is_lldb(request.debugger)) {
    help_lldb_find_python(program);
  }
  ::setenv(is_lldb(request.debugger) ? "LLDB_UNDER_RR" : "GDB_UNDER_RR", "1", 1);
  std::signal(SIGPIPE, SIG_DFL);
  ::execvp(arguments[0], arguments.data());
  throw system_error(errno, "cannot execute " + printable(request.debugger));
}

void serve_debuggers(const DebugRequest& request, const std::string& host, std::uint16_t port,
                     bool again) {
  std::string name;
  ScopedFd listener = listen_on(host, port, name);
  if (!is_loopback(name)) {
    std::fprintf(stderr,
                 "pcp-rr: warning: whoever can connect to %s can read the program's memory\n",
                 name.c_str());
  }
  Timeline timeline = request.open();
  const DebugServerSettings settings = request.prepare(timeline);
  DebugServer server(timeline, settings);
  const std::string program = command_text({program_to_read(timeline, settings.process)});
  // Front ends read these two lines.
  if (is_lldb(request.debugger)) {
    std::fprintf(stderr,
                 "Launch debugger with\n  '%s' '--source-quietly' '-o' 'gdb-remote %s' %s\n",
                 request.debugger.c_str(), name.c_str(), program.c_str());
  } else {
    const std::string arguments =
        " '-l' '10000' '-ex' 'set sysroot /' '-ex' 'target extended-remote " + name + "' " +
        program;
    std::fprintf(stderr, "Launch debugger with\n  '%s'%s\n", request.debugger.c_str(),
                 arguments.c_str());
    if (called_as_rr()) { // front ends that know older versions of rr read only this
      std::fprintf(stderr, "Launch gdb with\n  %s%s\n", request.debugger.c_str(),
                   arguments.c_str());
    }
  }
  std::fflush(stderr);
  while (true) {
    ScopedFd connection = accept_one(listener.get());
    if (!again) {
      listener.reset();
    }
    const DebugServer::End end = server.serve(connection.get(), again ? listener.get() : -1);
    if (!again || end == DebugServer::End::kKilled) {
      return;
    }
  }
}

} // namespace rrpcp::tools
