// Where a writer's bytes go.
#pragma once

#include "rrpcp/export.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

// A sequential output over a file descriptor: regular file, pipe or socket. Does not own the
// descriptor. Handles short writes and EINTR; every other failure is thrown with the name and the
// byte. One thread at a time.
class Output {
public:
  // `name` is what errors call the file. Offsets count from 0 at construction, whatever the
  // descriptor's own position is.
  Output(int fd, std::string name);

  // Writes all of `bytes`. Throws Error (kNoSpace, kSystem, …).
  void write(std::span<const std::byte> bytes);
  // Writes zero bytes until the offset is a multiple of `alignment` (a power of two).
  void pad_to(std::uint64_t alignment);
  // Of a file that is not small: makes sure that blocks for the next `bytes` are there, and for some
  // more, where the file can preallocate (fallocate(2)). Never fails.
  void reserve(std::uint64_t bytes);
  // Gives back what was preallocated and not written. Throws Error.
  void trim();

  std::uint64_t offset() const { return offset_; }
  const std::string& name() const { return name_; }

private:
  int fd_;
  std::string name_;
  std::uint64_t offset_ = 0;
  std::uint64_t reserved_ = 0;
  // Position of the descriptor at construction; -1 where space cannot be reserved.
  std::int64_t base_ = -1;
};

} // namespace rrpcp
