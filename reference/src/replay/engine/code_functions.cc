#include "replay/engine/code_functions.h"

#include "base/bytes.h"
#include "base/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <string>
#include <string_view>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

// Encodings of pointers in unwind information (Linux Standard Base, "DWARF Extensions").
constexpr unsigned kFormat = 0x0f;
constexpr unsigned kRelativeTo = 0x70;
constexpr unsigned kToPlace = 0x10; // DW_EH_PE_pcrel
constexpr unsigned kToTable = 0x30; // DW_EH_PE_datarel
constexpr unsigned kSigned32 = 0x0b;
constexpr unsigned kUnsigned32 = 0x03;
constexpr unsigned kOmitted = 0xff;

constexpr std::uint64_t kMostEntries = 1 << 24;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;

// Bytes of a value in one of the formats of fixed size; 0: another format.
unsigned format_size(unsigned encoding) {
  switch (encoding & kFormat) {
  case 0x00:
  case 0x04:
  case 0x0c:
    return 8;
  case 0x02:
  case 0x0a:
    return 2;
  case 0x03:
  case 0x0b:
    return 4;
  default:
    return 0;
  }
}

std::uint64_t decode_value(std::span<const std::byte> bytes, unsigned encoding) {
  std::uint64_t value = 0;
  const unsigned size = format_size(encoding);
  std::memcpy(&value, bytes.data(), size);
  const bool is_signed = (encoding & 0x08) != 0;
  if (is_signed && size < 8 && (value >> (8 * size - 1) & 1) != 0) {
    value |= ~std::uint64_t{0} << (8 * size);
  }
  return value;
}

} // namespace

// Pieces that are asked for lie near each other: more is read than is asked for.
bool CodeFunctions::read_at(std::uint64_t offset, std::span<std::byte> out) const {
  constexpr std::uint64_t kWindow = 64 << 10;
  if (offset > INT64_MAX - 2 * kWindow) {
    return false;
  }
  if (out.size() > kWindow) {
    return rrpcp::read_at(fd_, out, offset, "code") == out.size();
  }
  const auto within = [&] {
    return offset >= window_at_ && offset - window_at_ <= window_.size() &&
           out.size() <= window_.size() - (offset - window_at_);
  };
  if (!within()) {
    window_at_ = offset & ~(kWindow / 2 - 1);
    window_.resize(2 * kWindow);
    window_.resize(rrpcp::read_at(fd_, window_, window_at_, "code"));
    if (!within()) {
      return false;
    }
  }
  std::memcpy(out.data(), window_.data() + (offset - window_at_), out.size());
  return true;
}

std::optional<CodeFunctions> CodeFunctions::read(int fd) {
  CodeFunctions file;
  file.fd_ = fd;
  Elf64_Ehdr header;
  if (!file.read_at(0, std::as_writable_bytes(std::span(&header, 1))) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return std::nullopt;
  }
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (!file.read_at(header.e_phoff, std::as_writable_bytes(std::span(segments)))) {
    return std::nullopt;
  }
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_LOAD) {
      file.loads_.push_back({segment.p_offset, segment.p_filesz, segment.p_vaddr});
      if ((segment.p_flags & PF_X) != 0) {
        file.executable_.push_back({segment.p_offset, segment.p_filesz, segment.p_vaddr});
      }
    }
  }
  std::vector<Elf64_Shdr> sections;
  if (header.e_shoff != 0 && header.e_shentsize == sizeof(Elf64_Shdr)) {
    sections.resize(header.e_shnum);
    if (!file.read_at(header.e_shoff, std::as_writable_bytes(std::span(sections)))) {
      sections.clear();
    }
  }
  std::vector<char> names;
  if (header.e_shstrndx < sections.size() && sections[header.e_shstrndx].sh_size < kMostBytes) {
    const Elf64_Shdr& section = sections[header.e_shstrndx];
    names.resize(section.sh_size + 1);
    if (!file.read_at(section.sh_offset,
                      std::as_writable_bytes(std::span(names).first(section.sh_size)))) {
      names.clear();
    }
  }
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_GNU_EH_FRAME) {
      file.read_frame_table(segment.p_offset, segment.p_filesz, segment.p_vaddr);
    }
  }
  for (const Elf64_Shdr& section : sections) {
    const std::string_view name = section.sh_name < names.size() ? &names[section.sh_name] : "";
    if (section.sh_type == SHT_SYMTAB || section.sh_type == SHT_DYNSYM) {
      file.read_symbols(section.sh_offset, section.sh_size);
    } else if (name == ".eh_frame" && file.table_.empty()) {
      file.read_frames(section.sh_offset, section.sh_size, section.sh_addr);
    } else if (section.sh_type == SHT_PROGBITS && (section.sh_flags & SHF_EXECINSTR) != 0) {
      file.sections_.push_back({section.sh_offset, section.sh_offset + section.sh_size});
    }
  }
  std::sort(file.sections_.begin(), file.sections_.end(),
            [](const Bounds& a, const Bounds& b) { return a.begin < b.begin; });
  std::sort(file.ranges_.begin(), file.ranges_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return file;
}

std::optional<std::uint64_t> CodeFunctions::address_of(std::uint64_t offset) const {
  for (const Load& load : loads_) {
    if (offset >= load.offset && offset - load.offset < load.size) {
      return load.address + (offset - load.offset);
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> CodeFunctions::offset_of(std::uint64_t address) const {
  for (const Load& load : loads_) {
    if (address >= load.address && address - load.address < load.size) {
      return load.offset + (address - load.address);
    }
  }
  return std::nullopt;
}

// The table of .eh_frame_hdr in the form that linkers give it: sorted, pairs of 32 bits.
void CodeFunctions::read_frame_table(std::uint64_t offset, std::uint64_t size,
                                     std::uint64_t address) {
  constexpr std::size_t kHead = 12;
  std::array<std::byte, kHead> head;
  if (size < kHead || !read_at(offset, head) || head[0] != std::byte{1} ||
      format_size(static_cast<unsigned>(head[1])) != 4 ||
      static_cast<unsigned>(head[2]) != kUnsigned32 ||
      static_cast<unsigned>(head[3]) != (kToTable | kSigned32)) {
    return;
  }
  const std::uint64_t count = load_le<std::uint32_t>(head, 8);
  if (count > kMostEntries || count * 8 > size - kHead) {
    return;
  }
  std::vector<std::array<std::int32_t, 2>> pairs(count);
  if (!read_at(offset + kHead, std::as_writable_bytes(std::span(pairs)))) {
    return;
  }
  table_.reserve(count);
  for (const std::array<std::int32_t, 2>& pair : pairs) {
    table_.push_back({address + static_cast<std::uint64_t>(std::int64_t{pair[0]}),
                      address + static_cast<std::uint64_t>(std::int64_t{pair[1]})});
  }
  if (!std::is_sorted(table_.begin(), table_.end(),
                      [](const Entry& a, const Entry& b) { return a.begin < b.begin; })) {
    table_.clear();
  }
}

void CodeFunctions::read_frames(std::uint64_t offset, std::uint64_t size, std::uint64_t address) {
  for (std::uint64_t at = 0; at + 8 <= size;) {
    std::uint64_t length = 0;
    const std::optional<Range> range = read_frame(offset + at, address + at, length);
    if (length == 0) {
      return;
    }
    if (range) {
      ranges_.push_back(*range);
    }
    at += 4 + length;
  }
}

// How the entry of .eh_frame at `offset`, which describes what others have in common, has them
// write addresses.
std::optional<unsigned> CodeFunctions::frame_encoding(std::uint64_t offset) const {
  std::array<std::byte, 64> bytes{};
  std::array<std::byte, 4> head;
  if (!read_at(offset, head)) {
    return std::nullopt;
  }
  const std::uint64_t length = load_le<std::uint32_t>(head, 0);
  const std::size_t have = std::min<std::uint64_t>(length, bytes.size());
  if (have < 8 || !read_at(offset + 4, std::span(bytes).first(have)) ||
      load_le<std::uint32_t>(bytes, 0) != 0) {
    return std::nullopt;
  }
  std::size_t at = 4;
  auto next = [&]() -> unsigned { return at < have ? static_cast<unsigned>(bytes[at++]) : 0u; };
  auto pass_leb128 = [&] {
    while ((next() & 0x80) != 0) {
    }
  };
  const unsigned version = next();
  std::string augmentation;
  for (unsigned c = next(); c != 0; c = next()) {
    augmentation += static_cast<char>(c);
  }
  pass_leb128(); // code alignment
  pass_leb128(); // data alignment
  if (version == 1) {
    next();
  } else {
    pass_leb128(); // register of the return address
  }
  if (augmentation.empty()) {
    return 0; // absolute, 8 bytes
  }
  if (augmentation[0] != 'z') {
    return std::nullopt;
  }
  pass_leb128(); // length of the augmentation
  for (const char c : augmentation.substr(1)) {
    switch (c) {
    case 'R':
      return next();
    case 'L':
      next();
      break;
    case 'P': {
      const unsigned encoding = next();
      if (format_size(encoding) == 0) {
        return std::nullopt;
      }
      at += format_size(encoding);
      break;
    }
    case 'S':
    case 'B':
      break;
    default:
      return std::nullopt;
    }
  }
  return 0;
}

// The function that the entry of .eh_frame at `offset` describes; nothing where it describes none.
// `length`: of the entry without its first word; 0 at the end of the section.
std::optional<CodeFunctions::Range> CodeFunctions::read_frame(std::uint64_t offset,
                                                              std::uint64_t address,
                                                              std::uint64_t& length) const {
  constexpr std::uint32_t kLonger = 0xffffffff;
  std::array<std::byte, 8> head;
  length = 0;
  if (!read_at(offset, head) || load_le<std::uint32_t>(head, 0) == kLonger) {
    return std::nullopt;
  }
  length = load_le<std::uint32_t>(head, 0);
  const std::uint64_t back = load_le<std::uint32_t>(head, 4);
  if (length < 4 || back == 0 || back > offset + 4) {
    return std::nullopt;
  }
  const std::optional<unsigned> encoding = frame_encoding(offset + 4 - back);
  if (!encoding || *encoding == kOmitted || format_size(*encoding) == 0) {
    return std::nullopt;
  }
  const unsigned size = format_size(*encoding);
  std::array<std::byte, 16> values{};
  if (length < 4 + 2 * std::uint64_t{size} ||
      !read_at(offset + 8, std::span(values).first(2 * std::size_t{size}))) {
    return std::nullopt;
  }
  std::uint64_t begin = decode_value(values, *encoding);
  switch (*encoding & kRelativeTo) {
  case 0:
    break;
  case kToPlace:
    begin += address + 8;
    break;
  default:
    return std::nullopt;
  }
  const std::uint64_t count =
      decode_value(std::span(values).subspan(size), *encoding & kFormat & ~0x08u);
  return Range{begin, begin + count};
}

void CodeFunctions::read_symbols(std::uint64_t offset, std::uint64_t size) {
  const std::uint64_t count = size / sizeof(Elf64_Sym);
  if (count > kMostEntries) {
    return;
  }
  std::vector<Elf64_Sym> symbols(count);
  if (!read_at(offset, std::as_writable_bytes(std::span(symbols)))) {
    return;
  }
  for (const Elf64_Sym& symbol : symbols) {
    if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_size != 0 &&
        symbol.st_shndx != SHN_UNDEF) {
      ranges_.push_back({symbol.st_value, symbol.st_value + symbol.st_size});
    }
  }
}

std::optional<CodeFunctions::Range> CodeFunctions::find_address(std::uint64_t address) const {
  auto entry = std::upper_bound(
      table_.begin(), table_.end(), address,
      [](std::uint64_t wanted, const Entry& candidate) { return wanted < candidate.begin; });
  if (entry != table_.begin()) {
    --entry;
    if (const std::optional<std::uint64_t> place = offset_of(entry->frame)) {
      std::uint64_t length = 0;
      const std::optional<Range> range = read_frame(*place, entry->frame, length);
      if (range && range->begin <= address && address < range->end) {
        return range;
      }
    }
  }
  auto range = std::upper_bound(
      ranges_.begin(), ranges_.end(), address,
      [](std::uint64_t wanted, const Range& candidate) { return wanted < candidate.begin; });
  // Symbols may be names of parts of others: look a little further than at the nearest.
  for (int i = 0; i < 8 && range != ranges_.begin(); ++i) {
    --range;
    if (address < range->end) {
      return *range;
    }
  }
  return std::nullopt;
}

std::optional<CodeFunctions::Bounds> CodeFunctions::find(std::uint64_t offset) const {
  const std::optional<std::uint64_t> address = address_of(offset);
  if (!address) {
    return std::nullopt;
  }
  const std::optional<Range> range = find_address(*address);
  if (!range || *address - range->begin > offset) {
    return std::nullopt;
  }
  const std::uint64_t begin = offset - (*address - range->begin);
  return Bounds{begin, begin + (range->end - range->begin)};
}

bool CodeFunctions::is_data(std::uint64_t offset) const {
  return !sections_.empty() &&
         std::none_of(sections_.begin(), sections_.end(), [&](const Bounds& section) {
           return section.begin <= offset && offset < section.end;
         });
}

std::uint64_t CodeFunctions::code_start(std::uint64_t offset) const {
  std::uint64_t start = 0;
  for (const Segment& segment : executable_) {
    if (offset >= segment.offset && offset - segment.offset < segment.size) {
      start = segment.offset;
    }
  }
  for (const Bounds& section : sections_) {
    if (section.begin <= offset) {
      start = std::max(start, section.begin);
    }
  }
  const std::optional<std::uint64_t> address = address_of(offset);
  if (!address) {
    return start;
  }
  auto behind = [&](std::uint64_t end) {
    if (const std::optional<std::uint64_t> place = offset_of(end); place && *place <= offset) {
      start = std::max(start, *place);
    }
  };
  auto entry = std::upper_bound(
      table_.begin(), table_.end(), *address,
      [](std::uint64_t wanted, const Entry& candidate) { return wanted < candidate.begin; });
  if (entry != table_.begin()) {
    --entry;
    std::uint64_t length = 0;
    if (const std::optional<std::uint64_t> place = offset_of(entry->frame)) {
      if (const std::optional<Range> range = read_frame(*place, entry->frame, length)) {
        behind(range->end);
      }
    }
  }
  auto range = std::upper_bound(
      ranges_.begin(), ranges_.end(), *address,
      [](std::uint64_t wanted, const Range& candidate) { return wanted < candidate.begin; });
  if (range != ranges_.begin()) {
    behind((range - 1)->end);
  }
  return start;
}

} // namespace rrpcp::replay
