#include "process/proc_smaps.h"

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace rrpcp::process {

namespace {

// Takes the text line by line.
class AreaParser {
public:
  void line(std::string_view text) {
    // "561cd51d6000-561cd51d8000 r--p …" or "Rss:   8 kB".
    std::size_t colon = text.find(':');
    std::size_t blank = text.find(' ');
    if (blank != std::string_view::npos && (colon == std::string_view::npos || blank < colon)) {
      areas_.emplace_back();
      areas_.back().mapping = parse_mapping(text);
      return;
    }
    if (areas_.empty() || colon == std::string_view::npos) {
      return;
    }
    ProcMemoryArea& area = areas_.back();
    std::string_view key = text.substr(0, colon);
    std::string_view rest = text.substr(colon + 1);
    if (key == "Anonymous") {
      area.anonymous = kilobytes(rest, key);
    } else if (key == "Swap") {
      area.swapped = kilobytes(rest, key);
    } else if (key == "KernelPageSize") {
      area.page_size = kilobytes(rest, key);
    } else if (key == "ProtectionKey") {
      area.protection_key = static_cast<std::uint16_t>(parse_number(cut_word(rest), 10, key));
    } else if (key == "VmFlags") {
      std::size_t start = rest.find_first_not_of(' ');
      area.flags = start == std::string_view::npos ? std::string_view() : rest.substr(start);
    }
  }

  std::vector<ProcMemoryArea> take() { return std::move(areas_); }

private:
  static std::uint64_t kilobytes(std::string_view text, std::string_view key) {
    return parse_number(cut_word(text), 10, key) * 1024;
  }

  std::vector<ProcMemoryArea> areas_;
};

} // namespace

bool ProcMemoryArea::has_flag(std::string_view name) const {
  for (std::size_t i = 0; i + name.size() <= flags.size(); i += 3) {
    if (std::string_view(flags).substr(i, name.size()) == name) {
      return true;
    }
  }
  return false;
}

std::vector<ProcMemoryArea> parse_memory_areas(std::string_view text) {
  AreaParser parser;
  while (!text.empty()) {
    parser.line(cut_field(text, '\n'));
  }
  return parser.take();
}

std::vector<ProcMemoryArea> read_memory_areas(pid_t pid) {
  // Piece by piece: the text of a process with many mappings is large.
  std::string path = proc_path(pid, "smaps");
  ScopedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    throw errno == ENOENT
        ? Error(ErrorCode::kProcessGone, "process " + std::to_string(pid) + " ended meanwhile")
        : system_error(errno, "cannot open").in_file(path);
  }
  AreaParser parser;
  std::string text;
  for (;;) {
    constexpr std::size_t kPiece = 8 << 10; // the kernel gives less at a time
    std::size_t kept = text.size();
    text.resize(kept + kPiece);
    ssize_t n = ::read(file.get(), text.data() + kept, kPiece);
    if (n < 0 && errno != EINTR) {
      throw errno == ESRCH
          ? Error(ErrorCode::kProcessGone, "process " + std::to_string(pid) + " ended meanwhile")
          : system_error(errno, "cannot read").in_file(path);
    }
    text.resize(kept + static_cast<std::size_t>(n < 0 ? 0 : n));
    if (n == 0) {
      return parser.take();
    }
    std::string_view rest = text;
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      parser.line(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
    text = std::string(rest);
  }
}

} // namespace rrpcp::process
