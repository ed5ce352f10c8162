// A command's standard output and what was asked about it.
#pragma once

#include "common/json.h"

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

namespace rrpcp::tools {

// Thrown where the reader of standard output has gone (EPIPE). run_tool ends the command as SIGPIPE
// would, without a word.
class ClosedPipe : public std::exception {
public:
  const char* what() const noexcept override { return "standard output was closed"; }
};

// Buffered standard output whose every failure is noticed: throws rrpcp::Error (kNoSpace, kSystem)
// or ClosedPipe. One thread at a time.
class Console {
public:
  // Writes to descriptor `fd`, which it does not own.
  explicit Console(std::string tool_name, int fd = 1);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // The name errors begin with: "pcp-inspect".
  const std::string& tool_name() const { return tool_name_; }

  void write(std::string_view text);
  // As printf(3).
  void print(const char* format, ...) __attribute__((format(printf, 2, 3)));
  // Writes `document` indented by two, with a newline at the end.
  void write_json(const Json& document);
  // Hands everything to the kernel.
  void flush();
  // True once anything was written.
  bool used() const { return used_; }

  // One line for people on standard error: "TOOL: warning: TEXT". Flushes standard output first, so
  // that both stay in order. Kept even with --quiet.
  void warn(std::string_view text);
  // The same without "warning", dropped with --quiet: "TOOL: TEXT".
  void note(std::string_view text);

  // Set by Command::parse from --json and --quiet.
  bool json = false;
  bool quiet = false;

private:
  std::string tool_name_;
  int fd_;
  std::string buffer_;
  bool used_ = false;
};

// As sprintf(3), into a string.
std::string format_text(const char* format, ...) __attribute__((format(printf, 1, 2)));

} // namespace rrpcp::tools
