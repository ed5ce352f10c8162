#include "replay/engine/code_replacer.h"

#include "base/file.h"
#include "process/page_scan.h"
#include "replay/engine/code_functions.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

// Bytes of a segment that are looked through at once; functions are not larger.
constexpr std::uint64_t kMostCode = std::uint64_t{1} << 30;

std::vector<std::byte> read_segment(int fd, const CodeFunctions::Segment& segment) {
  std::vector<std::byte> bytes(std::min(segment.size, kMostCode));
  bytes.resize(read_at(fd, bytes, segment.offset, "code"));
  return bytes;
}

} // namespace

std::shared_ptr<const CodeReplacer::FileCode> CodeReplacer::file_code(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    return std::make_shared<FileCode>();
  }
  const FileKey key{status.st_dev, status.st_ino, status.st_size,
                    status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
                    status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
  std::shared_ptr<const FileCode>& known = files_[key];
  if (known) {
    return known;
  }
  auto code = std::make_shared<FileCode>();
  if (const std::optional<CodeFunctions> functions = CodeFunctions::read(fd)) {
    code->elf = true;
    for (const CodeFunctions::Segment& segment : functions->executable()) {
      const std::vector<std::byte> bytes = read_segment(fd, segment);
      ScannedCode found =
          scan_code(bytes, segment.offset, [&](std::uint64_t offset) -> std::optional<CodeStart> {
            if (const std::optional<CodeFunctions::Bounds> bounds = functions->find(offset)) {
              return CodeStart{bounds->begin, true};
            }
            if (functions->is_data(offset)) {
              return std::nullopt;
            }
            return CodeStart{functions->code_start(offset), false};
          });
      std::move(found.certain.begin(), found.certain.end(),
                std::back_inserter(code->found.certain));
      std::move(found.uncertain.begin(), found.uncertain.end(),
                std::back_inserter(code->found.uncertain));
      const std::vector<buffer::CallSite> calls =
          buffer::find_call_sites(bytes, segment.offset, *functions);
      code->calls.insert(code->calls.end(), calls.begin(), calls.end());
    }
  }
  known = code;
  return known;
}

const std::vector<buffer::CallSite>& CodeReplacer::call_sites(int fd) {
  return file_code(fd)->calls; // kept as long as this object
}

// Those that the program has overwritten.
void CodeReplacer::forget_lost(process::RemoteMemory& memory, std::uint64_t start,
                               std::uint64_t end, ReplacedInstructions& space) {
  std::vector<std::uint64_t> lost;
  space.visit(start, end, [&](std::uint64_t address, const ReplacedInstructions::Entry&) {
    std::array<std::byte, 2> bytes{};
    if (memory.read_some(address, bytes) != bytes.size() || bytes != kUndefinedInstruction) {
      lost.push_back(address);
    }
  });
  for (const std::uint64_t address : lost) {
    space.forget(address, address + 1);
  }
}

void CodeReplacer::replace(pid_t tid, process::RemoteMemory& memory, std::uint64_t start,
                           std::uint64_t end, ReplacedInstructions& space, const OpenFile& open,
                           const Replaced& replaced) {
  forget_lost(memory, start, end, space);
  for (const process::ProcMapping& mapping : process::read_mappings(tid)) {
    const std::uint64_t from = std::max(mapping.start, start);
    const std::uint64_t to = std::min(mapping.end, end);
    if (from >= to || (mapping.protection & PROT_EXEC) == 0 || mapping.name == "[vsyscall]") {
      continue;
    }
    if (((mapping.protection & PROT_WRITE) != 0 || mapping.shared) &&
        (!sees_(schema::TrappedInstruction::RDTSC) ||
         (modest_ && !sees_(schema::TrappedInstruction::CPUID)))) {
      notice_(mapping.shared
                  ? "the program executes memory that it has mapped shared: RDTSC, CPUID and their "
                    "like in code that it makes there later are not recorded"
                  : "the program has memory that is writable and executable at once: RDTSC, CPUID "
                    "and their like in code that it makes there are not recorded");
    }
    if (mapping.inode == 0 || mapping.shared ||
        !replace_in_file(memory, mapping, from, to, space, open, replaced)) {
      replace_in_memory(tid, memory, mapping, from, to, space, replaced);
    }
  }
}

// False where the mapping is not of a program file.
bool CodeReplacer::replace_in_file(process::RemoteMemory& memory,
                                   const process::ProcMapping& mapping, std::uint64_t start,
                                   std::uint64_t end, ReplacedInstructions& space,
                                   const OpenFile& open, const Replaced& replaced) {
  const ScopedFd file = open(mapping);
  if (!file) {
    return false;
  }
  const std::shared_ptr<const FileCode> code = file_code(file.get());
  if (!code->elf) {
    return false;
  }
  const std::uint64_t first = mapping.offset + (start - mapping.start);
  const std::uint64_t last = mapping.offset + (end - mapping.start);
  auto each = [&](const std::vector<FoundInstruction>& list, auto&& found) {
    auto at = std::lower_bound(list.begin(), list.end(), first,
                               [](const FoundInstruction& candidate, std::uint64_t wanted) {
                                 return candidate.offset < wanted;
                               });
    for (; at != list.end() && at->offset < last; ++at) {
      found(mapping.start + (at->offset - mapping.offset), *at);
    }
  };
  each(code->found.certain, [&](std::uint64_t address, const FoundInstruction& instruction) {
    std::array<std::byte, kLongestInstruction> bytes{};
    const std::size_t length = memory.read_some(address, bytes);
    if (decode_trapped(std::span(bytes).first(length)) == instruction.code) {
      overwrite(memory, address, instruction.code, space, replaced);
    }
  });
  each(code->found.uncertain, [&](std::uint64_t, const FoundInstruction& instruction) {
    tell(mapping.name, instruction.offset, instruction.code, "could not be told from data");
  });
  return true;
}

void CodeReplacer::replace_in_memory(pid_t tid, process::RemoteMemory& memory,
                                     const process::ProcMapping& mapping, std::uint64_t start,
                                     std::uint64_t end, ReplacedInstructions& space,
                                     const Replaced& replaced) {
  std::vector<std::byte> bytes;
  const std::string where = mapping.name.empty() ? "code that the program made" : mapping.name;
  process::PageScanner(tid).scan(start, end, [&](const process::TouchedRange& range) {
    bytes.resize(std::min(range.end - range.start, kMostCode));
    bytes.resize(memory.read_some(range.start, bytes));
    const ScannedCode found = scan_code(bytes, range.start, [&](std::uint64_t) {
      return CodeStart{range.start, false};
    });
    for (const FoundInstruction& instruction : found.certain) {
      if (mapping.shared) {
        tell(where, instruction.offset, instruction.code, "is in memory that is mapped shared");
      } else {
        overwrite(memory, instruction.offset, instruction.code, space, replaced);
      }
    }
    for (const FoundInstruction& instruction : found.uncertain) {
      tell(where, instruction.offset, instruction.code, "could not be told from data");
    }
  });
}

void CodeReplacer::replace_made(process::RemoteMemory& memory, std::uint64_t start,
                                std::uint64_t end, std::uint64_t at, ReplacedInstructions& space,
                                const Replaced& replaced) {
  forget_lost(memory, start, end, space);
  std::vector<std::byte> bytes(end - start + kLongestInstruction - 1); // one may cross the end
  bytes.resize(memory.read_some(start, bytes));
  const ScannedCode found = scan_code(bytes, start, [&](std::uint64_t offset) {
    return CodeStart{start <= at && at <= offset ? at : start, false};
  });
  for (const FoundInstruction& instruction : found.certain) {
    if (instruction.offset < end) {
      overwrite(memory, instruction.offset, instruction.code, space, replaced);
    }
  }
  for (const FoundInstruction& instruction : found.uncertain) {
    tell("code that the program made", instruction.offset, instruction.code,
         "could not be told from data");
  }
}

void CodeReplacer::overwrite(process::RemoteMemory& memory, std::uint64_t address,
                             const TrappedCode& code, ReplacedInstructions& space,
                             const Replaced& replaced) {
  if (!seen_too_ && sees_(code.kind)) {
    return;
  }
  ReplacedInstructions::Entry entry{code, {}};
  memory.read(address, entry.original);
  memory.write(address, kUndefinedInstruction);
  space.add(address, entry);
  replaced(address);
}

void CodeReplacer::tell(const std::string& where, std::uint64_t place, const TrappedCode& code,
                        const char* why) {
  if (sees_(code.kind) || !told_.emplace(where, code.kind).second) {
    return;
  }
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(place));
  notice_(where + " may have an instruction that cannot be recorded, " +
          std::string(instruction_name(code.kind)) + " at " + text + ", which " + why +
          ": if the program executes it, the replay differs");
}

} // namespace rrpcp::replay
