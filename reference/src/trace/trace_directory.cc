#include "rrpcp/trace/trace_directory.h"

#include "rrpcp/error.h"
#include "rrpcp/trace/trace_format.h"
#include "trace/private_entries.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace fs = std::filesystem;

namespace {

// NAME-N taken apart; nothing for any other name.
struct TraceName {
  std::string program;
  std::uint64_t number = 0;
};

std::optional<TraceName> parse_name(const std::string& name) {
  const std::size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash + 1 == name.size()) {
    return std::nullopt;
  }
  TraceName parsed;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data() + dash + 1, end, parsed.number);
  if (result.ec != std::errc() || result.ptr != end) {
    return std::nullopt;
  }
  parsed.program = name.substr(0, dash);
  return parsed;
}

// The environment variable, or an empty text.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw system_error(error.value(), "cannot list the traces").in_file(directory);
  }
  return names;
}

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path;
}

} // namespace

std::string trace_root() {
  if (const std::string root = variable("_PCP_RR_TRACE_DIR"); !root.empty()) {
    return without_trailing_slashes(root);
  }
  if (const std::string data = variable("XDG_DATA_HOME"); !data.empty()) {
    return without_trailing_slashes(data) + "/pcp-rr";
  }
  const std::string home = variable("HOME");
  if (home.empty()) {
    throw Error(ErrorCode::kNotFound, "there is no place for traces")
        .with_hint("set _PCP_RR_TRACE_DIR or HOME");
  }
  return without_trailing_slashes(home) + "/.local/share/pcp-rr";
}

std::string make_trace_directory(const std::string& root, std::string_view program) {
  std::error_code error;
  fs::create_directories(root, error);
  if (error) {
    throw system_error(error.value(), "cannot make the directory for traces").in_file(root);
  }
  std::string base(program.substr(program.rfind('/') + 1));
  if (base.empty() || base == "." || base == "..") {
    base = "trace";
  }
  base.resize(std::min<std::size_t>(base.size(), 200));
  std::uint64_t number = 0;
  for (const std::string& name : names_in(root)) {
    const std::optional<TraceName> parsed = parse_name(name);
    if (parsed && parsed->program == base && parsed->number >= number &&
        parsed->number < UINT64_MAX / 2) {
      number = parsed->number + 1;
    }
  }
  for (;; ++number) {
    std::string path = root + "/" + base + "-" + std::to_string(number);
    if (trace::make_private_directory(path)) {
      return path;
    }
  }
}

void make_trace_directory_at(const std::string& path) {
  if (trace::make_private_directory(path)) {
    return;
  }
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    throw system_error(EEXIST, "cannot make the trace's directory").in_file(path);
  }
  if (!names_in(path).empty()) {
    throw Error(ErrorCode::kExists, "the directory exists and is not empty")
        .in_file(path)
        .with_hint("name a directory that does not exist yet");
  }
  if (::chmod(path.c_str(), 0700) != 0) {
    throw system_error(errno, "cannot keep the trace's directory from others").in_file(path);
  }
}

void set_latest_trace(const std::string& directory) {
  const fs::path trace(without_trailing_slashes(directory));
  const fs::path root = trace.has_parent_path() ? trace.parent_path() : fs::path(".");
  const std::string link = (root / std::string(kLatestTraceName)).string();
  struct stat status = {};
  if (::lstat(link.c_str(), &status) == 0 && !S_ISLNK(status.st_mode)) {
    throw Error(ErrorCode::kExists, "this is no symbolic link, and is left as it is").in_file(link);
  }
  for (;;) {
    std::uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) {
      throw system_error(errno, "cannot get random bytes for a temporary name");
    }
    const std::string temporary = (root / (".latest-trace-" + std::to_string(random))).string();
    if (::symlink(trace.filename().c_str(), temporary.c_str()) != 0) {
      if (errno == EEXIST) {
        continue;
      }
      throw system_error(errno, "cannot make the link to the latest trace").in_file(link);
    }
    if (::rename(temporary.c_str(), link.c_str()) != 0) {
      const int error = errno;
      ::unlink(temporary.c_str());
      throw system_error(error, "cannot make the link to the latest trace").in_file(link);
    }
    return;
  }
}

std::string find_trace(const std::string& name) {
  if (name.empty()) {
    return trace_root() + "/" + std::string(kLatestTraceName);
  }
  if (name.find('/') != std::string::npos || name == "." || name == "..") {
    return without_trailing_slashes(name);
  }
  std::error_code ignored;
  try {
    const std::string inside = trace_root() + "/" + name;
    if (fs::exists(inside, ignored)) {
      return inside;
    }
  } catch (const Error&) {
    // Without a root the name can only be a path.
  }
  return name;
}

bool is_pcp_trace(const std::string& directory) {
  std::error_code ignored;
  const fs::path path(directory);
  // rr's traces have a stream of that name too, but a file "version" beside it.
  return fs::is_regular_file(path / std::string(trace_format::kEventsName), ignored) &&
         !fs::exists(path / "version", ignored) && !fs::exists(path / "incomplete", ignored);
}

std::vector<std::string> list_traces(const std::string& root) {
  std::vector<std::string> names;
  for (std::string& name : names_in(root)) {
    std::error_code ignored;
    if (!fs::is_symlink(fs::path(root) / name, ignored) && is_pcp_trace(root + "/" + name)) {
      names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    const std::optional<TraceName> first = parse_name(a);
    const std::optional<TraceName> second = parse_name(b);
    if (first && second && first->program == second->program) {
      return first->number < second->number;
    }
    return a < b;
  });
  return names;
}

} // namespace rrpcp
