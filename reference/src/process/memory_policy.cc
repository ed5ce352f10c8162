#include "process/memory_policy.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <array>
#include <optional>
#include <utility>

namespace rrpcp::process {

namespace {

// linux/mempolicy.h; the longer name first where one begins with another.
constexpr std::array<std::pair<std::string_view, std::uint32_t>, 7> kModes = {{
    {"default", 0},
    {"prefer (many)", 5},
    {"prefer", 1},
    {"bind", 2},
    {"weighted interleave", 6},
    {"interleave", 3},
    {"local", 4},
}};
constexpr std::array<std::pair<std::string_view, std::uint32_t>, 3> kFlags = {{
    {"static", 1u << 15},
    {"relative", 1u << 14},
    {"balancing", 1u << 13},
}};

void add_node(std::vector<std::byte>& nodes, std::uint64_t node) {
  if (node >= kMostMemoryNodes) {
    throw Error(ErrorCode::kInternal, "the kernel shows a memory node " + std::to_string(node));
  }
  if (nodes.size() <= node / 8) {
    nodes.resize(node / 8 + 1);
  }
  nodes[node / 8] |= std::byte{1} << (node % 8);
}

} // namespace

MemoryPolicy parse_memory_policy(std::string_view text) {
  MemoryPolicy policy;
  bool known = false;
  for (const auto& [name, mode] : kModes) {
    if (text.starts_with(name)) {
      policy.mode = mode;
      text.remove_prefix(name.size());
      known = true;
      break;
    }
  }
  if (!known) {
    throw Error(ErrorCode::kInternal, "the kernel shows the memory policy '" + std::string(text) +
                                          "', which is not known");
  }
  std::string_view rest = text.substr(0, text.find(' ')); // up to the next item of the line
  if (rest.starts_with('=')) {
    rest.remove_prefix(1);
    std::string_view flags = cut_field(rest, ':');
    while (!flags.empty()) {
      const std::string_view flag = cut_field(flags, '|');
      for (const auto& [name, bit] : kFlags) {
        policy.mode |= flag == name ? bit : 0;
      }
    }
  } else if (rest.starts_with(':')) {
    rest.remove_prefix(1);
  }
  while (!rest.empty()) { // "0-1,3"
    std::string_view range = cut_field(rest, ',');
    const std::uint64_t first = parse_number(cut_field(range, '-'), 10, "a memory node");
    const std::uint64_t last = range.empty() ? first : parse_number(range, 10, "a memory node");
    for (std::uint64_t node = first; node <= last; ++node) {
      add_node(policy.nodes, node);
    }
  }
  return policy;
}

std::map<std::uint64_t, MemoryPolicy> read_memory_policies(pid_t pid) {
  std::map<std::uint64_t, MemoryPolicy> policies;
  const std::optional<std::string> content = try_read_file(proc_path(pid, "numa_maps"));
  if (!content) {
    return policies;
  }
  std::string_view text = *content;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    const std::uint64_t start = parse_number(cut_field(line, ' '), 16, "the start of a mapping");
    MemoryPolicy policy = parse_memory_policy(line);
    if (policy.mode != 0) {
      policies.emplace(start, std::move(policy));
    }
  }
  return policies;
}

} // namespace rrpcp::process
