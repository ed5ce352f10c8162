// Commands that have subcommands.
#pragma once

#include "common/console.h"

#include <span>
#include <string>
#include <string_view>

namespace rrpcp::tools {

struct Subcommand {
  const char* name;
  // As main(), with the subcommand's name in argv[0].
  int (*run)(int, char**, Console&);
  // The arguments, and what it does: for the table.
  const char* synopsis;
  const char* summary;
};

// The subcommands for the help text, one a line, in columns.
std::string subcommand_table(std::span<const Subcommand> subcommands);

// The one of that name; nullptr where there is none.
const Subcommand* find_subcommand(std::span<const Subcommand> subcommands, std::string_view name);

// The name that `name` was most likely meant to be; empty where none is like it.
std::string closest_subcommand(std::span<const Subcommand> subcommands, const std::string& name);

} // namespace rrpcp::tools
