// A thread's list of work for the restorer, with words for everything that can fail.
#pragma once

#include "process/restore/arena.h"
#include "process/restore/restorer_abi.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// What to say and do where an operation fails.
struct OpFailure {
  // What was being done: "mapping", "setting the resource limit". A literal.
  const char* doing = "";
  // What it was done to. May be empty.
  std::string subject = {};
  enum class Policy : std::uint8_t {
    kFatal,  // the restore fails
    kWarn,   // the restore goes on; the caller is told
    kIgnore, // the restore goes on
  } policy = Policy::kFatal;
  // The memory it was done to, if any. (Kept as numbers: there are thousands of mappings, and
  // nobody reads most of their descriptions.)
  MemoryRange range = {};
};

// An argument of a system call: an integer or an address in the arena.
class OpArgument {
public:
  template <typename T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  OpArgument(T value) // NOLINT: meant to convert
      : value_(static_cast<std::uint64_t>(static_cast<std::int64_t>(value))) {}
  OpArgument(const void* pointer) // NOLINT
      : value_(reinterpret_cast<std::uint64_t>(pointer)) {}
  OpArgument(std::nullptr_t) {} // NOLINT

  std::uint64_t value() const { return value_; }

private:
  std::uint64_t value_ = 0;
};

// Grows until seal() puts it into the arena, where a child works through it. One thread at a time.
class OpList {
public:
  explicit OpList(Arena& arena) : arena_(arena) {}

  Arena& arena() { return arena_; }

  // Each appends one operation and returns its index.
  std::size_t system_call(OpFailure failure, long number, OpArgument a = 0, OpArgument b = 0,
                          OpArgument c = 0, OpArgument d = 0, OpArgument e = 0, OpArgument f = 0);
  std::size_t add(OpFailure failure, restorer::OpKind kind, OpArgument a = 0, OpArgument b = 0,
                  OpArgument c = 0, OpArgument d = 0, OpArgument e = 0, OpArgument f = 0);

  std::size_t size() const { return ops_.size(); }

  // Copies the operations into the arena and returns what the thread that works through them gets.
  // No operation may be added afterwards.
  restorer::Thread* seal(restorer::Control* control);

  // After seal(): the operation as the restorer sees it, to be changed before or read after it ran.
  restorer::Op& sealed(std::size_t index) { return sealed_[index]; }
  // The index of an operation by its address in the arena, if it is one of this list.
  std::optional<std::size_t> index_of(std::uint64_t address) const;
  // "mapping /lib/libc.so.6 at 0x1000".
  std::string describe(std::size_t index) const;
  const OpFailure& failure(std::size_t index) const { return failures_[index]; }
  // One sentence for each operation that failed and is to be told about. After all have run.
  std::vector<std::string> warnings() const;

private:
  Arena& arena_;
  std::vector<restorer::Op> ops_;
  std::vector<OpFailure> failures_;
  restorer::Op* sealed_ = nullptr;
};

} // namespace rrpcp::process::restore
