#include "process/proc_fdinfo.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <limits>

namespace rrpcp::process {

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

std::string bytes_of_hex(std::string_view digits) {
  std::string bytes;
  for (; digits.size() >= 2; digits.remove_prefix(2)) {
    bytes += static_cast<char>(parse_number(digits.substr(0, 2), 16, "a file handle"));
  }
  return bytes;
}

// "inotify wd:1 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1
// f_handle:7e9e0000640d1b6d", numbers in hexadecimal.
FdInotifyWatch parse_inotify(std::string_view line) {
  FdInotifyWatch watch;
  cut_word(line);
  while (!line.empty()) {
    std::string_view value = cut_word(line);
    const std::string_view key = cut_field(value, ':');
    if (key == "f_handle") {
      watch.handle = bytes_of_hex(value);
    } else if (key == "wd") {
      watch.descriptor = static_cast<int>(parse_number(value, 16, "a watch"));
    } else if (key == "ino") {
      watch.inode = parse_number(value, 16, "the inode of a watched file");
    } else if (key == "sdev") {
      watch.device = parse_number(value, 16, "the device of a watched file");
    } else if (key == "mask") {
      watch.mask = static_cast<std::uint32_t>(parse_number(value, 16, "watched events"));
    } else if (key == "fhandle-type") {
      watch.handle_type = static_cast<int>(parse_number(value, 16, "the type of a file handle"));
    }
  }
  return watch;
}

// "(1, 500000000)": seconds and nanoseconds.
std::uint64_t parse_time(std::string_view text) {
  constexpr std::uint64_t kPerSecond = 1'000'000'000;
  text.remove_prefix(std::min(text.find('(') + 1, text.size()));
  const std::uint64_t seconds = parse_number(cut_field(text, ','), 10, "a time");
  cut_field(text, ' ');
  return seconds * kPerSecond + parse_number(cut_field(text, ')'), 10, "a time");
}

// A line of a timerfd. Returns false for one that is of something else.
bool parse_timer_line(std::string_view key, std::string_view line, std::optional<FdTimer>& timer) {
  if (key == "clockid") {
    timer.emplace().clock = static_cast<int>(parse_signed(cut_word(line), "a clock"));
    return true;
  }
  if (!timer) {
    return false;
  }
  if (key == "ticks") {
    timer->ticks = parse_number(cut_word(line), 10, "the ticks of a timer");
  } else if (key == "settime flags") {
    timer->settings =
        static_cast<std::uint32_t>(parse_number(cut_word(line), 8, "the flags of a timer"));
  } else if (key == "it_value") {
    timer->remaining = parse_time(line);
  } else if (key == "it_interval") {
    timer->interval = parse_time(line);
  } else {
    return false;
  }
  return true;
}

} // namespace

FdInfo FdInfo::parse(std::string_view text) {
  FdInfo info;
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    if (line.starts_with("inotify wd:")) {
      info.inotify.push_back(parse_inotify(line));
      continue;
    }
    std::string_view key = cut_field(line, ':');
    if (key == "lock") {
      info.locks.push_back(parse_lock(line));
      continue;
    }
    if (key == "tfd") {
      info.watches.push_back(parse_watch(line));
      continue;
    }
    if (parse_timer_line(key, line, info.timer)) {
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
    } else if (key == "sigmask") {
      info.signal_mask = parse_number(word, 16, "the mask of a signalfd");
    } else if (key == "Pid") {
      info.pid = static_cast<int>(parse_signed(word, "the process of a pidfd"));
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

} // namespace rrpcp::process
