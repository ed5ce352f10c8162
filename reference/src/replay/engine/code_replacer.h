// Replacing instructions of a program that cannot be replayed.
#pragma once

#include "base/background.h"
#include "base/scoped_fd.h"
#include "process/proc_maps.h"
#include "process/remote_memory.h"
#include "replay/buffer/call_sites.h"
#include "replay/engine/file_code.h"
#include "replay/engine/replaced_instructions.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace rrpcp::replay {

// Looks through memory that has become executable and writes `ud2` over the instructions that it
// finds, in the process's private copy. What it finds in a file is remembered: most programs map
// the same ones. Use from one thread, while no task of the process runs.
class CodeReplacer {
public:
  // `sees`: whether the processor traps an instruction itself, so that nothing need be said of one
  // that stays where it is. `notice`: told what may make a replay differ. `modest`: CPUID does not
  // say what the processor does. `seen_too`: replace also what the processor traps. `background`
  // looks through files; it must live as long. `cache` keeps what is found in files, and must live
  // as long too.
  CodeReplacer(std::function<bool(schema::TrappedInstruction)> sees,
               std::function<void(const std::string&)> notice, bool modest, bool seen_too,
               Background& background, const trace::FileCache& cache);
  CodeReplacer(const CodeReplacer&) = delete;
  CodeReplacer& operator=(const CodeReplacer&) = delete;
  ~CodeReplacer();

  // Begins to look through a file whose code will be wanted.
  void prepare(int fd);
  // The file had so many links before something that may have made another one, which changes the
  // file's times and nothing else.
  void note_link(int fd, std::uint64_t links_before);

  // Opens a mapped file; without a descriptor where that cannot be done.
  using OpenFile = std::function<ScopedFd(const process::ProcMapping&)>;
  // Told of each replacement: where two bytes were overwritten.
  using Replaced = std::function<void(std::uint64_t address)>;

  // For the executable mappings within [start, end) of the process that `memory` is of. Those that
  // `space` has there already are kept where they are still in memory, and forgotten where not.
  // Throws Error.
  void replace(pid_t tid, process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end,
               ReplacedInstructions& space, const OpenFile& open, const Replaced& replaced);

  // The same for pages [start, end) of memory that the program makes code in, whatever the kernel
  // has been told of them: an instruction begins at `at`, or where that lies elsewhere, at `start`.
  void replace_made(process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end,
                    std::uint64_t at, ReplacedInstructions& space, const Replaced& replaced);

  // Where the file sets the numbers of calls that need no stop; remembered too. Throws Error.
  const std::vector<buffer::CallSite>& call_sites(int fd);

private:
  using FileKey = std::tuple<std::uint64_t, std::uint64_t, std::int64_t, std::int64_t>;

  class Search;
  // What is known of a file, or found out at the moment.
  struct KnownFile {
    std::int64_t changed_at = 0; // as stat(2) has it, in nanoseconds
    std::shared_ptr<const FileCode> code;
    std::shared_ptr<Search> search;
    trace::FileCache::Key key; // of the search's result
  };

  void look_up(int fd, KnownFile& known);
  KnownFile* known_file(int fd);
  std::shared_ptr<const FileCode> file_code(int fd);
  bool replace_in_file(process::RemoteMemory& memory, const process::ProcMapping& mapping,
                       std::uint64_t start, std::uint64_t end, ReplacedInstructions& space,
                       const OpenFile& open, const Replaced& replaced);
  void replace_in_memory(pid_t tid, process::RemoteMemory& memory,
                         const process::ProcMapping& mapping, std::uint64_t start,
                         std::uint64_t end, ReplacedInstructions& space, const Replaced& replaced);
  static void forget_lost(process::RemoteMemory& memory, std::uint64_t start, std::uint64_t end,
                          ReplacedInstructions& space);
  void overwrite(process::RemoteMemory& memory, std::uint64_t address, const TrappedCode& code,
                 ReplacedInstructions& space, const Replaced& replaced);
  // Of a file, by ascending address, and within a page's length: those that are there.
  using Found = std::pair<std::uint64_t, const FoundInstruction*>;
  void overwrite(process::RemoteMemory& memory, std::span<const Found> found,
                 ReplacedInstructions& space, const Replaced& replaced);
  void tell(const std::string& where, std::uint64_t place, const TrappedCode& code,
            const char* why);

  std::function<bool(schema::TrappedInstruction)> sees_;
  std::function<void(const std::string&)> notice_;
  bool modest_;
  bool seen_too_;
  Background& background_;
  const trace::FileCache& cache_;
  std::map<FileKey, KnownFile> files_;
  std::set<std::pair<std::string, schema::TrappedInstruction>> told_;
};

} // namespace rrpcp::replay
