// From a checkpoint to core files.

#include "base/bytes.h"
#include "container/kj_errors.h"
#include "core/core_notes.h"
#include "core/core_plan.h"
#include "rrpcp/error.h"
#include "rrpcp/interop/core_file.h"
#include "rrpcp/interop/stream_pages.h"
#include "store/atomic_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

constexpr std::uint64_t kWrittenBlock = std::uint64_t{1} << 20;

// Random access to the file that is written; what is not written stays a hole.
class CoreOutput {
public:
  CoreOutput(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  void write(std::uint64_t offset, std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n < 0) {
        throw system_error(errno, "cannot write").in_file(path_).at(offset);
      }
      offset += static_cast<std::uint64_t>(n);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }

  void set_length(std::uint64_t length) const {
    if (length > static_cast<std::uint64_t>(INT64_MAX) ||
        ::ftruncate(fd_, static_cast<off_t>(length)) != 0) {
      throw system_error(length > static_cast<std::uint64_t>(INT64_MAX) ? EFBIG : errno,
                         "cannot make the file " + std::to_string(length) + " bytes long")
          .in_file(path_);
    }
  }

private:
  int fd_;
  std::string path_;
};

// The structures of elf(5) of both classes.
struct Class32 {
  using Ehdr = Elf32_Ehdr;
  using Phdr = Elf32_Phdr;
  using Shdr = Elf32_Shdr;
};
struct Class64 {
  using Ehdr = Elf64_Ehdr;
  using Phdr = Elf64_Phdr;
  using Shdr = Elf64_Shdr;
};

struct Placed {
  CorePiece piece;
  std::uint64_t offset;
};

struct Frame {
  std::vector<std::byte> head; // headers and notes
  std::vector<Placed> placed;
  std::vector<std::byte> tail; // section headers, where the first says how many segments there are
  std::uint64_t tail_offset = 0;
  std::uint64_t length = 0;
};

// elf(5): with PN_XNUM segments or more their number is in the first section header.
template <typename Class>
Frame lay_out(const CoreLayout& layout, const CorePlan& plan, std::span<const std::byte> notes,
              std::uint64_t page_size) {
  using Ehdr = typename Class::Ehdr;
  using Phdr = typename Class::Phdr;
  using Shdr = typename Class::Shdr;
  using Offset = decltype(Phdr::p_offset);
  const auto narrow = [](std::uint64_t value) {
    if (value > Offset(-1)) {
      throw Error(ErrorCode::kLimit, "the memory is too much for a core of 32 bits");
    }
    return static_cast<Offset>(value);
  };
  Frame frame;
  const std::uint64_t count = plan.pieces.size() + 1;
  if (count > UINT32_MAX) {
    throw Error(ErrorCode::kLimit, "a core cannot have " + std::to_string(count) + " segments");
  }
  const bool extended = count >= PN_XNUM;
  const std::uint64_t notes_offset = sizeof(Ehdr) + count * sizeof(Phdr);
  std::uint64_t offset = align_up(notes_offset + notes.size(), page_size);

  std::vector<Phdr> segments;
  segments.reserve(count);
  Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = narrow(notes_offset);
  note.p_filesz = narrow(notes.size());
  note.p_align = 4;
  segments.push_back(note);
  for (const CorePiece& piece : plan.pieces) {
    const std::uint64_t length = piece.end - piece.start;
    Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_flags = piece.flags;
    segment.p_offset = narrow(offset);
    segment.p_vaddr = narrow(piece.start);
    segment.p_filesz = narrow(piece.stored ? length : 0);
    segment.p_memsz = narrow(length);
    segment.p_align = narrow(page_size);
    segments.push_back(segment);
    if (piece.stored) {
      frame.placed.push_back({piece, offset});
      offset += length;
    }
  }
  frame.tail_offset = offset;
  frame.length = offset;

  Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = layout.elf_class;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = layout.machine;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(Ehdr);
  header.e_ehsize = sizeof(Ehdr);
  header.e_phentsize = sizeof(Phdr);
  header.e_phnum = static_cast<Elf32_Half>(extended ? PN_XNUM : count);
  if (extended) {
    // eu-readelf looks for notes in sections alone where there are sections.
    static constexpr char kNames[] = "\0.note\0.shstrtab";
    std::array<Shdr, 3> sections{};
    sections[0].sh_type = SHT_NULL;
    sections[0].sh_info = static_cast<Elf32_Word>(count);
    sections[1].sh_name = 1;
    sections[1].sh_type = SHT_NOTE;
    sections[1].sh_offset = narrow(notes_offset);
    sections[1].sh_size = narrow(notes.size());
    sections[1].sh_addralign = 4;
    sections[2].sh_name = 7;
    sections[2].sh_type = SHT_STRTAB;
    sections[2].sh_offset = narrow(offset + sizeof sections);
    sections[2].sh_size = sizeof kNames;
    sections[2].sh_addralign = 1;
    header.e_shoff = narrow(offset);
    header.e_shentsize = sizeof(Shdr);
    header.e_shnum = sections.size();
    header.e_shstrndx = 2;
    const auto table_of_sections = std::as_bytes(std::span(sections));
    frame.tail.assign(table_of_sections.begin(), table_of_sections.end());
    const auto names = std::as_bytes(std::span(kNames));
    frame.tail.insert(frame.tail.end(), names.begin(), names.end());
    frame.length += frame.tail.size();
  }
  const auto head = std::as_bytes(std::span(&header, 1));
  frame.head.assign(head.begin(), head.end());
  const auto table = std::as_bytes(std::span(segments));
  frame.head.insert(frame.head.end(), table.begin(), table.end());
  frame.head.insert(frame.head.end(), notes.begin(), notes.end());
  return frame;
}

class CoreWriter {
public:
  CoreWriter(const CheckpointReader& checkpoint, const CoreOptions& options)
      : checkpoint_(checkpoint), options_(options), state_(checkpoint.state()),
        page_size_(page_size_of(state_)), stream_(checkpoint), files_(state_, options.files) {}

  CoreResult write(schema::Process::Reader process, unsigned index, const std::string& path) {
    CoreProcess core = core_process(process, index);
    CorePlan plan = plan_core(state_, core.space, options_.file_pages, files_);
    const auto notes = core_notes(core, plan.files, page_size_, plan.zero_ranges);
    const Frame frame = core.layout->word == 8
                            ? lay_out<Class64>(*core.layout, plan, notes, page_size_)
                            : lay_out<Class32>(*core.layout, plan, notes, page_size_);

    const std::size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "."
                                  : slash == 0               ? "/"
                                                             : path.substr(0, slash);
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    struct stat status;
    if (name.empty() || name == "." || name == ".." ||
        (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))) {
      throw Error(ErrorCode::kInvalidArgument, "a core can only be written to a regular file")
          .in_file(path);
    }
    PendingFile file(directory);
    const CoreOutput output(file.fd(), path);
    output.set_length(frame.length);
    output.write(0, frame.head);
    copy(plan, frame, output);
    output.write(frame.tail_offset, frame.tail);
    file.sync();
    CoreResult result;
    if (::fstat(file.fd(), &status) == 0) {
      result.stored_bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    file.publish_replacing(name);
    result.path = path;
    result.pid = process.getPid();
    result.bytes = frame.length;
    result.segments = plan.pieces.size();
    result.threads = core.tasks.size();
    result.remarks = std::move(plan.remarks);
    return result;
  }

private:
  CoreProcess core_process(schema::Process::Reader process, unsigned index) {
    CoreProcess core;
    core.state = state_;
    core.process = process;
    // The one that ran when the state was taken, or that a signal ended.
    const schema::Session::Reader session = state_.getSession();
    const std::int32_t last = session.getLastContinuedTask().getTid();
    const std::int32_t current =
        checkpoint_.header().current_task != 0 ? checkpoint_.header().current_task : last;
    for (const schema::Task::Reader task : state_.getTasks()) {
      if (task.getProcess() == index) {
        core.tasks.push_back(task);
      }
    }
    if (core.tasks.empty()) {
      throw Error(ErrorCode::kDamaged,
                  "process " + std::to_string(process.getPid()) + " has no threads")
          .in_file(checkpoint_.name());
    }
    const auto first =
        std::find_if(core.tasks.begin(), core.tasks.end(),
                     [&](schema::Task::Reader task) { return task.getTid() == current; });
    if (first != core.tasks.end()) {
      std::rotate(core.tasks.begin(), first, first + 1);
      // Only a core says of its signal that it ended the process.
      if (state_.getProducer() == "org.rrpcp.core" && state_.hasSession() && current == last) {
        core.signal = session.getLastSignal().getSignal();
      }
    }
    const std::uint32_t space = core.tasks.front().getAddressSpace();
    if (space >= state_.getAddressSpaces().size()) {
      throw Error(ErrorCode::kDamaged, "a thread refers to an address space that does not exist")
          .in_file(checkpoint_.name());
    }
    core.space = state_.getAddressSpaces()[space];
    const std::uint16_t machine =
        core.space.getMachine() != 0 ? core.space.getMachine() : state_.getMachine();
    const std::uint8_t elf_class =
        core.space.getElfClass() != 0 ? core.space.getElfClass() : state_.getElfClass();
    core.layout =
        state_.getDataEncoding() == ELFDATA2LSB ? find_core_layout(machine, elf_class) : nullptr;
    if (core.layout == nullptr) {
      throw Error(ErrorCode::kUnsupportedState, "cores of machine " + std::to_string(machine) +
                                                    ", ELF class " + std::to_string(elf_class) +
                                                    " are not known here")
          .in_file(checkpoint_.name());
    }
    return core;
  }

  void copy(const CorePlan& plan, const Frame& frame, const CoreOutput& output) {
    std::uint64_t total = 0;
    for (const CoreCopy& part : plan.copies) {
      total += part.pages * page_size_;
    }
    std::uint64_t done = 0;
    std::vector<std::byte> block;
    auto placed = frame.placed.begin();
    for (const CoreCopy& part : plan.copies) {
      while (placed->piece.end <= part.address) {
        ++placed;
      }
      std::uint64_t offset = placed->offset + (part.address - placed->piece.start);
      for (std::uint64_t page = 0; page < part.pages;) {
        std::span<const std::byte> bytes;
        if (part.object == schema::NO_INDEX) {
          bytes = stream_.pages(part.base, part.first + page, part.pages - page);
        } else {
          block.resize(
              std::min((part.pages - page) * page_size_, std::max(kWrittenBlock, page_size_)));
          files_.find(part.object)->read(part.first + page * page_size_, block);
          bytes = block;
        }
        if (!is_zero(bytes)) {
          output.write(offset, bytes);
        }
        offset += bytes.size();
        page += bytes.size() / page_size_;
        done += bytes.size();
        if (options_.progress) {
          options_.progress(done, total);
        }
      }
    }
  }

  const CheckpointReader& checkpoint_;
  const CoreOptions& options_;
  schema::State::Reader state_;
  std::uint64_t page_size_;
  StreamPages stream_;
  CoreFiles files_;
};

} // namespace

std::vector<CoreResult> write_cores(const CheckpointReader& checkpoint, const std::string& path,
                                    const CoreOptions& options) {
  return with_kj_errors(checkpoint.name(), [&] {
    CoreWriter writer(checkpoint, options);
    const auto processes = checkpoint.state().getProcesses();
    const bool several = processes.size() > 1 && !options.process;
    std::vector<CoreResult> results;
    for (unsigned i = 0; i < processes.size(); ++i) {
      const std::int32_t pid = processes[i].getPid();
      if (options.process && *options.process != pid) {
        continue;
      }
      try {
        results.push_back(
            writer.write(processes[i], i, several ? path + "." + std::to_string(pid) : path));
      } catch (const Error& error) {
        throw error.file().empty() ? error.in_file(checkpoint.name()) : error;
      }
    }
    if (results.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  options.process ? "there is no process " + std::to_string(*options.process)
                                  : "the checkpoint has no processes")
          .in_file(checkpoint.name());
    }
    return results;
  });
}

} // namespace rrpcp
