#include "model/elf_build_id.h"

#include "base/bytes.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <link.h>
#include <optional>
#include <span>
#include <string_view>
#include <unistd.h>

namespace rrpcp {

namespace {

// Notes are small; a longer segment is not read to its end.
constexpr std::uint64_t kMaxNotes = 64 << 10;
constexpr std::size_t kMaxBuildId = 64;
constexpr std::string_view kOwner("GNU\0", 4);

std::size_t read_at(int fd, std::uint64_t offset, std::span<std::byte> out) {
  if (offset > std::uint64_t{1} << 62) {
    return 0;
  }
  ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

std::optional<std::vector<std::byte>> find_build_id(std::span<const std::byte> notes) {
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    const auto name_length = load_le<std::uint32_t>(notes, 0);
    const auto length = load_le<std::uint32_t>(notes, 4);
    const auto type = load_le<std::uint32_t>(notes, 8);
    notes = notes.subspan(sizeof(Elf64_Nhdr));
    const std::uint64_t padded_name = align_up(name_length, 4);
    const std::uint64_t padded = align_up(length, 4);
    if (padded_name > notes.size() || length > notes.size() - padded_name) {
      break;
    }
    bool gnu = name_length == kOwner.size() &&
               std::memcmp(notes.data(), kOwner.data(), kOwner.size()) == 0;
    if (gnu && type == NT_GNU_BUILD_ID && length <= kMaxBuildId) {
      auto id = notes.subspan(padded_name, length);
      return std::vector<std::byte>(id.begin(), id.end());
    }
    notes = notes.subspan(std::min<std::uint64_t>(padded_name + padded, notes.size()));
  }
  return std::nullopt;
}

} // namespace

std::vector<std::byte> read_build_id(int fd) {
  Elf64_Ehdr header;
  if (read_at(fd, 0, std::as_writable_bytes(std::span(&header, 1))) != sizeof header ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return {};
  }
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  auto bytes = std::as_writable_bytes(std::span(segments));
  segments.resize(read_at(fd, header.e_phoff, bytes) / sizeof(Elf64_Phdr));
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_NOTE) {
      continue;
    }
    std::vector<std::byte> notes(std::min<std::uint64_t>(segment.p_filesz, kMaxNotes));
    notes.resize(read_at(fd, segment.p_offset, notes));
    if (std::optional<std::vector<std::byte>> id = find_build_id(notes)) {
      return *id;
    }
  }
  return {};
}

std::vector<std::byte> own_build_id() {
  using Segment = ElfW(Phdr);
  struct Search {
    std::uintptr_t address = 0;
    std::vector<std::byte> id;
  };
  Search search{reinterpret_cast<std::uintptr_t>(&own_build_id), {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* data) {
        Search& wanted = *static_cast<Search*>(data);
        const std::span<const Segment> segments(object->dlpi_phdr, object->dlpi_phnum);
        const bool ours = std::any_of(segments.begin(), segments.end(), [&](const Segment& one) {
          return one.p_type == PT_LOAD &&
                 wanted.address - (object->dlpi_addr + one.p_vaddr) < one.p_memsz;
        });
        for (const Segment& segment : segments) {
          if (ours && segment.p_type == PT_NOTE && wanted.id.empty()) {
            const auto* notes =
                reinterpret_cast<const std::byte*>(object->dlpi_addr + segment.p_vaddr); // NOLINT
            wanted.id = find_build_id({notes, segment.p_memsz}).value_or(std::vector<std::byte>());
          }
        }
        return ours ? 1 : 0;
      },
      &search);
  return std::move(search.id);
}

} // namespace rrpcp
