// What the outside world can see of a stopped process: the oracle of the restore tests.
//
// It looks at /proc and ptrace by itself, with none of the code that captures, so that a mistake
// there cannot hide here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::test {

// A line of /proc/PID/smaps' mappings.
struct WorldMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::string permissions; // "rw-p"
  std::uint64_t offset = 0;
  // "path" or "path (deleted)"; "[heap]", "[vdso]"; empty.
  std::string name;
  // VmFlags without those that say how the mapping came about (ac, sd).
  std::string flags;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool same_kind(const WorldMapping& other) const;
};

struct WorldThread {
  // By NT_* number.
  std::map<unsigned, std::string> registers;
  // Everything else, as text: "signal mask", "altstack", "rseq", …
  std::map<std::string, std::string> facts;
};

struct World {
  std::vector<WorldMapping> mappings;
  // A hash of each page that is not all zeros, by address.
  std::map<std::uint64_t, std::uint64_t> pages;
  std::map<pid_t, WorldThread> threads;
  // "auxv", "brk", "cwd", "descriptor 3", "action 15", …
  std::map<std::string, std::string> facts;
};

struct WorldOptions {
  // A checkpoint that parts of memory may be mapped from; they count as anonymous memory.
  std::string checkpoint;
  // Whether to ask the process itself, by system calls made in it, for what cannot be seen from
  // outside (dispositions, alternate stacks, timers).
  bool ask_inside = true;
  // Whether what lies beside the heap may be one mapping with it: the kernel joins anonymous
  // memory or not by its history, and shows as "[heap]" whatever contains some of the heap. Where
  // the heap is, "areas" and "brk" tell.
  bool join_heap = false;
};

// Reads the world of a process, all of whose threads the calling thread traces and has stopped in
// event stops.
World read_world(pid_t pid, const WorldOptions& options = {});

// Stops a process by ptrace for the time of a look. The process should be stopped (SIGSTOP) or
// asleep, or the world will have moved on afterwards.
World look_at(pid_t pid, const WorldOptions& options = {});

// Every difference, as "thread 12: rip: 0x1 vs 0x2"; at most `limit` of them.
std::vector<std::string> differences(const World& a, const World& b, std::size_t limit = 20);

} // namespace rrpcp::test
