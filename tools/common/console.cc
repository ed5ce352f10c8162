#include "common/console.h"

#include "common/text.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstdarg>
#include <unistd.h>
#include <utility>

namespace rrpcp::tools {
namespace {

constexpr std::size_t kBufferSize = 64u << 10;

std::string format_text_va(const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, format, again);
  va_end(again);
  if (length < 0) {
    throw Error(ErrorCode::kInternal, "a message could not be formatted");
  }
  std::string text(static_cast<std::size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, arguments);
  return text;
}

} // namespace

Console::Console(std::string tool_name, int fd) : tool_name_(std::move(tool_name)), fd_(fd) {}

void Console::write(std::string_view text) {
  used_ = used_ || !text.empty();
  buffer_ += text;
  if (buffer_.size() >= kBufferSize) {
    flush();
  }
}

void Console::print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text;
  try {
    text = format_text_va(format, arguments);
  } catch (...) {
    va_end(arguments);
    throw;
  }
  va_end(arguments);
  write(text);
}

void Console::write_json(const Json& document) {
  write(json_text(document) + "\n");
}

void Console::flush() {
  std::string_view rest(buffer_);
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) {
        continue;
      }
      buffer_.clear();
      if (error == EPIPE) {
        throw ClosedPipe();
      }
      throw system_error(error, "cannot write to standard output");
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
}

void Console::warn(std::string_view text) {
  flush();
  std::fprintf(stderr, "%s: warning: %s\n", tool_name_.c_str(), printable(text).c_str());
}

void Console::note(std::string_view text) {
  if (quiet) {
    return;
  }
  flush();
  std::fprintf(stderr, "%s: %s\n", tool_name_.c_str(), printable(text).c_str());
}

std::string format_text(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text;
  try {
    text = format_text_va(format, arguments);
  } catch (...) {
    va_end(arguments);
    throw;
  }
  va_end(arguments);
  return text;
}

} // namespace rrpcp::tools
