// Digests of a process's memory, by which a replay is compared with the recording.
#pragma once

#include "base/xxh3_stream.h"
#include "process/remote_memory.h"
#include "replay/engine/made_code.h"
#include "trace/event.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

// Digests of ranges of memory, one after the other.
class RangeDigest {
public:
  // XXH3-64 of what the ranges hold. Ranges are shortened to what can be read of them, and left out
  // where that is nothing. Throws kProcessGone.
  std::uint64_t of_readable(process::RemoteMemory& memory,
                            std::vector<trace::EventData::Range>& ranges);
  // The same where all of it must be readable; nothing where it is not.
  std::optional<std::uint64_t> of(process::RemoteMemory& memory,
                                  const std::vector<trace::EventData::Range>& ranges);

private:
  // Adds the bytes and returns how many could be read.
  std::uint64_t add(process::RemoteMemory& memory, const trace::EventData::Range& range);

  Xxh3Stream64 hash_;
  std::vector<std::byte> buffer_;
};

// Appends to event.memory_digests those of all pages that the process may have written, but for the
// pages of `changing`, for which it puts 0. `made` as for visit_writable_pages(). Takes time by the
// amount of memory. Throws Error.
void add_memory_digests(pid_t tid, process::RemoteMemory& memory,
                        const std::vector<trace::EventData::Range>& changing,
                        trace::EventData& event, const MadeCode* made);

// The first page of a process that is not what the event's memory_digests say.
struct PageDifference {
  std::uint64_t address = 0;
  // Pages from there on that differ too, the first included.
  std::uint64_t pages = 0;
  // It is not among them: the recorded program had not touched it, and it holds something.
  bool unknown = false;
};

// Compares; nothing where there is no difference. Pages of private anonymous memory that the event
// does not have must be zero. Throws Error.
std::optional<PageDifference> find_difference(pid_t tid, process::RemoteMemory& memory,
                                              const trace::EventData& event);

} // namespace rrpcp::replay
