#include "replay/engine/changed_pages.h"

#include "base/hash.h"
#include "process/page_scan.h"
#include "process/proc_maps.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kPiece = 64 << 10;

std::uint64_t page_size() {
  static const auto size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

} // namespace

void visit_writable_pages(
    pid_t tid, process::RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> bytes)>& sink,
    PageRange part, const MadeCode* made) {
  process::PageScanner scanner(tid);
  std::vector<std::byte> buffer(kPiece);
  for (const process::ProcMapping& mapping : process::read_mappings(tid)) {
    const std::uint64_t start = std::max(mapping.start, part.from);
    const std::uint64_t end = std::min(mapping.end, part.to);
    const bool writable = (mapping.protection & PROT_WRITE) != 0 ||
                          (made != nullptr && made->executable_within(mapping.start, mapping.end));
    if (!writable || start >= end || (made != nullptr && made->hidden(mapping.start))) {
      continue;
    }
    scanner.scan(start, end, [&](const process::TouchedRange& range) {
      for (std::uint64_t at = range.start; at < range.end; at += kPiece) {
        std::span<std::byte> piece =
            std::span(buffer).first(std::min<std::uint64_t>(kPiece, range.end - at));
        piece = piece.first(memory.read_some(at, piece));
        sink(at, piece);
      }
    });
  }
}

PageDigests::PageDigests(pid_t tid, process::RemoteMemory& memory, PageRange part,
                         std::shared_ptr<const MadeCode> made)
    : part_{part.from & ~(page_size() - 1), part.to}, made_(std::move(made)) {
  visit_writable_pages(
      tid, memory,
      [&](std::uint64_t address, std::span<const std::byte> bytes) {
        for (std::size_t at = 0; at < bytes.size(); at += page_size()) {
          digests_.emplace_hint(digests_.end(), address + at,
                                xxh3_64(bytes.subspan(at, page_size())));
        }
      },
      part_, made_.get());
}

void PageDigests::visit_changes(
    pid_t tid, process::RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> page)>& sink) const {
  // Both are in order of address: what the walk passes by is no longer there.
  auto known = digests_.begin();
  std::vector<std::byte> given_up(page_size());
  auto pass = [&](std::uint64_t before) {
    for (; known != digests_.end() && known->first < before; ++known) {
      if (memory.read_some(known->first, given_up) == given_up.size() &&
          known->second != xxh3_64(given_up)) {
        sink(known->first, given_up);
      }
    }
  };
  visit_writable_pages(
      tid, memory,
      [&](std::uint64_t address, std::span<const std::byte> bytes) {
        for (std::size_t at = 0; at < bytes.size(); at += page_size()) {
          const std::span<const std::byte> page = bytes.subspan(at, page_size());
          pass(address + at);
          const bool found = known != digests_.end() && known->first == address + at;
          if (!found || known->second != xxh3_64(page)) {
            sink(address + at, page);
          }
          if (found) {
            ++known;
          }
        }
      },
      part_, made_.get());
  pass(~std::uint64_t{0});
}

} // namespace rrpcp::replay
