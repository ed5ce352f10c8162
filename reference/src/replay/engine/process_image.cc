#include "replay/engine/process_image.h"

#include "base/scoped_fd.h"
#include "process/capture/state_collector.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/instruction_traps.h"
#include "rrpcp/error.h"
#include "rrpcp/output.h"
#include "rrpcp/writer.h"
#include "trace/private_entries.h"

#include <array>
#include <capnp/message.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <span>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kUserCodeSegment64 = 0x33; // asm/segment.h
constexpr std::uint64_t kMaxWords = 1 << 20;

// Words of a program's memory, of which many are read at once.
class WordReader {
public:
  explicit WordReader(process::RemoteMemory& memory) : memory_(memory) {}

  std::uint64_t at(std::uint64_t address) {
    if (address < start_ || address - start_ >= 8 * count_ || (address - start_) % 8 != 0) {
      start_ = address;
      count_ = memory_.read_some(address, std::as_writable_bytes(std::span(words_))) / 8;
    }
    return count_ != 0 ? words_[(address - start_) / 8]
                       : memory_.read_value<std::uint64_t>(address);
  }

private:
  process::RemoteMemory& memory_;
  std::array<std::uint64_t, 512> words_;
  std::uint64_t start_ = 0;
  std::uint64_t count_ = 0;
};

// Address of the auxiliary vector behind the arguments and the environment (System V ABI, AMD64
// supplement, "Process Initialization").
std::uint64_t auxv_address(WordReader& words, std::uint64_t stack_pointer) {
  std::uint64_t at = stack_pointer + 8 * (words.at(stack_pointer) + 2);
  for (std::uint64_t i = 0; i < kMaxWords; ++i, at += 8) {
    if (words.at(at) == 0) {
      return at + 8;
    }
  }
  throw Error(ErrorCode::kInternal, "the new program's stack has no auxiliary vector");
}

// Hides the functions of the vDSO `image`: its symbols are undefined then, and whoever looks for
// one makes the system call. False where it is not what a kernel maps.
bool hide_functions(std::span<std::byte> image) {
  const auto read = [&](auto& value, std::uint64_t offset) {
    if (offset > image.size() || image.size() - offset < sizeof value) {
      return false;
    }
    std::memcpy(&value, image.data() + offset, sizeof value);
    return true;
  };
  Elf64_Ehdr header;
  if (!read(header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return false;
  }
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    if (!read(section, header.e_shoff + i * sizeof section)) {
      return false;
    }
    if (section.sh_type != SHT_DYNSYM) {
      continue;
    }
    Elf64_Sym symbol;
    for (std::uint64_t at = 0; at < section.sh_size; at += sizeof symbol) {
      if (!read(symbol, section.sh_offset + at)) {
        return false;
      }
      if (symbol.st_shndx != SHN_ABS) { // the names of versions stay
        symbol.st_shndx = SHN_UNDEF;
        symbol.st_value = 0;
        symbol.st_size = 0;
        std::memcpy(image.data() + section.sh_offset + at, &symbol, sizeof symbol);
      }
    }
    return true;
  }
  return false;
}

// Takes the address of a vDSO that is not there out of the auxiliary vector, and features that the
// program is not told.
void change_auxv(process::RemoteMemory& memory, std::uint64_t stack_pointer,
                 const CpuidModel& model, bool vdso) {
  auto put = [&](std::uint64_t address, std::uint64_t value) {
    memory.write(address, std::as_bytes(std::span(&value, 1)));
  };
  WordReader words(memory);
  std::uint64_t at = auxv_address(words, stack_pointer);
  for (std::uint64_t i = 0; i < kMaxWords; ++i, at += 16) {
    switch (words.at(at)) {
    case AT_NULL:
      return;
    case AT_SYSINFO_EHDR:
      if (!vdso) {
        put(at, AT_IGNORE);
      }
      break;
    case AT_HWCAP: // edx of leaf 1
      if (!model.native()) {
        put(at + 8, model.answer(1, 0).edx);
      }
      break;
    case AT_HWCAP2: // RING3MWAIT, FSGSBASE
      if (!model.native()) {
        put(at + 8, 0);
      }
      break;
    default:
      break;
    }
  }
}

// The registers of a new program; throws where it is one of 32 bits.
user_regs_struct registers_of(process::Tracee& task) {
  const Error refusal =
      Error(ErrorCode::kUnsupportedState, "32-bit programs cannot be recorded")
          .in_file(process::try_read_link(process::proc_path(task.tid(), "exe")).value_or(""));
  std::optional<user_regs_struct> registers;
  try {
    registers = task.registers();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupportedState) {
      throw;
    }
  }
  if (!registers || registers->cs != kUserCodeSegment64) {
    throw refusal;
  }
  return *registers;
}

} // namespace

void prepare_program(process::Tracee& task, const InstructionTraps& traps,
                     const CpuidModel& model) {
  const user_regs_struct registers = registers_of(task);
  const std::vector<process::ProcMapping> mappings = process::read_mappings(task.tid());
  process::RemoteMemory memory(task.tid());
  // Signals that come meanwhile wait until the program runs.
  const std::uint64_t mask = task.signal_mask();
  task.set_signal_mask(~std::uint64_t{0});
  SyscallSite site(task, mappings);
  InjectedCalls calls(task, site.address());
  if (traps.counter) {
    calls.require("trapping the time-stamp counter", SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0,
                  0);
  }
  if (traps.cpuid) {
    calls.require("trapping CPUID", SYS_arch_prctl, kSetCpuid, 0);
  }
  std::optional<process::ProcMapping> vdso;
  for (const process::ProcMapping& mapping : mappings) {
    if (mapping.name == "[vdso]") {
      vdso = mapping; // last: the instruction is in it
    } else if (mapping.name.starts_with("[vvar")) {
      calls.require("unmapping the vDSO's data", SYS_munmap, mapping.start, mapping.length());
    }
  }
  bool shown = false;
  if (vdso) {
    std::vector<std::byte> image(vdso->length());
    memory.read(vdso->start, image);
    shown = hide_functions(image);
    if (shown) {
      calls.require("replacing the vDSO", SYS_mmap, vdso->start, vdso->length(), PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~std::uint64_t{0}, 0);
      memory.write(vdso->start, image);
    } else {
      calls.require("unmapping the vDSO", SYS_munmap, vdso->start, vdso->length());
    }
  }
  site.close();
  change_auxv(memory, registers.rsp, model, shown);
  user_regs_struct restored = registers;
  restored.orig_rax = ~std::uint64_t{0};
  task.set_registers(restored);
  task.stop();
  task.set_signal_mask(mask);
  if (calls.stop_discarded()) {
    ::syscall(SYS_tkill, task.tid(), SIGSTOP);
  }
}

void store_stack_limit(pid_t pid, schema::Process::Builder process) {
  rlimit limit{};
  if (::prlimit(pid, RLIMIT_STACK, nullptr, &limit) != 0) {
    return;
  }
  schema::ResourceLimit::Builder out = process.initResourceLimits(1)[0];
  out.setResource(RLIMIT_STACK);
  out.setSoft(limit.rlim_cur);
  out.setHard(limit.rlim_max);
}

namespace {

// A checkpoint that is being written.
struct Image {
  Image(const std::string& path, KeptFiles files, const trace::StandIns& names,
        const process::capture::CollectorOptions& options)
      : kept(std::move(files)), stand_ins(names), file(trace::create_private_file(path)),
        output(file.get(), path), collector(options) {}

  schema::State::Builder state() { return message.getRoot<schema::Manifest>().getState(); }

  // What needs the process no longer.
  void finish() {
    collector.build(0, state());
    restrict_state(state(), told.getRoot<schema::Cpu>().asReader());
    for (schema::MemoryObject::Builder object : state().getMemoryObjects()) {
      if (object.isFile()) {
        schema::FileIdentity::Builder identity = object.getFile();
        const auto copy = kept.find(std::string(
            reinterpret_cast<const char*>(identity.getPath().begin()), identity.getPath().size()));
        if (copy == kept.end()) {
          throw Error(ErrorCode::kInternal, "a file that the program has mapped was not kept");
        }
        const std::string kept_as = stand_ins.replaced(copy->second);
        identity.setPath({reinterpret_cast<const kj::byte*>(kept_as.data()), kept_as.size()});
        identity.setPathBase(schema::PathBase::TRACE);
      }
    }
    writer->finish(state(), message.getRoot<schema::Manifest>().initProvenance().asReader());
    writer.reset();
  }

  const KeptFiles kept;
  const trace::StandIns& stand_ins;
  capnp::MallocMessageBuilder message;
  capnp::MallocMessageBuilder told;
  ScopedFd file;
  Output output;
  process::capture::StateCollector collector;
  std::optional<CheckpointWriter> writer;
};

// Bytes of pages for which a writer has no threads: less than a chunk.
constexpr std::uint64_t kWithoutThreads = 240 << 10;

// Of a file, each is the range and the digest. Small ranges are read as fast.
process::capture::KnownDigests digests_in(const trace::FileCache& cache) {
  using Range = process::capture::ObjectRange;
  using trace::FileCache;
  constexpr std::uint64_t kWorth = 1 << 20; // bytes
  constexpr std::size_t kEach = 4;
  constexpr std::size_t kMostRanges = 16;
  const auto key_of = [&cache](int fd, const Range& range) {
    struct stat status;
    return range.length >= kWorth && ::fstat(fd, &status) == 0 ? cache.key(fd, status)
                                                               : FileCache::Key();
  };
  return {[&cache, key_of](int fd, const Range& range) -> std::optional<Digest128> {
            const auto words = cache.find(key_of(fd, range), FileCache::Kind::kRanges);
            for (std::size_t i = 0; words && i + kEach <= words->size(); i += kEach) {
              if ((*words)[i] == range.offset && (*words)[i + 1] == range.length) {
                return Digest128{.low = (*words)[i + 3], .high = (*words)[i + 2]};
              }
            }
            return std::nullopt;
          },
          [&cache, key_of](int fd, const Range& range, const Digest128& digest) {
            if (const FileCache::Key key = key_of(fd, range)) {
              FileCache::Words words =
                  cache.find(key, FileCache::Kind::kRanges).value_or(FileCache::Words());
              if (words.size() < kMostRanges * kEach) {
                words.insert(words.end(), {range.offset, range.length, digest.high, digest.low});
                cache.keep(key, FileCache::Kind::kRanges, words);
              }
            }
          }};
}

} // namespace

std::future<void> write_image(process::Tracee& task, const std::string& path,
                              schema::Cpu::Reader told, KeptFiles kept, Background& background,
                              const trace::StandIns& stand_ins, const trace::FileCache& cache) {
  // What it has open, and what confines it, is the recorder's business.
  process::capture::CollectorOptions options;
  options.supervised = true;
  options.executed = true;
  options.known_digests = digests_in(cache);
  auto image = std::make_shared<Image>(path, std::move(kept), stand_ins, options);
  image->told.setRoot(told);
  schema::State::Builder state = image->message.initRoot<schema::Manifest>().initState();
  process::capture::StateCollector& collector = image->collector;
  collector.collect_frozen({{task.tid(), {&task}, task.tid(), {task.tid()}}}, state);
  collector.refusals().throw_if_any(task.tid());
  collector.ask(0, task, state);
  collector.close(0);
  collector.examine();
  collector.refusals().throw_if_any(task.tid());
  const auto begin = [&] {
    image->writer.emplace(image->output, header_fields(state.asReader()),
                          WriterOptions{Profile::kFast, 1});
  };
  // (The threads of a writer run where it was made: where the background does.)
  if (collector.touched_bytes() > kWithoutThreads) {
    background.run(begin).get();
  } else {
    begin();
  }
  collector.write_pages(*image->writer, {});
  store_stack_limit(task.tid(), state.getProcesses()[0]);
  return background.run([image] { image->finish(); });
}

} // namespace rrpcp::replay
