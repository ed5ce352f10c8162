// vFile: the files that are mapped, and what gdb looks for in /proc of the process.

#include "gdbserver/server.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp::gdbserver {

namespace {

constexpr std::size_t kMostOpen = 1000;

// The protocol has its own numbers: manual of gdb, "Errno Values".
std::string failure(int error) {
  int number = 9999;
  switch (error) {
  case EPERM:
  case ENOENT:
  case EINTR:
  case EBADF:
  case EACCES:
  case EFAULT:
  case EBUSY:
  case EEXIST:
  case ENODEV:
  case ENOTDIR:
  case EISDIR:
  case EINVAL:
  case ENFILE:
  case EMFILE:
  case EFBIG:
  case ENOSPC:
  case ESPIPE:
  case EROFS:
    number = error; // the same as those of Linux
    break;
  case ENAMETOOLONG:
    number = 91;
    break;
  default:
    break;
  }
  return "F-1," + hex_number(static_cast<std::uint64_t>(number));
}

void big_endian(std::string& text, std::uint64_t value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) {
    text.push_back(static_cast<char>(value >> (8 * i)));
  }
}

} // namespace

std::string Server::file(Words words) {
  if (words.take("setfs:")) {
    return "F0";
  }
  if (words.take("open:")) {
    return open_file(words);
  }
  if (words.take("pread:")) {
    return read_file(words);
  }
  if (words.take("close:")) {
    return close_file(words);
  }
  if (words.take("fstat:")) {
    return file_state(words);
  }
  if (words.take("readlink:")) {
    return link_target(words);
  }
  return {};
}

std::string Server::open_file(Words words) {
  const std::optional<std::string> path = from_hex(words.until(','));
  const std::uint64_t flags = words.hexadecimal();
  words.expect(",");
  words.hexadecimal(); // mode
  words.expect_end();
  if (!path) {
    throw BadPacket();
  }
  if ((flags & 3) != 0) {
    return failure(EROFS);
  }
  if (files_.size() >= kMostOpen) {
    return failure(EMFILE);
  }
  OpenFile opened;
  if (path->starts_with("/proc/" + std::to_string(settings_.process) + "/") &&
      path->ends_with("/maps")) {
    for (const TimelineMapping& mapping : debuggee_.mappings(settings_.process)) {
      char line[128];
      std::snprintf(line, sizeof line, "%llx-%llx %c%c%cp %08llx 00:00 0",
                    static_cast<unsigned long long>(mapping.start),
                    static_cast<unsigned long long>(mapping.end),
                    (mapping.protection & PROT_READ) != 0 ? 'r' : '-',
                    (mapping.protection & PROT_WRITE) != 0 ? 'w' : '-',
                    (mapping.protection & PROT_EXEC) != 0 ? 'x' : '-',
                    static_cast<unsigned long long>(mapping.offset));
      opened.contents += line;
      opened.contents += mapping.name.empty() ? "\n" : " " + mapping.name + "\n";
    }
  } else {
    opened.descriptor = debuggee_.open_file(*path);
    if (opened.descriptor < 0) {
      return failure(-opened.descriptor);
    }
  }
  files_[++last_file_] = opened;
  return "F" + signed_hex_number(last_file_);
}

std::string Server::read_file(Words words) {
  const auto found = files_.find(words.signed_hexadecimal());
  words.expect(",");
  const std::uint64_t length = std::min(words.hexadecimal(), kMostRead);
  words.expect(",");
  const std::uint64_t offset = words.hexadecimal();
  words.expect_end();
  if (found == files_.end()) {
    return failure(EBADF);
  }
  if (offset > INT64_MAX) {
    return failure(EINVAL);
  }
  std::string bytes;
  const OpenFile& file = found->second;
  if (file.descriptor < 0) {
    if (offset < file.contents.size()) {
      bytes =
          file.contents.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
    }
  } else {
    bytes.resize(static_cast<std::size_t>(length));
    const ssize_t n =
        ::pread(file.descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      return failure(errno);
    }
    bytes.resize(static_cast<std::size_t>(n));
  }
  return "F" + hex_number(bytes.size()) + ";" + escaped(bytes);
}

std::string Server::close_file(Words words) {
  const auto found = files_.find(words.signed_hexadecimal());
  words.expect_end();
  if (found == files_.end()) {
    return failure(EBADF);
  }
  if (found->second.descriptor >= 0) {
    ::close(found->second.descriptor);
  }
  files_.erase(found);
  return "F0";
}

// The protocol's struct stat: 64 bytes, big-endian.
std::string Server::file_state(Words words) {
  const auto found = files_.find(words.signed_hexadecimal());
  words.expect_end();
  if (found == files_.end()) {
    return failure(EBADF);
  }
  struct stat status = {};
  if (found->second.descriptor < 0) {
    status.st_mode = S_IFREG | 0444;
    status.st_size = static_cast<off_t>(found->second.contents.size());
  } else if (::fstat(found->second.descriptor, &status) != 0) {
    return failure(errno);
  }
  std::string text;
  big_endian(text, status.st_dev, 4);
  big_endian(text, status.st_ino, 4);
  big_endian(text, status.st_mode, 4);
  big_endian(text, status.st_nlink, 4);
  big_endian(text, status.st_uid, 4);
  big_endian(text, status.st_gid, 4);
  big_endian(text, status.st_rdev, 4);
  big_endian(text, static_cast<std::uint64_t>(status.st_size), 8);
  big_endian(text, static_cast<std::uint64_t>(status.st_blksize), 8);
  big_endian(text, static_cast<std::uint64_t>(status.st_blocks), 8);
  big_endian(text, static_cast<std::uint64_t>(status.st_atim.tv_sec), 4);
  big_endian(text, static_cast<std::uint64_t>(status.st_mtim.tv_sec), 4);
  big_endian(text, static_cast<std::uint64_t>(status.st_ctim.tv_sec), 4);
  return "F" + hex_number(text.size()) + ";" + escaped(text);
}

std::string Server::link_target(Words words) {
  const std::string path = words.hexadecimal_bytes();
  if (path != "/proc/" + std::to_string(settings_.process) + "/exe") {
    return failure(ENOENT);
  }
  for (const TimelineProcess& process : debuggee_.processes()) {
    if (process.pid == settings_.process) {
      return "F" + hex_number(process.executable.size()) + ";" + escaped(process.executable);
    }
  }
  return failure(ENOENT);
}

} // namespace rrpcp::gdbserver
