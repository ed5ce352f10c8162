// Reading page files of a loaded checkpoint.
#pragma once

#include "base/scoped_fd.h"
#include "legacy/checkpoint_impl.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rrpcp::compat {

// The open page file of one mapping. Throws Error where it changed since the checkpoint was loaded:
// kDamaged for another size or a file that is a link now.
class PageFile {
public:
  PageFile(const LegacyCheckpoint::Impl& legacy, std::uint32_t space, std::uint32_t mapping);

  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Fills all of `out`. Throws Error(kDamaged) where the file became shorter.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

private:
  std::string path_;
  ScopedFd fd_;
  std::uint64_t size_ = 0;
};

// Bytes that the importer reads at once: a whole number of pages of every size.
inline constexpr std::size_t kReadBytes = std::size_t{1} << 20;

} // namespace rrpcp::compat
