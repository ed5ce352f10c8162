#include "base/own_directory.h"

#include "rrpcp/error.h"

#include <array>
#include <cerrno>
#include <climits>
#include <deque>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

namespace {

constexpr int kMostLinks = 40; // as the kernel

// Puts the components of a path in front of those that are still to be walked.
void add_components(std::string_view path, std::deque<std::string>& components) {
  auto at = components.begin();
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view component = path.substr(0, slash);
    if (!component.empty() && component != ".") {
      at = std::next(components.insert(at, std::string(component)));
    }
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
}

bool is_foreign(const struct stat& link, const struct stat& directory) {
  constexpr mode_t kShared = S_ISVTX | S_IWOTH;
  return (directory.st_mode & kShared) == kShared && link.st_uid != ::geteuid() &&
         link.st_uid != directory.st_uid;
}

} // namespace

ScopedFd open_own_directory(const std::string& path) {
  auto failed = [&](int error) {
    return system_error(error, "cannot open the directory").in_file(path);
  };
  std::deque<std::string> components;
  add_components(path, components);
  constexpr int kPlace = O_PATH | O_DIRECTORY | O_CLOEXEC;
  ScopedFd at(::open(path.starts_with('/') ? "/" : ".", kPlace));
  int links = 0;
  while (at && !components.empty()) {
    const std::string name = std::move(components.front());
    components.pop_front();
    ScopedFd next(::openat(at.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat found;
    if (!next || ::fstat(next.get(), &found) != 0) {
      throw failed(errno);
    }
    if (!S_ISLNK(found.st_mode)) {
      at = std::move(next);
      continue;
    }
    struct stat directory;
    if (::fstat(at.get(), &directory) != 0) {
      throw failed(errno);
    }
    if (is_foreign(found, directory)) {
      throw Error(ErrorCode::kPermission,
                  "'" + name + "' is a symbolic link that user " + std::to_string(found.st_uid) +
                      " has put into a directory that everybody may write to")
          .in_file(path)
          .with_hint("name the directory itself that is meant");
    }
    std::array<char, PATH_MAX> target;
    const ssize_t length = ::readlinkat(next.get(), "", target.data(), target.size());
    if (length < 0 || ++links > kMostLinks) {
      throw failed(length < 0 ? errno : ELOOP);
    }
    const std::string_view text(target.data(), static_cast<std::size_t>(length));
    if (text.starts_with('/')) {
      at.reset(::open("/", kPlace));
    }
    add_components(text, components);
  }
  ScopedFd directory;
  if (at) {
    directory.reset(::openat(at.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (!directory) {
    throw failed(errno);
  }
  return directory;
}

} // namespace rrpcp
