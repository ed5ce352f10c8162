// The process that the benchmarks capture.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::bench {

struct MemoryPiece {
  std::uint64_t address;
  std::uint64_t length; // bytes
};

// A running rrpcp_bench_subject. Killed and reaped by the destructor.
class SubjectProcess {
public:
  // Starts one with `bytes` of memory and waits until all of it is there. `directory` is for the
  // file by which it says so.
  SubjectProcess(std::uint64_t bytes, const std::string& directory);
  ~SubjectProcess();
  SubjectProcess(const SubjectProcess&) = delete;
  SubjectProcess& operator=(const SubjectProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Memory that was touched.
  const std::vector<MemoryPiece>& touched() const { return touched_; }
  std::uint64_t touched_bytes() const;
  // Has it write to a hundredth of its pages, and waits until it has.
  void write_a_hundredth();
  // A copy of it (fork(2)), as a capture makes one. Ends with it.
  pid_t make_copy() const;
  void kill();

private:
  void await(const std::string& file) const;

  std::string directory_;
  pid_t pid_ = 0;
  std::vector<MemoryPiece> touched_;
};

// XXH3-128 over these pieces of a process's memory, as text.
std::string digest_of_memory(pid_t pid, const std::vector<MemoryPiece>& pieces);

// Nanoseconds that opening and restoring a checkpoint takes; the new process is ended. Where
// `digest` is empty, it becomes that of these pieces of its memory: a fast restore of something
// else would not count. Throws Error.
std::uint64_t timed_restore(const std::string& path, bool lazy,
                            const std::vector<MemoryPiece>& check, std::string& digest);

// Starts a process that maps the pieces that `list_path` names ("ADDRESS OFFSET LENGTH" a line)
// from the file; returns the nanoseconds until it has done so.
std::uint64_t map_in_new_process(const std::string& path, const std::string& list_path);

} // namespace rrpcp::bench
