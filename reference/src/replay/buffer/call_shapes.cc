#include "replay/buffer/call_shapes.h"

#include "trace/call_table.h"

#include <cstddef>
#include <sys/syscall.h>

namespace rrpcp::replay::buffer {

namespace {

constexpr std::uint64_t kTerminalRequest = 0x5401; // TCGETS of asm-generic/ioctls.h

// What the table of system calls does not say.
struct Wanted {
  long number;
  std::uint8_t descriptor = 0;
  std::uint8_t needs = 0;
  CallCheck check = CallCheck::kNone;
  std::uint8_t checked = 0;
};

constexpr Wanted kWanted[] = {
    {SYS_read, 0, kRegular},
    {SYS_write, 0, kRegular | kWritable},
    {SYS_open, 0, 0, CallCheck::kNoTruncation, 1},
    {SYS_close, 0, kRegular, CallCheck::kClose},
    {SYS_stat},
    {SYS_fstat, 0, kRegular},
    {SYS_lstat},
    {SYS_lseek, 0, kRegular},
    {SYS_mmap, 0, 0, CallCheck::kPrivate},
    {SYS_munmap, 0, 0, CallCheck::kMappedHere},
    {SYS_brk},
    {SYS_rt_sigaction, 0, 0, CallCheck::kNotFault, 0},
    {SYS_ioctl, 0, kRegular, CallCheck::kTerminal, 1},
    {SYS_pread64, 0, kRegular},
    {SYS_pwrite64, 0, kRegular | kWritable},
    {SYS_access},
    {SYS_getpid},
    {SYS_uname},
    {SYS_fcntl, 0, kRegular, CallCheck::kReading, 1},
    {SYS_getcwd},
    {SYS_chdir},
    {SYS_fchdir, 0, kRegular},
    {SYS_rename},
    {SYS_mkdir},
    {SYS_rmdir},
    {SYS_link},
    {SYS_unlink},
    {SYS_symlink},
    {SYS_readlink},
    {SYS_chmod},
    {SYS_fchmod, 0, kRegular},
    {SYS_umask},
    {SYS_gettimeofday},
    {SYS_getrusage},
    {SYS_sysinfo},
    {SYS_times},
    {SYS_getuid},
    {SYS_getgid},
    {SYS_geteuid},
    {SYS_getegid},
    {SYS_getppid},
    {SYS_getpgrp},
    {SYS_getresuid},
    {SYS_getresgid},
    {SYS_getpgid},
    {SYS_getsid},
    {SYS_statfs},
    {SYS_fstatfs, 0, kRegular},
    {SYS_gettid},
    {SYS_time},
    {SYS_getdents64, 0, kRegular},
    {SYS_fadvise64, 0, kRegular},
    {SYS_set_tid_address},
    {SYS_clock_gettime},
    {SYS_clock_getres},
    {SYS_openat, 0, 0, CallCheck::kNoTruncation, 2},
    {SYS_mkdirat},
    {SYS_newfstatat},
    {SYS_unlinkat},
    {SYS_renameat},
    {SYS_linkat},
    {SYS_symlinkat},
    {SYS_readlinkat},
    {SYS_fchmodat},
    {SYS_faccessat},
    {SYS_utimensat},
    {SYS_renameat2},
    {SYS_set_robust_list},
    {SYS_prlimit64, 0, 0, CallCheck::kAsking, 2},
    {SYS_getrandom},
    {SYS_statx},
    {SYS_faccessat2},
};

// Nothing where the code does not know how to treat it.
bool translate(const trace::Part& part, CallPart& to) {
  using Kind = trace::Extent::Kind;
  to.argument = part.argument;
  to.from = part.extent.from;
  to.size = part.extent.size;
  const bool unit = part.extent.size == 1 && part.extent.plus == 0;
  if (part.access == trace::Part::Access::kInOut) {
    return false;
  }
  switch (part.extent.kind) {
  case Kind::kBytes:
    to.kind = part.is_output() ? PartKind::kWritten : PartKind::kRead;
    return part.when == trace::Part::When::kSucceeded;
  case Kind::kText:
    to.kind = PartKind::kText;
    return part.is_input();
  case Kind::kArgument:
    to.kind = PartKind::kReadMany;
    return part.is_input() && unit;
  case Kind::kResult:
    to.kind = PartKind::kResult;
    return part.is_output() && unit;
  default:
    return false;
  }
}

CallShape shape_of(const Wanted& wanted) {
  const trace::SystemCall call = [&] {
    trace::SystemCall any;
    any.number = wanted.number;
    any.arguments[1] = wanted.number == SYS_fcntl   ? 1 // F_GETFD
                       : wanted.number == SYS_ioctl ? kTerminalRequest
                                                    : 0;
    return any;
  }();
  const trace::CallRow& row = trace::call_row(call);
  CallShape shape{};
  std::size_t count = 0;
  for (const trace::Part& part : row.parts) {
    if (part.access == trace::Part::Access::kNone) {
      continue;
    }
    if (count == std::size(shape.parts) || !translate(part, shape.parts[count])) {
      return {};
    }
    ++count;
  }
  using File = trace::FileChange::Kind;
  const bool file_fits =
      row.file.kind == File::kNone ||
      (row.file.kind == File::kWritten && (wanted.needs & kWritable) != 0) ||
      (row.file.kind == File::kSizeOfResult && wanted.check == CallCheck::kNoTruncation);
  const bool care_fits = row.care == trace::Care::kNone || wanted.check == CallCheck::kPrivate;
  if (row.compared || row.refusal.error != 0 || !file_fits || !care_fits) {
    return {};
  }
  shape.known = 1;
  shape.descriptor = wanted.descriptor;
  shape.needs = wanted.needs;
  shape.check = wanted.check;
  shape.checked = wanted.checked;
  return shape;
}

} // namespace

const std::array<CallShape, kNumbers>& call_shapes() {
  static const std::array<CallShape, kNumbers> shapes = [] {
    std::array<CallShape, kNumbers> made{};
    for (const Wanted& wanted : kWanted) {
      made[static_cast<std::size_t>(wanted.number)] = shape_of(wanted);
    }
    return made;
  }();
  return shapes;
}

int descriptor_of(const trace::SystemCall& call) {
  if (call.number < 0 || call.number >= kNumbers) {
    return -1;
  }
  const CallShape& shape = call_shapes()[static_cast<std::size_t>(call.number)];
  const std::uint64_t descriptor = call[shape.descriptor] & 0xffffffff;
  return shape.needs != 0 && descriptor < kDescriptors ? static_cast<int>(descriptor) : -1;
}

} // namespace rrpcp::replay::buffer
