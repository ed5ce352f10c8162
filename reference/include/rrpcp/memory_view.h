// The memory of a stored address space, by address.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace RRPCP_PUBLIC rrpcp {

// Where backing files are looked for, and how far they are trusted.
struct BackingFiles {
  // Directory of the trace, for paths relative to it. Empty: such files cannot be read.
  std::string trace_directory = {};
  // Compare the content with the stored digests before the first use of a file.
  bool verify_digests = true;
};

// Reads memory of address space `space` lazily: chunks are decoded on first use and some kept.
// The reader must outlive the view. One thread at a time; make one view per thread.
class MemoryView {
public:
  // Throws Error(kInvalidArgument) where there is no such space.
  MemoryView(const CheckpointReader& reader, std::size_t space, BackingFiles files = {});
  ~MemoryView();
  MemoryView(MemoryView&&) noexcept;

  // Fills `out` from `address` and returns how many bytes could be read: fewer than asked where the
  // range meets an address without contents (unmapped, not stored, or a guard page).
  // Throws Error for damage, and kBackingFile for a missing or changed backing file.
  std::size_t read(std::uint64_t address, std::span<std::byte> out);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
