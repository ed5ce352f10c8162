#include "symbols/module_file.h"

#include "model/backing_file.h"
#include "model/elf_build_id.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rrpcp {

namespace {

constexpr std::uint64_t kLargestImage = std::uint64_t{256} << 20;
constexpr std::size_t kPieceOfFile = 256 << 10;

// Sections that were not copied are not there.
template <typename Ehdr> void forget_sections(int fd, std::uint64_t length) {
  Ehdr header;
  if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return;
  }
  const std::uint64_t size = std::uint64_t{header.e_shnum} * header.e_shentsize;
  if (header.e_shoff > length || size > length - header.e_shoff) {
    header.e_shoff = 0;
    header.e_shnum = 0;
    header.e_shstrndx = 0;
    static_cast<void>(::pwrite(fd, &header, sizeof header, 0) < 0);
  }
}

} // namespace

std::optional<schema::Mapping::Reader> mapping_at(schema::AddressSpace::Reader space,
                                                  std::uint64_t address) {
  const auto mappings = space.getMappings();
  unsigned low = 0;
  unsigned high = mappings.size();
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    (mappings[middle].getEnd() <= address ? low : high) =
        mappings[middle].getEnd() <= address ? middle + 1 : middle;
  }
  if (low == mappings.size() || mappings[low].getStart() > address) {
    return std::nullopt;
  }
  return mappings[low];
}

ScopedFd open_module_file(schema::FileIdentity::Reader identity, const BackingFiles& files,
                          std::string& path, std::string& problem) {
  try {
    path = resolve_path(identity, files);
    ScopedFd fd = open_identity(identity, files, O_RDONLY);
    struct stat status;
    if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
      problem = path + " is no regular file";
      return {};
    }
    const std::vector<std::byte> now = read_build_id(fd.get());
    const auto then = identity.getBuildId();
    if (!now.empty() && then.size() != 0) {
      if (now.size() != then.size() || std::memcmp(now.data(), then.begin(), now.size()) != 0) {
        problem = path + " is another file than the one that was mapped (its build id differs)";
        return {};
      }
      return fd;
    }
    verify_identity(fd.get(), path, identity);
    return fd;
  } catch (const Error& error) {
    problem = error.file().empty() ? error.message() : error.file() + ": " + error.message();
    return {};
  }
}

ScopedFd copy_image(schema::AddressSpace::Reader space, schema::Mapping::Reader first,
                    MemoryView& memory) {
  std::array<unsigned char, EI_NIDENT> ident{};
  if (memory.read(first.getStart(), std::as_writable_bytes(std::span(ident))) != ident.size() ||
      std::memcmp(ident.data(), ELFMAG, SELFMAG) != 0) {
    return {};
  }
  ScopedFd copy(::memfd_create("image", MFD_CLOEXEC));
  if (!copy) {
    return {};
  }
  std::vector<std::byte> block(kPieceOfFile);
  std::uint64_t length = 0;
  for (const schema::Mapping::Reader mapping : space.getMappings()) {
    const bool belongs =
        mapping.getObject() == first.getObject() &&
        (first.getObject() != schema::NO_INDEX || mapping.getStart() == first.getStart());
    if (!belongs || mapping.getStart() < first.getStart()) {
      continue;
    }
    std::uint64_t offset = mapping.getObjectOffset() - first.getObjectOffset();
    for (std::uint64_t at = mapping.getStart(); at < mapping.getEnd() && offset < kLargestImage;) {
      const std::size_t n = std::min<std::uint64_t>(mapping.getEnd() - at, block.size());
      const std::size_t read = memory.read(at, std::span(block).first(n));
      if (read == 0 || ::pwrite(copy.get(), block.data(), read, static_cast<off_t>(offset)) !=
                           static_cast<ssize_t>(read)) {
        break;
      }
      at += read;
      offset += read;
      length = std::max(length, offset);
    }
  }
  if (ident[EI_CLASS] == ELFCLASS64) {
    forget_sections<Elf64_Ehdr>(copy.get(), length);
  } else {
    forget_sections<Elf32_Ehdr>(copy.get(), length);
  }
  return copy;
}

bool find_bias(int fd, schema::AddressSpace::Reader space, schema::Mapping::Reader first,
               std::uint64_t page_size, std::uint64_t& bias) {
  const std::unique_ptr<Elf, ElfEnd> elf(::elf_begin(fd, ELF_C_READ, nullptr));
  GElf_Ehdr header;
  std::size_t count = 0;
  if (elf == nullptr || ::elf_kind(elf.get()) != ELF_K_ELF ||
      ::gelf_getehdr(elf.get(), &header) == nullptr ||
      (header.e_type != ET_EXEC && header.e_type != ET_DYN) ||
      ::elf_getphdrnum(elf.get(), &count) != 0 || count > PN_XNUM) {
    return false;
  }
  const std::uint64_t mask = ~(page_size - 1);
  bool found = false;
  for (std::size_t i = 0; i < count && !found; ++i) {
    GElf_Phdr segment;
    if (::gelf_getphdr(elf.get(), static_cast<int>(i), &segment) != nullptr &&
        segment.p_type == PT_LOAD && (segment.p_offset & mask) == first.getObjectOffset()) {
      bias = first.getStart() - (segment.p_vaddr & mask);
      found = true;
    }
  }
  if (!found || (header.e_type == ET_EXEC && bias != 0)) {
    return false;
  }
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (::gelf_getphdr(elf.get(), static_cast<int>(i), &segment) == nullptr ||
        segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) {
      continue;
    }
    const auto code = mapping_at(space, bias + segment.p_vaddr);
    if (!code || code->getObject() != first.getObject()) {
      return false;
    }
  }
  return true;
}

} // namespace rrpcp
