// A read-only mapping of part of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rrpcp {

// Maps [offset, offset + length) of a file, whatever the alignment; unmaps it when it goes out of
// scope. Move-only.
class MappedRange {
public:
  MappedRange() = default;
  // Throws Error naming `name`.
  MappedRange(int fd, std::uint64_t offset, std::uint64_t length, const std::string& name);
  MappedRange(MappedRange&& other) noexcept;
  MappedRange& operator=(MappedRange&& other) noexcept;
  ~MappedRange();

  std::span<const std::byte> bytes() const { return bytes_; }

private:
  void* base_ = nullptr;
  std::size_t mapped_length_ = 0;
  std::span<const std::byte> bytes_;
};

} // namespace rrpcp
