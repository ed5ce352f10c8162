#include "replay/engine/changed_pages.h"

#include "base/hash.h"
#include "process/page_scan.h"
#include "process/proc_maps.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>
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
    pid_t tid, RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> bytes)>& sink) {
  PageScanner scanner(tid);
  std::vector<std::byte> buffer(kPiece);
  for (const ProcMapping& mapping : read_mappings(tid)) {
    if ((mapping.protection & PROT_WRITE) == 0) {
      continue;
    }
    scanner.scan(mapping.start, mapping.end, [&](const TouchedRange& range) {
      for (std::uint64_t at = range.start; at < range.end; at += kPiece) {
        std::span<std::byte> piece =
            std::span(buffer).first(std::min<std::uint64_t>(kPiece, range.end - at));
        piece = piece.first(memory.read_some(at, piece));
        sink(at, piece);
      }
    });
  }
}

PageDigests::PageDigests(pid_t tid, RemoteMemory& memory) {
  visit_writable_pages(tid, memory, [&](std::uint64_t address, std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += page_size()) {
      digests_[address + at] = xxh3_64(bytes.subspan(at, page_size()));
    }
  });
}

void PageDigests::visit_changes(
    pid_t tid, RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> page)>& sink) const {
  visit_writable_pages(tid, memory, [&](std::uint64_t address, std::span<const std::byte> bytes) {
    for (std::size_t at = 0; at < bytes.size(); at += page_size()) {
      const std::span<const std::byte> page = bytes.subspan(at, page_size());
      auto known = digests_.find(address + at);
      if (known == digests_.end() || known->second != xxh3_64(page)) {
        sink(address + at, page);
      }
    }
  });
}

} // namespace rrpcp::replay
