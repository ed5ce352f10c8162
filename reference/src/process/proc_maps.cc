#include "process/proc_maps.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

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

} // namespace rrpcp::process
