#include "rrpcp/store.h"

#include "base/file.h"
#include "base/open_file.h"
#include "base/parallel.h"
#include "framing/header.h"
#include "framing/sections.h"
#include "model/same_memory.h"
#include "rrpcp/rewrite.h"
#include "store/atomic_file.h"
#include "store/pending_checkpoint.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>

namespace rrpcp {

namespace {

// The beginning and the end of a file, each read once: the few bytes that a listing looks at lie
// there, and every call of the kernel counts where there are many files.
class FileEnds {
public:
  FileEnds(int fd, std::uint64_t size, const std::string& path) : fd_(fd), path_(path) {
    head_length_ = read_at(fd, head_, 0, path);
    if (size > head_.size()) {
      tail_offset_ = size - tail_.size();
      tail_length_ = read_at(fd, tail_, tail_offset_, path);
    }
  }

  std::span<const std::byte> head() const { return std::span(head_).first(head_length_); }

  // Throws Error where the file does not have these bytes.
  void read(std::uint64_t offset, std::span<std::byte> out) const {
    if (holds(head(), offset, out.size())) {
      std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    } else if (offset >= tail_offset_ &&
               holds(std::span(tail_).first(tail_length_), offset - tail_offset_, out.size())) {
      std::copy_n(tail_.begin() + static_cast<std::ptrdiff_t>(offset - tail_offset_), out.size(),
                  out.begin());
    } else if (read_at(fd_, out, offset, path_) != out.size()) {
      throw Error(ErrorCode::kIncomplete, "the file became shorter while it was read")
          .in_file(path_)
          .at(offset);
    }
  }

private:
  static bool holds(std::span<const std::byte> bytes, std::uint64_t at, std::size_t length) {
    return at <= bytes.size() && length <= bytes.size() - at;
  }

  const int fd_;
  const std::string& path_;
  std::array<std::byte, 2048> head_;
  std::size_t head_length_ = 0;
  std::array<std::byte, 1024> tail_;
  std::uint64_t tail_offset_ = 0;
  std::size_t tail_length_ = 0;
};

// Reads header and footer of one file; nothing where it vanished.
std::optional<StoreEntry> examine(int directory, const char* name, const std::string& path) {
  StoreEntry entry;
  entry.path = path;
  const ScopedFd file = open_file(directory, name, O_RDONLY);
  if (!file && errno == ENOENT) {
    return std::nullopt;
  }
  try {
    if (!file) {
      throw system_error(errno, "cannot open").in_file(path);
    }
    struct stat status;
    if (::fstat(file.get(), &status) != 0) {
      throw system_error(errno, "cannot examine").in_file(path);
    }
    if (!S_ISREG(status.st_mode)) {
      throw Error(ErrorCode::kNotACheckpoint, "this is no regular file").in_file(path);
    }
    entry.file_size = static_cast<std::uint64_t>(status.st_size);
    framing::ThrowingSink sink(path);
    const FileEnds ends(file.get(), entry.file_size, path);
    const std::span<const std::byte> head = ends.head();
    entry.header = framing::check_header(
                       head.first(std::min(head.size(), framing::HeaderBytes().size())), sink)
                       .header.value();
    const framing::ReadBytes read = [&](std::uint64_t offset, std::span<std::byte> out) {
      ends.read(offset, out);
    };
    const Footer footer = framing::check_footer(read, entry.file_size, entry.header, sink).value();
    // Whether all of its sections that must be understood are.
    framing::check_directory(read, entry.header, footer, sink);
    entry.id = footer.id;
  } catch (const Error& error) {
    entry.problem = error;
  }
  return entry;
}

// Files that one thread examines before it asks for more; so few are not worth another thread.
constexpr std::size_t kAtOnce = 64;

// Place of a checkpoint's state in its trace. An event boundary comes before anything inside the
// event; marks that are reached from a boundary sort by the mark.
auto position_key(const StoreEntry& entry) {
  const Header& header = entry.header;
  using Key = std::tuple<std::int64_t, bool, std::int64_t, std::uint32_t, std::int64_t,
                         const std::optional<CheckpointId>&, const std::string&>;
  return Key(header.event, header.position_kind == format::kPositionBetween, header.ticks,
             header.order, header.mark_event, entry.id, entry.path);
}

} // namespace

Store::Store(std::string directory) : directory_(std::move(directory)) {}

std::vector<StoreEntry> Store::list() const {
  std::vector<StoreEntry> entries;
  int fd = ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    return entries;
  }
  if (fd < 0) {
    throw system_error(errno, "cannot open the directory").in_file(directory_);
  }
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd), &::closedir);
  if (directory == nullptr) {
    int saved = errno;
    ::close(fd);
    throw system_error(saved, "cannot read the directory").in_file(directory_);
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    dirent* item = ::readdir(directory.get());
    if (item == nullptr) {
      if (errno != 0) {
        throw system_error(errno, "cannot read the directory").in_file(directory_);
      }
      break;
    }
    std::string_view name = item->d_name;
    if (!name.ends_with(".pcp") || name.starts_with('.')) {
      continue;
    }
    names.emplace_back(name);
  }
  std::vector<std::optional<StoreEntry>> examined(names.size());
  const std::uint64_t pieces = (names.size() + kAtOnce - 1) / kAtOnce;
  parallel_for(pieces, available_processors(), [&](std::uint64_t piece, unsigned) {
    const std::size_t end = std::min(names.size(), (piece + 1) * kAtOnce);
    for (std::size_t i = piece * kAtOnce; i < end; ++i) {
      examined[i] = examine(fd, names[i].c_str(), directory_ + "/" + names[i]);
    }
  });
  for (std::optional<StoreEntry>& entry : examined) {
    if (entry) {
      entries.push_back(std::move(*entry));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const StoreEntry& a, const StoreEntry& b) {
    return position_key(a) < position_key(b);
  });
  return entries;
}

const StoreEntry* Store::choose_best(const std::vector<StoreEntry>& entries, const Target& target) {
  const StoreEntry* best = nullptr;
  for (const StoreEntry& entry : entries) {
    bool fits = !entry.problem && entry.header.event <= target.event &&
                (target.trace.is_nil() || entry.header.trace_uuid == target.trace);
    if (fits) {
      best = &entry;
    }
  }
  return best;
}

std::string Store::publish(const HeaderFields& fields,
                           const std::function<CheckpointId(Output&)>& write) const {
  return publish_checkpoint(directory_, fields.event, write, {}).path;
}

PublishedCheckpoint publish_checkpoint(const std::string& directory, std::int64_t event,
                                       const std::function<CheckpointId(Output&)>& write,
                                       const std::function<void(const CheckpointReader&)>& verify,
                                       const std::function<std::optional<std::string>()>& instead) {
  PendingCheckpoint pending(directory);
  const CheckpointId id = write(pending.output());
  return pending.publish(event, id, verify, instead);
}

std::optional<std::string> find_same_place(const std::string& directory,
                                           const HeaderFields& fields) {
  for (const StoreEntry& entry : Store(directory).list()) {
    const Header& header = entry.header;
    if (entry.problem || header.trace_uuid != fields.trace_uuid || header.event != fields.event ||
        header.position_kind != fields.position_kind || header.mark_event != fields.mark_event ||
        header.mark_ticks != fields.mark_ticks || header.order != fields.order ||
        header.instructions != fields.instructions) {
      continue;
    }
    try {
      const CheckpointReader reader = CheckpointReader::open(entry.path);
      reader.open_bases();
      reader.read_stream(0, reader.footer().page_count, [](std::span<const std::byte>) {});
      return entry.path;
    } catch (const Error&) {
      // That one is of no use: it may be replaced, or another one found.
    }
  }
  return std::nullopt;
}

PublishedCheckpoint publish_flattened(const CheckpointReader& checkpoint,
                                      const std::string& directory, const WriterOptions& options) {
  return publish_checkpoint(
      directory, checkpoint.header().event,
      [&](Output& output) { return flatten_checkpoint(checkpoint, output, options); },
      [&](const CheckpointReader& flat) {
        if (const std::optional<std::string> what = different_content(flat, checkpoint)) {
          throw Error(ErrorCode::kInternal, "the flattened checkpoint differs in " + *what)
              .in_file(checkpoint.name());
        }
      });
}

bool Store::remove(const std::string& file_name) const {
  if (file_name.find('/') != std::string::npos || !file_name.ends_with(".pcp")) {
    throw Error(ErrorCode::kInvalidArgument, "'" + file_name + "' names no checkpoint");
  }
  const std::string path = directory_ + "/" + file_name;
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) {
      return false;
    }
    throw system_error(errno, "cannot remove").in_file(path);
  }
  ScopedFd directory(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) {
    sync_directory(directory.get(), directory_);
  }
  return true;
}

std::string Store::file_name(std::int64_t event, const CheckpointId& id) {
  return checkpoint_file_name(event, id, 1);
}

} // namespace rrpcp
