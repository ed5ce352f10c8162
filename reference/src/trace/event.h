// One event of a recording in memory.
#pragma once

#include "rrpcp/schema/trace.capnp.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::trace {

// Bytes that an event holds: a piece of EventData::bytes.
struct ByteRange {
  std::size_t offset = 0;
  std::size_t length = 0;
};

enum class EventKind : std::uint16_t {
  kSystemCall,
  kSystemCallBegun,
  kSystemCallFinished,
  kExec,
  kNewTask,
  kExit,
  kSignal,
  kTrap,
  kPreemption,
};

// "system call", "new task", …
std::string_view event_kind_name(EventKind kind);

// The fields of schema::Event (schema/trace.capnp), which says what they mean. An object is used
// again for event after event, so that none costs allocations: clear() keeps the memory.
class EventData {
public:
  struct Write {
    std::uint64_t address = 0;
    ByteRange data;
    pid_t task = 0; // of another process; 0: the event's
  };
  struct Shared {
    std::uint32_t object = 0;
    std::uint64_t size = 0;
    std::uint64_t offset = 0;
    ByteRange data;
    std::uint64_t cleared = 0;
  };
  struct Followed {
    pid_t task = 0;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint32_t object = 0;
    std::uint64_t offset = 0;
  };
  struct Range {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
  };
  struct Digests {
    std::uint64_t address = 0;
    ByteRange pages; // 8 bytes each
  };
  struct Mapping {
    std::string file;                    // empty: an object
    std::optional<std::uint32_t> object; // nothing: a file
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::string path;
    bool read_only = false;
  };

  EventKind kind = EventKind::kSystemCall;
  pid_t task = 0;
  std::uint64_t time = 0;
  std::optional<user_regs_struct> registers;
  std::optional<user_regs_struct> registers_after;
  std::int64_t result = 0;
  ByteRange extended_registers; // empty: none
  std::optional<std::uint64_t> signal_mask;
  std::vector<Write> memory;
  std::vector<Shared> shared;
  std::vector<Followed> followed;
  std::optional<Mapping> mapping;
  int output = 0;
  std::vector<Range> output_ranges;
  std::uint64_t output_digest = 0;
  std::vector<Range> inputs;
  std::uint64_t input_digest = 0;
  std::vector<Digests> memory_digests;

  // kExec
  std::string image;
  std::string executable;
  std::vector<std::string> arguments;
  pid_t former_task = 0;
  // kNewTask
  pid_t child = 0;
  pid_t child_process = 0;
  std::uint64_t flags = 0;
  user_regs_struct child_registers{};
  std::vector<Write> child_memory;
  // kExit
  int status = 0;
  // kSignal
  ByteRange signal_info; // 128 bytes
  schema::SignalCause cause = schema::SignalCause::ASYNCHRONOUS;
  // The task comes to it by one instruction, with which it was stepped.
  bool is_step() const {
    return kind == EventKind::kSignal && cause == schema::SignalCause::STEPPED;
  }
  // kTrap
  schema::TrappedInstruction instruction = schema::TrappedInstruction::RDTSC;

  void clear();
  // Room for `length` bytes more, to be filled by the caller before the next call of any method.
  std::span<std::byte> append(std::size_t length, ByteRange& range);
  ByteRange append(std::span<const std::byte> bytes);
  // Takes back the last `length` bytes.
  void shrink(ByteRange& range, std::size_t length);
  std::span<const std::byte> bytes(ByteRange range) const {
    return std::span(bytes_).subspan(range.offset, range.length);
  }

  std::span<std::byte> bytes_of(ByteRange range) {
    return std::span(bytes_).subspan(range.offset, range.length);
  }

  // The message; pieces() is what has to be stored beside it.
  void encode(schema::Event::Builder out) const;
  // The event's data in the order of the schema. Valid until the object is changed.
  void pieces(std::vector<std::span<const std::byte>>& out) const;
  // Takes over a message. Returns the room for its `data_length` bytes of data, which the caller
  // has to fill; where they are more than `most`, there is no room: the ranges of `memory`,
  // `shared` and `child_memory` are places in the event's data then (data_elsewhere). Throws
  // Error(kDamaged), without a file name, for register sets of a wrong length and for another
  // length of data than the message says; kUnsupportedFeature for an unknown kind.
  std::span<std::byte> decode(schema::Event::Reader in, std::uint64_t data_length,
                              std::uint64_t most = UINT64_MAX);
  bool data_elsewhere() const { return data_elsewhere_; }

private:
  void decode_kind(schema::Event::Reader in);

  std::vector<std::byte> bytes_;
  bool data_elsewhere_ = false;
};

} // namespace rrpcp::trace
