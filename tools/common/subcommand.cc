#include "common/subcommand.h"

#include "common/text.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace rrpcp::tools {

std::string subcommand_table(std::span<const Subcommand> subcommands) {
  std::size_t name_width = 0;
  std::size_t synopsis_width = 0;
  for (const Subcommand& subcommand : subcommands) {
    name_width = std::max(name_width, std::strlen(subcommand.name));
    synopsis_width = std::max(synopsis_width, std::strlen(subcommand.synopsis));
  }
  std::string text = "Subcommands (each has its own --help):\n";
  for (const Subcommand& subcommand : subcommands) {
    text += format_text("  %-*s %-*s %s\n", static_cast<int>(name_width), subcommand.name,
                        static_cast<int>(synopsis_width), subcommand.synopsis, subcommand.summary);
  }
  return text;
}

const Subcommand* find_subcommand(std::span<const Subcommand> subcommands, std::string_view name) {
  const auto found =
      std::find_if(subcommands.begin(), subcommands.end(),
                   [&](const Subcommand& subcommand) { return name == subcommand.name; });
  return found == subcommands.end() ? nullptr : &*found;
}

std::string closest_subcommand(std::span<const Subcommand> subcommands, const std::string& name) {
  std::vector<std::string> names;
  for (const Subcommand& subcommand : subcommands) {
    names.emplace_back(subcommand.name);
  }
  return closest(name, names);
}

} // namespace rrpcp::tools
