#include "subject_process.h"

#include "base/hash.h"
#include "base/scoped_fd.h"
#include "measure.h"
#include "rrpcp/error.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <spawn.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

extern char** environ;

namespace rrpcp::bench {

namespace {

constexpr std::size_t kPieceBuffer = 1 << 20;

// Starts the subject with these arguments; its standard output is `output`.
pid_t start(const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv = {const_cast<char*>(RRPCP_BENCH_SUBJECT)};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (output < 0) {
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  } else {
    ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  }
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, RRPCP_BENCH_SUBJECT, &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw system_error(error, "cannot start the subject").in_file(RRPCP_BENCH_SUBJECT);
  }
  return pid;
}

} // namespace

SubjectProcess::SubjectProcess(std::uint64_t bytes, const std::string& directory) {
  directory_ = directory;
  const std::string ready = directory + "/ready";
  std::filesystem::remove(ready);
  pid_ = start({"memory", std::to_string(bytes), directory}, -1);
  await(ready);
  std::ifstream list(ready);
  for (MemoryPiece piece{}; list >> piece.address >> piece.length;) {
    touched_.push_back(piece);
  }
}

void SubjectProcess::write_a_hundredth() {
  std::filesystem::remove(directory_ + "/ready");
  ::kill(pid_, SIGUSR1);
  await(directory_ + "/ready");
}

pid_t SubjectProcess::make_copy() const {
  const std::string file = directory_ + "/copy";
  std::filesystem::remove(file);
  ::kill(pid_, SIGUSR2);
  await(file);
  pid_t copy = 0;
  std::ifstream(file) >> copy;
  return copy;
}

void SubjectProcess::await(const std::string& file) const {
  while (!std::filesystem::exists(file)) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      throw Error(ErrorCode::kSystem, "the subject ended early; is there memory enough?");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

SubjectProcess::~SubjectProcess() {
  kill();
}

void SubjectProcess::kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
}

std::uint64_t SubjectProcess::touched_bytes() const {
  std::uint64_t bytes = 0;
  for (const MemoryPiece& piece : touched_) {
    bytes += piece.length;
  }
  return bytes;
}

std::string digest_of_memory(pid_t pid, const std::vector<MemoryPiece>& pieces) {
  std::vector<std::byte> buffer(kPieceBuffer);
  Xxh3Stream128 stream;
  for (MemoryPiece piece : pieces) {
    while (piece.length > 0) {
      iovec local{buffer.data(), std::min<std::uint64_t>(piece.length, buffer.size())};
      iovec remote{reinterpret_cast<void*>(piece.address), local.iov_len};
      const ssize_t n = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
      if (n <= 0) {
        throw system_error(errno, "cannot read the memory of the restored process");
      }
      stream.update(std::span(buffer).first(static_cast<std::size_t>(n)));
      piece.address += static_cast<std::uint64_t>(n);
      piece.length -= static_cast<std::uint64_t>(n);
    }
  }
  std::string text;
  for (std::uint8_t byte : stream.digest().canonical()) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::uint64_t map_in_new_process(const std::string& path, const std::string& list_path) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  ScopedFd from(pipe[0]);
  ScopedFd to(pipe[1]);
  const std::uint64_t begin = now();
  const pid_t pid = start({"map", path, list_path}, to.get());
  to.reset();
  char byte = 0;
  const bool done = ::read(from.get(), &byte, 1) == 1;
  const std::uint64_t taken = now() - begin;
  ::waitpid(pid, nullptr, 0);
  if (!done) {
    throw Error(ErrorCode::kSystem, "the file cannot be mapped").in_file(path);
  }
  return taken;
}

std::uint64_t timed_restore(const std::string& path, bool lazy,
                            const std::vector<MemoryPiece>& check, std::string& digest) {
  const std::uint64_t begin = now();
  const CheckpointReader reader = CheckpointReader::open(path);
  RestoredProcess process = restore_process(reader, {.allow = {"new-ids"}, .lazy = lazy});
  const std::uint64_t taken = now() - begin;
  if (digest.empty()) {
    digest = digest_of_memory(process.pid(), check);
  }
  process.kill();
  return taken;
}

} // namespace rrpcp::bench
