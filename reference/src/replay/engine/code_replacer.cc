#include "replay/engine/code_replacer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/page.h"
#include "process/page_scan.h"
#include "replay/engine/code_functions.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <future>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

// Bytes of a segment that are looked through at once; functions are not larger.
constexpr std::uint64_t kMostCode = std::uint64_t{1} << 30;

struct Bytes {
  std::unique_ptr<std::byte[]> data;
  std::size_t size = 0;
};

Bytes read_segment(int fd, const CodeFunctions::Segment& segment) {
  const std::size_t most = std::min(segment.size, kMostCode);
  Bytes bytes{std::make_unique_for_overwrite<std::byte[]>(most), 0};
  bytes.size = read_at(fd, std::span(bytes.data.get(), most), segment.offset, "code");
  return bytes;
}

} // namespace

// Looking through a file, by several threads: each takes a part of it after another. The file and
// what was read of it are let go with the last part: most files are mapped for their data alone,
// and nobody ever asks for what was found in their code.
class CodeReplacer::Search : public std::enable_shared_from_this<Search> {
public:
  explicit Search(ScopedFd file) : file_(std::make_shared<const ScopedFd>(std::move(file))) {}

  void take_part() {
    const std::shared_ptr<const ScopedFd> file = this->file();
    if (!file) {
      return; // all was looked through
    }
    const std::optional<CodeFunctions> functions = CodeFunctions::read(file->get());
    if (!functions) {
      let_file_go();
      return;
    }
    std::call_once(read_, [&] { read(file->get(), *functions); });
    if (parts_.empty()) {
      let_file_go();
    }
    for (std::size_t i = next_++; i < parts_.size(); i = next_++) {
      look_through(*functions, parts_[i]);
      if (++looked_through_ == parts_.size()) {
        segments_ = std::vector<Bytes>();
        let_file_go();
      }
    }
  }

  void give_to(Background& background) {
    coming_ = background.run([self = shared_from_this()] { self->take_part(); });
  }

  // Waits for all that take part.
  std::shared_ptr<const FileCode> result() {
    take_part();
    if (coming_.valid()) {
      coming_.get();
    }
    auto all = std::make_shared<FileCode>();
    all->elf = elf_;
    const auto append = [](auto& to, const auto& from) {
      to.insert(to.end(), from.begin(), from.end());
    };
    for (const Part& part : parts_) {
      append(all->found.certain, part.found.certain);
      append(all->found.uncertain, part.found.uncertain);
      append(all->calls, part.calls);
    }
    return all;
  }

private:
  struct Part {
    std::size_t segment = 0;
    std::size_t from = 0;
    std::size_t to = 0;
    ScannedCode found;
    std::vector<buffer::CallSite> calls;
  };

  std::shared_ptr<const ScopedFd> file() {
    const std::lock_guard lock(file_mutex_);
    return file_;
  }

  // Whoever reads it still has it.
  void let_file_go() {
    const std::lock_guard lock(file_mutex_);
    file_ = nullptr;
  }

  void read(int fd, const CodeFunctions& functions) {
    elf_ = true;
    for (const CodeFunctions::Segment& segment : functions.executable()) {
      segments_.push_back(read_segment(fd, segment));
      for (std::size_t at = 0; at < segments_.back().size; at += kPart) {
        parts_.push_back({segments_.size() - 1, at, at + kPart, {}, {}});
      }
    }
  }

  void look_through(const CodeFunctions& functions, Part& part) const {
    const Bytes& read = segments_[part.segment];
    const std::span<const std::byte> bytes(read.data.get(), read.size);
    const std::uint64_t offset = functions.executable()[part.segment].offset;
    part.found = scan_code(
        bytes, offset,
        [&](std::uint64_t place) -> std::optional<CodeStart> {
          if (const std::optional<CodeFunctions::Bounds> bounds = functions.find(place)) {
            return CodeStart{bounds->begin, true};
          }
          if (functions.is_data(place)) {
            return std::nullopt;
          }
          return CodeStart{functions.code_start(place), false};
        },
        part.from, part.to);
    part.calls = buffer::find_call_sites(bytes, offset, functions, part.from, part.to);
  }

  static constexpr std::size_t kPart = std::size_t{1} << 17;

  std::mutex file_mutex_;
  std::shared_ptr<const ScopedFd> file_; // null once all was looked through
  std::once_flag read_;
  bool elf_ = false;
  std::vector<Bytes> segments_;
  std::vector<Part> parts_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> looked_through_{0};
  std::future<void> coming_;
};

CodeReplacer::CodeReplacer(std::function<bool(schema::TrappedInstruction)> sees,
                           std::function<void(const std::string&)> notice, bool modest,
                           bool seen_too, Background& background, const trace::FileCache& cache)
    : sees_(std::move(sees)), notice_(std::move(notice)), modest_(modest), seen_too_(seen_too),
      background_(background), cache_(cache) {}

CodeReplacer::~CodeReplacer() = default;

// Null where nothing can be known.
CodeReplacer::KnownFile* CodeReplacer::known_file(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    return nullptr;
  }
  KnownFile& known =
      files_[{status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim)}];
  if (const std::int64_t changed = nanoseconds(status.st_ctim); known.changed_at != changed) {
    known = KnownFile{changed, nullptr, nullptr, {}};
  }
  return &known;
}

void CodeReplacer::note_link(int fd, std::uint64_t links_before) {
  struct stat status;
  if (::fstat(fd, &status) == 0 && status.st_nlink == links_before + 1) {
    const auto known =
        files_.find({status.st_dev, status.st_ino, status.st_size, nanoseconds(status.st_mtim)});
    if (known != files_.end()) {
      known->second.changed_at = nanoseconds(status.st_ctim);
    }
  }
}

// Where it was looked through before, that says it; else it will be looked through.
void CodeReplacer::look_up(int fd, KnownFile& known) {
  struct stat status;
  if (::fstat(fd, &status) == 0) {
    known.key = cache_.key(fd, status);
    if (std::optional<FileCode> code = find_code(cache_, known.key)) {
      known.code = std::make_shared<const FileCode>(*std::move(code));
      return;
    }
  }
  if (ScopedFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); copy) {
    known.search = std::make_shared<Search>(std::move(copy));
  }
}

void CodeReplacer::prepare(int fd) {
  KnownFile* known = known_file(fd);
  if (known == nullptr || known->code || known->search) {
    return;
  }
  look_up(fd, *known);
  if (known->search) {
    known->search->give_to(background_);
  }
}

std::shared_ptr<const FileCode> CodeReplacer::file_code(int fd) {
  KnownFile* known = known_file(fd);
  if (known == nullptr) {
    return std::make_shared<FileCode>();
  }
  if (!known->code && !known->search) {
    look_up(fd, *known);
  }
  if (!known->code && known->search) {
    known->code = std::exchange(known->search, nullptr)->result();
    if (known->key) {
      background_.run([&cache = cache_, key = std::move(known->key), code = known->code] {
        keep_code(cache, key, *code);
      });
    }
  }
  if (!known->code) {
    known->code = std::make_shared<FileCode>();
  }
  return known->code;
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
  for (const process::ProcMapping& mapping : process::read_mappings(tid, start, end)) {
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
  // Those that lie together at once: a call of the kernel costs as much as all that they need.
  std::vector<std::pair<std::uint64_t, const FoundInstruction*>> together;
  const auto overwrite_those = [&] {
    if (!together.empty()) {
      overwrite(memory, together, space, replaced);
      together.clear();
    }
  };
  each(code->found.certain, [&](std::uint64_t address, const FoundInstruction& instruction) {
    if (!together.empty() && address - together.front().first >= kPage) {
      overwrite_those();
    }
    together.emplace_back(address, &instruction);
  });
  overwrite_those();
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

void CodeReplacer::overwrite(process::RemoteMemory& memory, std::span<const Found> found,
                             ReplacedInstructions& space, const Replaced& replaced) {
  const std::uint64_t start = found.front().first;
  std::array<std::byte, kPage + kLongestInstruction> room;
  std::span<std::byte> bytes =
      std::span(room).first(found.back().first - start + kLongestInstruction);
  bytes = bytes.first(memory.read_some(start, bytes));
  std::optional<std::size_t> from;
  std::size_t to = 0;
  for (const auto& [address, instruction] : found) {
    const std::size_t at = std::min<std::size_t>(address - start, bytes.size());
    const std::span<std::byte> rest =
        bytes.subspan(at, std::min<std::size_t>(bytes.size() - at, kLongestInstruction));
    if (decode_trapped(rest) != instruction->code ||
        (!seen_too_ && sees_(instruction->code.kind))) {
      continue; // the program has changed it, or need not
    }
    ReplacedInstructions::Entry entry{instruction->code, {}};
    std::copy_n(rest.begin(), entry.original.size(), entry.original.begin());
    std::copy(kUndefinedInstruction.begin(), kUndefinedInstruction.end(), rest.begin());
    space.add(address, entry);
    replaced(address);
    from = from.value_or(at);
    to = at + entry.original.size();
  }
  if (from) {
    memory.write(start + *from, bytes.subspan(*from, to - *from));
  }
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
