// The memory in which the library prepares what the restorer works through.
#pragma once

#include "process/restore/memory_range.h"
#include "process/restore/restorer_abi.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rrpcp::process::restore {

// A shared anonymous mapping at an address that neither this process nor the one to be made uses,
// with the restorer's code at its start. A child inherits it at the same address, so pointers into
// it mean the same in both. Unmapped from this process by the destructor. One thread at a time.
//
// Just below it lies the parking place: addresses without a mapping, to which the child moves the
// kernel's vDSO while it rearranges its address space.
class Arena {
public:
  // `size` bytes are reserved, not used; `parking_size` is a number of bytes too. `avoid`: the
  // address space to be made. Throws Error(kLimit), kSystem.
  Arena(std::uint64_t size, std::uint64_t parking_size, std::vector<MemoryRange> avoid);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  MemoryRange range() const { return range_; }
  std::uint64_t parking() const { return parking_; }

  // Zeroed memory for `count` objects, valid as long as the arena. Throws Error(kLimit) where the
  // arena is full.
  template <typename T> T* allocate(std::size_t count = 1) {
    static_assert(std::is_trivially_copyable_v<T>);
    return static_cast<T*>(allocate_bytes(count * sizeof(T), alignof(T)));
  }
  // A copy of `value` in the arena.
  template <typename T> T* place(const T& value) {
    T* copy = allocate<T>();
    std::memcpy(static_cast<void*>(copy), &value, sizeof(T));
    return copy;
  }
  template <typename T> T* place_array(std::span<const T> values) {
    T* copy = allocate<T>(values.size());
    if (!values.empty()) {
      std::memcpy(static_cast<void*>(copy), values.data(), values.size_bytes());
    }
    return copy;
  }
  // A copy with a NUL behind it.
  const char* place_string(std::string_view text);

  // Entry of the restorer for the first thread of the new process; does not return.
  using Enter = void (*)(restorer::Thread*);
  Enter enter() const;
  // Address of a `syscall` instruction.
  std::uint64_t syscall_instruction() const;

private:
  void* allocate_bytes(std::size_t size, std::size_t alignment);
  std::uint64_t code_address(const void* in_library) const;

  MemoryRange range_;
  std::uint64_t parking_ = 0;
  std::uint64_t next_ = 0;
};

} // namespace rrpcp::process::restore
