#include "process/proc_maps.h"

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <optional>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

namespace rrpcp::process {

ProcMapping parse_mapping(std::string_view line) {
  ProcMapping mapping;
  std::string_view rest = line;
  mapping.start = parse_number(cut_field(rest, '-'), 16, "the start of a mapping");
  mapping.end = parse_number(cut_field(rest, ' '), 16, "the end of a mapping");
  std::string_view flags = cut_field(rest, ' ');
  if (flags.size() != 4 || mapping.start >= mapping.end) {
    throw Error(ErrorCode::kInternal,
                "the kernel shows the mapping '" + std::string(line) + "', which makes no sense");
  }
  mapping.protection = (flags[0] == 'r' ? PROT_READ : 0u) | (flags[1] == 'w' ? PROT_WRITE : 0u) |
                       (flags[2] == 'x' ? PROT_EXEC : 0u);
  mapping.shared = flags[3] == 's';
  mapping.offset = parse_number(cut_field(rest, ' '), 16, "the offset of a mapping");
  auto major_number = parse_number(cut_field(rest, ':'), 16, "the device of a mapping");
  auto minor_number = parse_number(cut_field(rest, ' '), 16, "the device of a mapping");
  mapping.device =
      makedev(static_cast<unsigned>(major_number), static_cast<unsigned>(minor_number));
  mapping.inode = parse_number(cut_word(rest), 10, "the inode of a mapping");
  std::size_t name = rest.find_first_not_of(' ');
  if (name != std::string_view::npos) {
    mapping.name = rest.substr(name);
  }
  return mapping;
}

std::vector<ProcMapping> parse_mappings(std::string_view text) {
  std::vector<ProcMapping> mappings;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    if (!line.empty()) {
      mappings.push_back(parse_mapping(line));
    }
  }
  return mappings;
}

std::vector<ProcMapping> read_mappings(pid_t pid) {
  return parse_mappings(read_proc_file(proc_path(pid, "maps")));
}

namespace {

// struct procmap_query and PROCMAP_QUERY of linux/fs.h, which may be older.
struct MappingQuery {
  std::uint64_t size = sizeof(MappingQuery);
  std::uint64_t flags = kCoveringOrNext;
  std::uint64_t address = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t protection = 0; // kReadable …
  std::uint64_t page_size = 0;
  std::uint64_t offset = 0;
  std::uint64_t inode = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::uint32_t name_size = 0; // with its zero byte
  std::uint32_t build_id_size = 0;
  std::uint64_t name = 0;
  std::uint64_t build_id = 0;

  static constexpr std::uint64_t kReadable = 1;
  static constexpr std::uint64_t kWritable = 2;
  static constexpr std::uint64_t kExecutable = 4;
  static constexpr std::uint64_t kShared = 8;
  static constexpr std::uint64_t kCoveringOrNext = 16;
};
constexpr unsigned long kQuery = _IOWR('f', 17, MappingQuery);

// Nothing where the kernel cannot tell.
std::optional<std::vector<ProcMapping>> ask_for_mappings(pid_t pid, std::uint64_t start,
                                                         std::uint64_t end) {
  const ScopedFd maps(::open(proc_path(pid, "maps").c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<ProcMapping> mappings;
  std::array<char, PATH_MAX + 1> name{};
  while (start < end) {
    MappingQuery query;
    query.address = start;
    query.name = reinterpret_cast<std::uintptr_t>(name.data());
    query.name_size = name.size();
    if (!maps || ::ioctl(maps.get(), kQuery, &query) != 0) {
      if (maps && errno == ENOENT) {
        break; // none any more
      }
      return std::nullopt;
    }
    if (query.start >= end) {
      break;
    }
    ProcMapping mapping;
    mapping.start = query.start;
    mapping.end = query.end;
    const auto has = [&](std::uint64_t bit) { return (query.protection & bit) != 0; };
    mapping.protection = (has(MappingQuery::kReadable) ? PROT_READ : 0u) |
                         (has(MappingQuery::kWritable) ? PROT_WRITE : 0u) |
                         (has(MappingQuery::kExecutable) ? PROT_EXEC : 0u);
    mapping.shared = has(MappingQuery::kShared);
    mapping.offset = query.offset;
    mapping.device = makedev(query.device_major, query.device_minor);
    mapping.inode = query.inode;
    if (query.name_size > 1) {
      mapping.name = name.data();
    }
    start = mapping.end;
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

} // namespace

std::vector<ProcMapping> read_mappings(pid_t pid, std::uint64_t start, std::uint64_t end) {
  if (std::optional<std::vector<ProcMapping>> asked = ask_for_mappings(pid, start, end)) {
    return std::move(*asked);
  }
  std::vector<ProcMapping> mappings = read_mappings(pid);
  std::erase_if(mappings, [&](const ProcMapping& mapping) {
    return mapping.end <= start || mapping.start >= end;
  });
  return mappings;
}

} // namespace rrpcp::process
