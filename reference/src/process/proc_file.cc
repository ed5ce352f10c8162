#include "process/proc_file.h"

#include "base/scoped_fd.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

namespace rrpcp::process {

namespace {

bool means_gone(int errno_value) {
  return errno_value == ENOENT || errno_value == ESRCH;
}

} // namespace

std::string proc_path(pid_t pid, std::string_view name) {
  return "/proc/" + std::to_string(pid) + "/" + std::string(name);
}

std::string proc_task_path(pid_t pid, pid_t tid, std::string_view name) {
  return "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/" + std::string(name);
}

std::optional<std::string> try_read_file(const std::string& path) {
  ScopedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (means_gone(errno)) {
      return std::nullopt;
    }
    throw system_error(errno, "cannot open").in_file(path);
  }
  std::string content;
  std::size_t length = 0;
  for (;;) {
    content.resize(std::max<std::size_t>(4096, length * 2));
    ssize_t n = ::read(file.get(), content.data() + length, content.size() - length);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      if (means_gone(errno)) {
        return std::nullopt;
      }
      throw system_error(errno, "cannot read").in_file(path);
    }
    length += static_cast<std::size_t>(n);
    if (n == 0) {
      content.resize(length);
      return content;
    }
  }
}

std::string read_proc_file(const std::string& path) {
  std::optional<std::string> content = try_read_file(path);
  if (!content) {
    throw Error(ErrorCode::kProcessGone, "the process ended meanwhile").in_file(path);
  }
  return std::move(*content);
}

std::optional<std::string> try_read_link(const std::string& path) {
  std::string target(256, '\0');
  for (;;) {
    ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
    if (n < 0) {
      if (means_gone(errno)) {
        return std::nullopt;
      }
      throw system_error(errno, "cannot read the link").in_file(path);
    }
    if (static_cast<std::size_t>(n) < target.size()) {
      target.resize(static_cast<std::size_t>(n));
      return target;
    }
    target.resize(target.size() * 2);
  }
}

std::optional<std::vector<int>> try_list_numbers(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), &::closedir);
  if (directory == nullptr) {
    if (means_gone(errno)) {
      return std::nullopt;
    }
    throw system_error(errno, "cannot open the directory").in_file(path);
  }
  std::vector<int> numbers;
  for (;;) {
    errno = 0;
    dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) {
      if (errno != 0 && !means_gone(errno)) {
        throw system_error(errno, "cannot read the directory").in_file(path);
      }
      break;
    }
    std::string_view name = entry->d_name;
    int number = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc() && end == name.data() + name.size()) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string_view cut_field(std::string_view& text, char separator) {
  std::size_t end = text.find(separator);
  std::string_view field = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return field;
}

std::string_view cut_word(std::string_view& text) {
  std::size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) {
    text = {};
    return {};
  }
  std::size_t end = text.find_first_of(" \t", start);
  std::string_view word = text.substr(start, end - start);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end);
  return word;
}

std::uint64_t parse_number(std::string_view text, int base, std::string_view what) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::kInternal,
                "the kernel shows '" + std::string(text) + "' for " + std::string(what));
  }
  return value;
}

std::int64_t parse_signed(std::string_view text, std::string_view what) {
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::kInternal,
                "the kernel shows '" + std::string(text) + "' for " + std::string(what));
  }
  return value;
}

} // namespace rrpcp::process
