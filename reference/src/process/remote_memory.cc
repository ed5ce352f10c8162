#include "process/remote_memory.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <sys/uio.h>
#include <unistd.h>

namespace rrpcp::process {

namespace {

std::string hex(std::uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

Error gone_error(pid_t pid) {
  return Error(ErrorCode::kProcessGone, "process " + std::to_string(pid) + " ended meanwhile");
}

} // namespace

int RemoteMemory::memory_file() {
  if (!memory_file_) {
    std::string path = proc_path(pid_, "mem");
    memory_file_.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!memory_file_) {
      throw errno == ENOENT || errno == ESRCH ? gone_error(pid_)
                                              : system_error(errno, "cannot open").in_file(path);
    }
  }
  return memory_file_.get();
}

std::size_t RemoteMemory::read_some(std::uint64_t address, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    iovec local{out.data() + done, out.size() - done};
    iovec remote{reinterpret_cast<void*>(address + done), out.size() - done};
    ssize_t n = -1;
    errno = EFAULT;
    if (pages_ == Pages::kOwn) {
      n = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    }
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (n < 0 && errno == ESRCH) {
      throw gone_error(pid_);
    }
    if (n < 0 && errno != EFAULT && errno != ENOSYS && errno != EPERM) {
      throw system_error(errno, "cannot read the memory of process " + std::to_string(pid_));
    }
    // The other way, which also reaches what process_vm_readv(2) does not.
    n = ::pread(memory_file(), out.data() + done, out.size() - done,
                static_cast<off_t>(address + done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (n == 0) {
      throw gone_error(pid_); // the address space is gone
    }
    if (errno == EINTR) {
      continue;
    }
    if (errno == EIO || errno == EFAULT) {
      break;
    }
    throw system_error(errno, "cannot read the memory of process " + std::to_string(pid_));
  }
  return done;
}

void RemoteMemory::read(std::uint64_t address, std::span<std::byte> out) {
  std::size_t n = read_some(address, out);
  if (n != out.size()) {
    throw Error(ErrorCode::kSystem,
                "cannot read address " + hex(address + n) + " of process " + std::to_string(pid_))
        .with_errno(EFAULT);
  }
}

void RemoteMemory::read_ranges(std::span<const iovec> ranges, std::span<std::byte> out) {
  if (pages_ == Pages::kOwn) {
    iovec local{out.data(), out.size()};
    ssize_t n = ::process_vm_readv(pid_, &local, 1, ranges.data(), ranges.size(), 0);
    if (n >= 0 && static_cast<std::size_t>(n) == out.size()) {
      return;
    }
  }
  // One by one, with words where something cannot be read.
  for (const iovec& range : ranges) {
    read(reinterpret_cast<std::uintptr_t>(range.iov_base), out.first(range.iov_len));
    out = out.subspan(range.iov_len);
  }
}

void RemoteMemory::write(std::uint64_t address, std::span<const std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = ::pwrite(memory_file(), bytes.data() + done, bytes.size() - done,
                         static_cast<off_t>(address + done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0) {
      throw gone_error(pid_);
    } else if (errno != EINTR) {
      throw system_error(errno, "cannot write address " + hex(address + done) + " of process " +
                                    std::to_string(pid_));
    }
  }
}

} // namespace rrpcp::process
