#include "common/command.h"

#include "common/text.h"
#include "rrpcp/format.h"

#include <cxxopts.hpp>
#include <utility>

namespace rrpcp::tools {
namespace {

constexpr const char* kPositional = "arguments";

std::string first_word(const std::string& text) {
  return text.substr(0, text.find(' '));
}

} // namespace

// The option parser: kept out of the header, since it is slow to compile.
struct Command::Options : cxxopts::Options {
  using cxxopts::Options::Options;
  Arguments::Values defaults;
};

Arguments::Arguments(Values given, Values defaults, std::vector<std::string> positional)
    : given_(std::move(given)), defaults_(std::move(defaults)), positional_(std::move(positional)) {
}

const std::string& Arguments::get(const std::string& name) const {
  const auto found = given_.find(name);
  return found != given_.end() ? found->second.back() : defaults_.at(name).back();
}

std::vector<std::string> Arguments::get_all(const std::string& name) const {
  const auto found = given_.find(name);
  return found != given_.end() ? found->second : std::vector<std::string>{};
}

std::string Arguments::get_or(const std::string& name, const std::string& otherwise) const {
  return has(name) ? get(name) : otherwise;
}

void Arguments::expect(std::size_t least, std::size_t most, const std::string& what) const {
  if (positional_.size() < least) {
    throw UsageError("missing argument: " + what);
  }
  if (positional_.size() > most) {
    throw UsageError("unexpected argument '" + printable(positional_[most]) + "'");
  }
}

Command::Command(CommandInfo info)
    : info_(std::move(info)), options_(std::make_unique<Options>(info_.name, info_.summary)) {
  options_->set_width(90);
  options_->add_options()(info_.h_is_taken ? "help" : "h,help", "show this help and exit")(
      "version", "show the version of the software and of the format and exit");
  options_->add_options("hidden")(kPositional, "", cxxopts::value<std::vector<std::string>>());
  options_->parse_positional({kPositional});
  options_->custom_help(info_.synopsis);
  options_->positional_help("");
}

Command::Command(Command&&) noexcept = default;
Command::~Command() = default;

Command& Command::add(const std::string& names, const std::string& help) {
  options_->add_options()(names, help);
  return *this;
}

Command& Command::add(const std::string& names, const std::string& help,
                      const std::string& argument) {
  options_->add_options()(names, help, cxxopts::value<std::string>(), argument);
  return *this;
}

Command& Command::add(const std::string& names, const std::string& help,
                      const std::string& argument, const std::string& default_value) {
  options_->add_options()(names, help, cxxopts::value<std::string>()->default_value(default_value),
                          argument);
  options_->defaults[names.substr(names.find(',') + 1)] = {default_value};
  return *this;
}

Command& Command::add_json(const std::string& help) {
  has_json_ = true;
  return add("json", help);
}

Command& Command::add_quiet() {
  has_quiet_ = true;
  return add("q,quiet", "no progress and no remarks");
}

Arguments Command::parse(int argc, const char* const* argv, Console& console) {
  // Before parsing, so that wrong usage is reported as JSON too.
  for (int i = 1; has_json_ && i < argc && std::string_view(argv[i]) != "--"; ++i) {
    console.json = console.json || std::string_view(argv[i]) == "--json";
  }
  try {
    cxxopts::ParseResult result = options_->parse(argc, argv);
    if (result.count("help") != 0) {
      console.write(help());
      console.flush();
      throw HelpShown();
    }
    if (result.count("version") != 0) {
      console.write(version_line(first_word(info_.name)) + "\n");
      console.flush();
      throw HelpShown();
    }
    std::vector<std::string> positional;
    if (result.count(kPositional) != 0) {
      positional = result[kPositional].as<std::vector<std::string>>();
    }
    for (const std::string& rest : result.unmatched()) {
      positional.push_back(rest);
    }
    console.quiet = console.quiet || (has_quiet_ && result.count("quiet") != 0);
    Arguments::Values given;
    for (const cxxopts::KeyValue& option : result.arguments()) {
      given[option.key()].push_back(option.value());
    }
    return Arguments(std::move(given), options_->defaults, std::move(positional));
  } catch (const cxxopts::exceptions::exception& error) {
    throw UsageError(error.what());
  }
}

std::string Command::help() {
  std::string text = options_->help({""});
  if (!info_.details.empty()) {
    text += "\n" + info_.details + "\n";
  }
  return text;
}

std::string version_line(const std::string& tool_name) {
  return tool_name + " " RRPCP_VERSION " (checkpoint format " +
         std::to_string(format::kMajorVersion) + "." + std::to_string(format::kMinorVersion) + ")";
}

} // namespace rrpcp::tools
