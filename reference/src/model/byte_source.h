// The bytes of a file that is being judged: a descriptor or memory.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rrpcp {

// Random access with plain reads: a mapping would end the program with SIGBUS where the file
// shrinks meanwhile. Immutable after construction; safe to use from several threads.
class ByteSource {
public:
  // Throws Error(kNotFound, kPermission, kInvalidArgument for anything but a regular file, …).
  static ByteSource open(const std::string& path);
  // The same for an open descriptor, which stays the caller's.
  static ByteSource duplicate(int fd, const std::string& name);
  // `bytes` must outlive the source.
  ByteSource(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  std::uint64_t size() const { return size_; }
  // In which the file lies; empty for bytes in memory.
  std::string directory() const;
  // Bytes that take space: less than size() where the file has holes.
  std::uint64_t stored_size() const { return stored_size_; }
  // Fills `out` from `offset`, which must lie inside the file. Throws Error(kSystem, kIncomplete).
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  // The bytes [offset, offset + length): in place, or read into `buffer` of at least that length.
  std::span<const std::byte> view(std::uint64_t offset, std::size_t length,
                                  std::span<std::byte> buffer) const;

private:
  ByteSource(ScopedFd file, const std::string& path);

  ScopedFd file_;
  std::span<const std::byte> bytes_;
  std::uint64_t size_ = 0;
  std::uint64_t stored_size_ = 0;
  std::string name_;
};

} // namespace rrpcp
