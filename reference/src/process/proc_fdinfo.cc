#include "process/proc_fdinfo.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <limits>

namespace rrpcp {

namespace {

// "1: POSIX  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"
FdLock parse_lock(std::string_view line) {
  FdLock lock;
  cut_word(line); // ordinal
  std::string_view kind = cut_word(line);
  if (kind == "POSIX") {
    lock.kind = FdLock::Kind::kPosix;
  } else if (kind == "OFDLCK") {
    lock.kind = FdLock::Kind::kOpenFileDescription;
  } else if (kind == "FLOCK") {
    lock.kind = FdLock::Kind::kFlock;
  } else if (kind == "LEASE") {
    lock.kind = FdLock::Kind::kLease;
  }
  lock.breaking = cut_word(line) == "BREAKING"; // else ADVISORY, ACTIVE …
  const std::string_view type = cut_word(line);
  lock.exclusive = type == "WRITE";
  lock.is_read = type == "READ";
  cut_word(line); // process
  cut_word(line); // device and inode
  lock.start = parse_number(cut_word(line), 10, "the start of a lock");
  std::string_view end = cut_word(line);
  lock.end = end == "EOF" ? static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())
                          : parse_number(end, 10, "the end of a lock");
  return lock;
}

// "       5 events:       19 data:                5  pos:0 ino:61af sdev:7"
FdWatch parse_watch(std::string_view line) {
  FdWatch watch;
  watch.fd = static_cast<int>(parse_number(cut_word(line), 10, "a watched descriptor"));
  // The kernel pads with blanks after some of the colons.
  while (!line.empty()) {
    std::string_view key = cut_word(line);
    std::size_t colon = key.find(':');
    if (colon == std::string_view::npos) {
      break;
    }
    std::string_view value = key.substr(colon + 1);
    key = key.substr(0, colon);
    if (value.empty()) {
      value = cut_word(line);
    }
    if (key == "events") {
      watch.events = static_cast<std::uint32_t>(parse_number(value, 16, "watched events"));
    } else if (key == "data") {
      watch.data = parse_number(value, 16, "the data of a watch");
    } else if (key == "ino") {
      watch.inode = parse_number(value, 16, "the inode of a watched file");
    }
  }
  return watch;
}

} // namespace

FdInfo FdInfo::parse(std::string_view text) {
  FdInfo info;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    std::string_view key = cut_field(line, ':');
    if (key == "lock") {
      info.locks.push_back(parse_lock(line));
      continue;
    }
    if (key == "tfd") {
      info.watches.push_back(parse_watch(line));
      continue;
    }
    std::string_view word = cut_word(line);
    if (key == "pos") {
      // A position can be negative, as that of /proc/PID/mem; it is kept as 64 bits.
      info.position = word.starts_with('-')
                          ? static_cast<std::uint64_t>(parse_signed(word, "a file position"))
                          : parse_number(word, 10, "a file position");
    } else if (key == "flags") {
      info.flags = static_cast<std::uint32_t>(parse_number(word, 8, "the flags of a file"));
    } else if (key == "mnt_id") {
      info.mount = static_cast<int>(parse_number(word, 10, "a mount"));
    } else if (key == "ino") {
      info.inode = parse_number(word, 10, "an inode");
    } else if (key == "eventfd-count") {
      info.eventfd_count = parse_number(word, 16, "the count of an eventfd");
    } else if (key == "eventfd-semaphore") {
      info.eventfd_semaphore = parse_number(word, 10, "the kind of an eventfd") != 0;
    }
  }
  return info;
}

std::optional<FdInfo> FdInfo::try_read(pid_t pid, int fd) {
  std::optional<std::string> text = try_read_file(proc_path(pid, "fdinfo/" + std::to_string(fd)));
  return text ? std::optional(parse(*text)) : std::nullopt;
}

std::vector<int> read_open_descriptors(pid_t pid) {
  std::string path = proc_path(pid, "fd");
  std::optional<std::vector<int>> descriptors = try_list_numbers(path);
  if (!descriptors) {
    throw Error(ErrorCode::kProcessGone, "the process ended meanwhile").in_file(path);
  }
  return *descriptors;
}

} // namespace rrpcp
