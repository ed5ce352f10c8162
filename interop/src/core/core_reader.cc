#include "core/core_reader.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <map>
#include <optional>
#include <span>
#include <string_view>

namespace rrpcp {

namespace {

// Notes are held in memory: a thread has some 12 KiB of them, a file mapping some 100 bytes.
constexpr std::uint64_t kMaxNotes = std::uint64_t{1} << 30;

class Reader {
public:
  explicit Reader(const ByteSource& source) : source_(source) {}

  CoreContents read() {
    read_header();
    read_segments();
    for (const auto& [offset, length] : notes_) {
      read_notes(offset, length);
    }
    finish();
    return std::move(out_);
  }

private:
  Error damaged(const std::string& what) const {
    return Error(ErrorCode::kDamaged, what).in_file(source_.name());
  }

  template <typename T> T structure(std::uint64_t offset) const {
    T value;
    if (offset > source_.size() || source_.size() - offset < sizeof value) {
      throw damaged("the core ends before its headers do");
    }
    source_.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  void read_header() {
    std::array<unsigned char, EI_NIDENT> ident{};
    if (source_.size() >= sizeof ident) {
      source_.read(0, std::as_writable_bytes(std::span(ident)));
    }
    if (std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0) {
      throw Error(ErrorCode::kNotACheckpoint, "this is no ELF file").in_file(source_.name());
    }
    if (ident[EI_DATA] != ELFDATA2LSB) {
      throw Error(ErrorCode::kUnsupportedState, "cores of big-endian machines are not known here")
          .in_file(source_.name());
    }
    wide_ = ident[EI_CLASS] == ELFCLASS64;
    if (wide_) {
      take_header(structure<Elf64_Ehdr>(0), sizeof(Elf64_Phdr));
    } else if (ident[EI_CLASS] == ELFCLASS32) {
      take_header(structure<Elf32_Ehdr>(0), sizeof(Elf32_Phdr));
    } else {
      throw Error(ErrorCode::kNotACheckpoint, "this is no ELF file of a known class")
          .in_file(source_.name());
    }
  }

  template <typename Ehdr> void take_header(const Ehdr& header, std::size_t entry) {
    if (header.e_type != ET_CORE) {
      throw Error(ErrorCode::kNotACheckpoint, "this is an ELF file, but no core")
          .in_file(source_.name());
    }
    out_.layout = find_core_layout(header.e_machine, header.e_ident[EI_CLASS]);
    if (out_.layout == nullptr) {
      throw Error(ErrorCode::kUnsupportedState,
                  "cores of machine " + std::to_string(header.e_machine) + " are not known here")
          .in_file(source_.name());
    }
    count_ = header.e_phnum;
    if (count_ == PN_XNUM) {
      count_ = wide_ ? structure<Elf64_Shdr>(header.e_shoff).sh_info
                     : structure<Elf32_Shdr>(header.e_shoff).sh_info;
    }
    table_ = header.e_phoff;
    if (header.e_phentsize != entry || table_ > source_.size() ||
        (source_.size() - table_) / entry < count_) {
      throw damaged("the program headers do not lie in the file");
    }
  }

  void read_segments() {
    const std::size_t entry = wide_ ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    for (std::uint64_t i = 0; i < count_; ++i) {
      if (wide_) {
        add_segment(structure<Elf64_Phdr>(table_ + i * entry));
      } else {
        add_segment(structure<Elf32_Phdr>(table_ + i * entry));
      }
    }
  }

  template <typename Phdr> void add_segment(const Phdr& header) {
    const std::uint64_t offset = header.p_offset;
    const std::uint64_t in_file = header.p_filesz;
    const std::uint64_t there =
        offset < source_.size() ? std::min(in_file, source_.size() - offset) : 0;
    if (header.p_type == PT_NOTE) {
      note_bytes_ += there;
      if (note_bytes_ > kMaxNotes) {
        throw Error(ErrorCode::kLimit, "the core has more than 1 GiB of notes")
            .in_file(source_.name());
      }
      notes_.emplace_back(offset, there);
      return;
    }
    if (header.p_type != PT_LOAD || header.p_memsz == 0) {
      return;
    }
    const std::uint64_t start = header.p_vaddr;
    const std::uint64_t memory = std::max<std::uint64_t>(header.p_memsz, in_file);
    if (memory > UINT64_MAX - start) {
      throw damaged("a segment reaches beyond the end of all memory");
    }
    truncated_ = truncated_ || there < in_file;
    out_.segments.push_back({start, start + memory, offset, there, header.p_flags});
  }

  void read_notes(std::uint64_t offset, std::uint64_t length) {
    std::vector<std::byte> bytes(length);
    source_.read(offset, bytes);
    std::span<const std::byte> rest = bytes;
    constexpr std::size_t kHead = 12;
    while (rest.size() >= kHead) {
      const std::uint64_t name_size = load_le<std::uint32_t>(rest, 0);
      const std::uint64_t data_size = load_le<std::uint32_t>(rest, 4);
      const auto type = load_le<std::uint32_t>(rest, 8);
      const std::uint64_t data_at = kHead + align_up(name_size, 4);
      if (data_at > rest.size() || data_size > rest.size() - data_at) {
        out_.remarks.push_back("the notes of the core are cut");
        return;
      }
      std::string_view owner(reinterpret_cast<const char*>(rest.data()) + kHead, name_size);
      owner = owner.substr(0, owner.find('\0'));
      take_note(owner, type, rest.subspan(data_at, data_size));
      rest = rest.subspan(std::min<std::uint64_t>(data_at + align_up(data_size, 4), rest.size()));
    }
  }

  std::uint64_t word(std::span<const std::byte> data, std::size_t offset) const {
    return out_.layout->word == 8 ? load_le<std::uint64_t>(data, offset)
                                  : load_le<std::uint32_t>(data, offset);
  }

  static std::string text(std::span<const std::byte> data) {
    const std::string_view all(reinterpret_cast<const char*>(data.data()), data.size());
    return std::string(all.substr(0, all.find('\0')));
  }

  void take_note(std::string_view owner, std::uint32_t type, std::span<const std::byte> data) {
    if (owner == kOwnerCore) {
      switch (type) {
      case NT_PRSTATUS:
        return take_status(data);
      case NT_PRPSINFO:
        return take_info(data);
      case NT_AUXV:
        return take_auxv(data);
      case NT_FILE:
        return take_files(data);
      case NT_SIGINFO:
        if (!out_.threads.empty() && out_.threads.back().siginfo.empty() && data.size() == 128) {
          out_.threads.back().siginfo.assign(data.begin(), data.end());
        }
        return;
      case NT_PRFPREG:
        return take_set(type, data);
      default:
        return;
      }
    }
    if (owner == kOwnerLinux) {
      if (type == kNoteXsaveLayout) {
        for (std::size_t at = 0; at + 16 <= data.size() && out_.xsave_layout.size() < 64;
             at += 16) {
          out_.xsave_layout.push_back({load_le<std::uint32_t>(data, at),
                                       load_le<std::uint32_t>(data, at + 8),
                                       load_le<std::uint32_t>(data, at + 4)});
        }
        return;
      }
      return take_set(type, data);
    }
    if (owner == kOwnerOurs && type == kNoteThreadName && !out_.threads.empty()) {
      out_.threads.back().name = text(data).substr(0, kCoreNameSize - 1);
    } else if (owner == kOwnerOurs && type == kNoteZeroRanges) {
      out_.ours = true;
      for (std::size_t at = 0; at + 16 <= data.size(); at += 16) {
        out_.zero_ranges.emplace_back(load_le<std::uint64_t>(data, at),
                                      load_le<std::uint64_t>(data, at + 8));
      }
    }
  }

  void take_status(std::span<const std::byte> data) {
    const CoreLayout::Status& at = out_.layout->status;
    if (data.size() != at.size) {
      throw damaged("a note NT_PRSTATUS has " + std::to_string(data.size()) + " bytes, not " +
                    std::to_string(at.size));
    }
    CoreThread thread;
    thread.signal = load_le<std::int16_t>(data, 12);
    thread.pending = word(data, at.pending);
    thread.held = word(data, at.held);
    thread.tid = load_le<std::int32_t>(data, at.pid);
    thread.parent = load_le<std::int32_t>(data, at.pid + 4);
    thread.group = load_le<std::int32_t>(data, at.pid + 8);
    thread.session = load_le<std::int32_t>(data, at.pid + 12);
    const auto registers = data.subspan(at.registers, at.registers_size);
    thread.registers.assign(registers.begin(), registers.end());
    out_.threads.push_back(std::move(thread));
  }

  void take_set(std::uint32_t type, std::span<const std::byte> data) {
    if (out_.threads.empty() || type == NT_PRSTATUS) {
      return;
    }
    std::vector<CoreNote>& sets = out_.threads.back().more;
    if (std::none_of(sets.begin(), sets.end(),
                     [&](const CoreNote& set) { return set.type == type; })) {
      sets.push_back({type, {data.begin(), data.end()}});
    }
  }

  void take_info(std::span<const std::byte> data) {
    const CoreLayout::Info& at = out_.layout->info;
    if (data.size() != at.size) {
      out_.remarks.push_back("the note NT_PRPSINFO is not of the usual size, and was left out");
      return;
    }
    const auto id = [&](std::size_t offset) -> std::uint32_t {
      return at.id_size == 2 ? load_le<std::uint16_t>(data, offset)
                             : load_le<std::uint32_t>(data, offset);
    };
    out_.nice = load_le<std::int8_t>(data, 3);
    out_.uid = id(at.uid);
    out_.gid = id(at.gid);
    out_.pid = load_le<std::int32_t>(data, at.pid);
    out_.parent = load_le<std::int32_t>(data, at.pid + 4);
    out_.group = load_le<std::int32_t>(data, at.pid + 8);
    out_.session = load_le<std::int32_t>(data, at.pid + 12);
    out_.name = text(data.subspan(at.name, kCoreNameSize)).substr(0, kCoreNameSize - 1);
    out_.arguments = text(data.subspan(at.arguments, kCoreArgumentsSize));
    while (!out_.arguments.empty() && out_.arguments.back() == ' ') {
      out_.arguments.pop_back();
    }
  }

  void take_auxv(std::span<const std::byte> data) {
    if (!out_.auxv.empty()) {
      return;
    }
    const std::size_t word_size = out_.layout->word;
    for (std::size_t at = 0; at + 2 * word_size <= data.size(); at += 2 * word_size) {
      const std::uint64_t type = word(data, at);
      if (type == AT_NULL) {
        break;
      }
      out_.auxv.emplace_back(type, word(data, at + word_size));
    }
  }

  void take_files(std::span<const std::byte> data) {
    const std::size_t word_size = out_.layout->word;
    if (!out_.files.empty() || data.size() < 2 * word_size) {
      return;
    }
    const std::uint64_t count = word(data, 0);
    const std::uint64_t unit = word(data, word_size);
    std::span<const std::byte> rows = data.subspan(2 * word_size);
    if (count > rows.size() / (3 * word_size)) {
      out_.remarks.push_back("the note NT_FILE is cut, and was left out");
      return;
    }
    std::span<const std::byte> names = rows.subspan(count * 3 * word_size);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::size_t at = i * 3 * word_size;
      CoreFileName row{word(rows, at), word(rows, at + word_size), 0, {}};
      const std::uint64_t pages = word(rows, at + 2 * word_size);
      const void* end = names.empty() ? nullptr : std::memchr(names.data(), 0, names.size());
      if (end == nullptr || row.start >= row.end ||
          (unit != 0 && pages > (std::uint64_t{1} << 62) / unit)) {
        out_.remarks.push_back("the note NT_FILE makes no sense from row " + std::to_string(i) +
                               " on");
        break;
      }
      row.offset = pages * unit;
      row.path = text(names);
      names = names.subspan(row.path.size() + 1);
      out_.files.push_back(std::move(row));
    }
    file_unit_ = unit;
  }

  void finish() {
    for (const auto& [type, value] : out_.auxv) {
      if (type == AT_PAGESZ) {
        file_unit_ = value;
      }
    }
    if (file_unit_ >= 4096 && file_unit_ <= (2 << 20) && (file_unit_ & (file_unit_ - 1)) == 0) {
      out_.page_size = file_unit_;
    }
    const auto by_start = [](const auto& a, const auto& b) { return a.start < b.start; };
    std::stable_sort(out_.segments.begin(), out_.segments.end(), by_start);
    std::stable_sort(out_.files.begin(), out_.files.end(), by_start);
    const std::uint64_t mask = out_.page_size - 1;
    std::uint64_t last = 0;
    std::uint64_t stored = 0;
    for (CoreSegment& segment : out_.segments) {
      if (segment.start < last) {
        throw damaged("segments of the core overlap in memory");
      }
      // gdb's gcore may end one within a page; what follows is not in the core.
      segment.stored = std::min(segment.stored, (segment.end - segment.start));
      if ((segment.start & mask) != 0 || segment.end > UINT64_MAX - mask) {
        throw damaged("a segment does not begin at a page");
      }
      segment.end = align_up(segment.end, out_.page_size);
      last = segment.end;
      stored += segment.stored;
    }
    if (stored > source_.size()) {
      throw damaged("segments of the core share bytes of the file");
    }
    last = 0;
    std::erase_if(out_.files, [&](const CoreFileName& row) {
      const bool bad = row.start < last || (row.start & mask) != 0 || (row.end & mask) != 0 ||
                       (row.offset & mask) != 0 || row.path.empty();
      last = bad ? last : row.end;
      return bad;
    });
    if (truncated_) {
      out_.remarks.push_back("the core is cut: memory at its end is missing");
    }
    if (out_.threads.empty()) {
      throw damaged("the core has no thread (NT_PRSTATUS)");
    }
  }

  const ByteSource& source_;
  CoreContents out_;
  bool wide_ = false;
  bool truncated_ = false;
  std::uint64_t table_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t note_bytes_ = 0;
  std::uint64_t file_unit_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> notes_;
};

} // namespace

CoreContents read_core(const ByteSource& source) {
  return Reader(source).read();
}

} // namespace rrpcp
