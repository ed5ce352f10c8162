// Options of a command, by one convention for all.
#pragma once

#include "common/console.h"

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace rrpcp::tools {

// Wrong arguments: run_tool prints one line and exits with kExitTrouble.
class UsageError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

// Thrown after --help or --version was printed; run_tool exits with kExitOk.
class HelpShown : public std::exception {
public:
  const char* what() const noexcept override { return "help was shown"; }
};

// What --help says around the options.
struct CommandInfo {
  // "pcp-validate", or "pcp-inspect diff" for a subcommand.
  std::string name;
  // After the name, as "[OPTION]... FILE...".
  std::string synopsis;
  // What it does, a sentence or two.
  std::string summary;
  // After the options: exit codes, examples. May be empty. Ends without a newline.
  std::string details = {};
  // -h means something else: help is --help alone.
  bool h_is_taken = false;
};

// A command or subcommand:
//
//   Command command({"pcp-validate", "[OPTION]... FILE|DIR...", "Checks checkpoints."});
//   command.add_json();
//   command.add("level", "structure, checksums or semantics", "LEVEL");
//   const Arguments arguments = command.parse(argc, argv, console);
//   for (const std::string& file : arguments.positional()) …
//
// --help (-h) and --version are there always. Options may stand before and after other arguments;
// "--" ends them. Wrong ones throw UsageError.
class Arguments {
public:
  // By long name: the values in the order given, or the default's; an empty text for a flag.
  using Values = std::map<std::string, std::vector<std::string>>;

  Arguments(Values given, Values defaults, std::vector<std::string> positional);

  // Whether the option was given.
  bool has(const std::string& name) const { return given_.contains(name); }
  // The value of an option (its default where it was not given, the last where it was given more
  // than once). There must be one.
  const std::string& get(const std::string& name) const;
  // All values of an option that may be given more than once.
  std::vector<std::string> get_all(const std::string& name) const;
  // The value, or `otherwise` where the option was not given.
  std::string get_or(const std::string& name, const std::string& otherwise) const;
  const std::vector<std::string>& positional() const { return positional_; }
  // Throws UsageError unless the number of positional arguments is in [least, most]; `what` says
  // what they are, as "FILE".
  void expect(std::size_t least, std::size_t most, const std::string& what) const;

private:
  Values given_;
  Values defaults_;
  std::vector<std::string> positional_;
};

class Command {
public:
  explicit Command(CommandInfo info);
  Command(Command&&) noexcept;
  ~Command();

  // `names` is "long" or "s,long"; a flag.
  Command& add(const std::string& names, const std::string& help);
  // The same with a value, which --help calls `argument`.
  Command& add(const std::string& names, const std::string& help, const std::string& argument);
  // The same with a default, which --help shows.
  Command& add(const std::string& names, const std::string& help, const std::string& argument,
               const std::string& default_value);
  // --json: sets console.json.
  Command& add_json(const std::string& help = "write one JSON document");
  // -q, --quiet: sets console.quiet.
  Command& add_quiet();

  // argv[0] is skipped.
  Arguments parse(int argc, const char* const* argv, Console& console);
  std::string help();
  const CommandInfo& info() const { return info_; }

private:
  struct Options;
  CommandInfo info_;
  std::unique_ptr<Options> options_;
  bool has_json_ = false;
  bool has_quiet_ = false;
};

// "NAME 0.1.0 (checkpoint format 1.0)".
std::string version_line(const std::string& tool_name);

} // namespace rrpcp::tools
