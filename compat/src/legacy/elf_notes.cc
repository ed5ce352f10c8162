#include "legacy/elf_notes.h"

#include "base/file.h"

#include <cstdint>
#include <cstring>
#include <elf.h>
#include <span>

namespace rrpcp::compat {

namespace {

// A note segment longer than this is not searched.
constexpr std::uint64_t kMaxNotes = 1 << 16;
constexpr std::uint16_t kMaxSegments = 256;

template <typename T> bool load(int fd, std::uint64_t offset, T& out, const std::string& path) {
  return offset <= INT64_MAX - sizeof(T) &&
         read_at(fd, std::as_writable_bytes(std::span(&out, 1)), offset, path) == sizeof(T);
}

std::uint64_t aligned(std::uint64_t value) {
  return (value + 3) & ~std::uint64_t{3};
}

std::vector<std::byte> search(std::span<const std::byte> notes) {
  std::uint64_t at = 0;
  while (at + sizeof(Elf64_Nhdr) <= notes.size()) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    const std::uint64_t name = at + sizeof note;
    const std::uint64_t descriptor = name + aligned(note.n_namesz);
    const std::uint64_t next = descriptor + aligned(note.n_descsz);
    if (descriptor + note.n_descsz > notes.size()) {
      break;
    }
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(notes.data() + name, "GNU", 4) == 0) {
      const auto found = notes.subspan(descriptor, note.n_descsz);
      return {found.begin(), found.end()};
    }
    at = next;
  }
  return {};
}

template <typename Header, typename Segment>
std::vector<std::byte> find(int fd, const std::string& path) {
  Header header;
  if (!load(fd, 0, header, path) || header.e_phentsize != sizeof(Segment) ||
      header.e_phnum > kMaxSegments) {
    return {};
  }
  for (std::uint16_t i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    if (!load(fd, header.e_phoff + std::uint64_t{i} * sizeof(Segment), segment, path)) {
      return {};
    }
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMaxNotes) {
      continue;
    }
    if (segment.p_offset > INT64_MAX - kMaxNotes) {
      continue;
    }
    std::vector<std::byte> notes(segment.p_filesz);
    notes.resize(read_at(fd, notes, segment.p_offset, path));
    const auto found = search(notes);
    if (!found.empty()) {
      return found;
    }
  }
  return {};
}

} // namespace

std::vector<std::byte> read_build_id(int fd, const std::string& path) {
  unsigned char ident[EI_NIDENT];
  if (!load(fd, 0, ident, path) || std::memcmp(ident, ELFMAG, SELFMAG) != 0 ||
      ident[EI_DATA] != ELFDATA2LSB) {
    return {};
  }
  switch (ident[EI_CLASS]) {
  case ELFCLASS64:
    return find<Elf64_Ehdr, Elf64_Phdr>(fd, path);
  case ELFCLASS32:
    return find<Elf32_Ehdr, Elf32_Phdr>(fd, path);
  default:
    return {};
  }
}

} // namespace rrpcp::compat
