#include "replay/engine/memory_digests.h"

#include "base/hash.h"
#include "base/page.h"
#include "process/proc_maps.h"
#include "replay/engine/changed_pages.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <sys/mman.h>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kPiece = 64 << 10;

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::uint64_t page_digest(std::span<const std::byte> page) {
  return std::max<std::uint64_t>(xxh3_64(page), 1); // 0 means something else
}

} // namespace

std::uint64_t RangeDigest::add(process::RemoteMemory& memory,
                               const trace::EventData::Range& range) {
  buffer_.resize(kPiece);
  std::uint64_t done = 0;
  while (done < range.length) {
    const std::uint64_t wanted = std::min(kPiece, range.length - done);
    const std::span<std::byte> piece = std::span(buffer_).first(wanted);
    const std::size_t read = memory.read_some(range.address + done, piece);
    hash_.update(piece.first(read));
    done += read;
    if (read < wanted) {
      break;
    }
  }
  return done;
}

std::uint64_t RangeDigest::of_readable(process::RemoteMemory& memory,
                                       std::vector<trace::EventData::Range>& ranges) {
  hash_.reset();
  std::size_t kept = 0;
  for (trace::EventData::Range range : ranges) {
    range.length = add(memory, range);
    if (range.length != 0) {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
  return hash_.digest();
}

std::optional<std::uint64_t> RangeDigest::of(process::RemoteMemory& memory,
                                             const std::vector<trace::EventData::Range>& ranges) {
  hash_.reset();
  for (const trace::EventData::Range& range : ranges) {
    if (add(memory, range) != range.length) {
      return std::nullopt;
    }
  }
  return hash_.digest();
}

void add_memory_digests(pid_t tid, process::RemoteMemory& memory,
                        const std::vector<trace::EventData::Range>& changing,
                        trace::EventData& event, const MadeCode* made) {
  std::vector<trace::EventData::Digests>& list = event.memory_digests;
  std::uint64_t next = 0; // address behind the last page
  std::array<std::byte, sizeof(std::uint64_t)> bytes{};
  const auto add = [&](std::uint64_t address, std::span<const std::byte> pages) {
    for (std::uint64_t at = 0; at + kPage <= pages.size(); at += kPage) {
      const std::uint64_t page = address + at;
      const bool changes =
          std::any_of(changing.begin(), changing.end(), [&](const trace::EventData::Range& range) {
            return range.address < page + kPage &&
                   page - std::min(page, range.address) < range.length;
          });
      const std::uint64_t digest = changes ? 0 : page_digest(pages.subspan(at, kPage));
      std::memcpy(bytes.data(), &digest, bytes.size());
      const trace::ByteRange stored = event.append(bytes);
      if (list.empty() || page != next) {
        list.push_back({page, stored});
      } else {
        list.back().pages.length += bytes.size();
      }
      next = page + kPage;
    }
  };
  visit_writable_pages(tid, memory, add, {}, made);
}

std::optional<PageDifference> find_difference(pid_t tid, process::RemoteMemory& memory,
                                              const trace::EventData& event) {
  std::optional<PageDifference> first;
  std::vector<std::byte> page(kPage);
  for (const trace::EventData::Digests& run : event.memory_digests) {
    const std::span<const std::byte> digests = event.bytes(run.pages);
    for (std::size_t at = 0; at + sizeof(std::uint64_t) <= digests.size();
         at += sizeof(std::uint64_t)) {
      std::uint64_t recorded = 0;
      std::memcpy(&recorded, digests.data() + at, sizeof recorded);
      const std::uint64_t address = run.address + at / sizeof(std::uint64_t) * kPage;
      const bool differs = recorded != 0 && (memory.read_some(address, page) != page.size() ||
                                             page_digest(page) != recorded);
      if (differs && !first) {
        first = PageDifference{address, 1};
      } else if (differs && address == first->address + first->pages * kPage) {
        ++first->pages;
      }
    }
  }
  if (first) {
    return first;
  }
  std::vector<process::ProcMapping> anonymous = process::read_mappings(tid);
  std::erase_if(anonymous, [](const process::ProcMapping& mapping) {
    return mapping.inode != 0 || mapping.shared;
  });
  auto run = event.memory_digests.begin();
  const auto end = event.memory_digests.end();
  visit_writable_pages(tid, memory, [&](std::uint64_t address, std::span<const std::byte> pages) {
    for (std::uint64_t at = 0; at + kPage <= pages.size() && !first; at += kPage) {
      const std::uint64_t place = address + at;
      auto behind = [&] {
        return run->address + run->pages.length / sizeof(std::uint64_t) * kPage;
      };
      while (run != end && behind() <= place) {
        ++run;
      }
      const bool known = run != end && run->address <= place;
      if (!known && !is_zero(pages.subspan(at, kPage)) &&
          std::any_of(anonymous.begin(), anonymous.end(), [&](const process::ProcMapping& mapping) {
            return mapping.start <= place && place < mapping.end;
          })) {
        first = PageDifference{place, 1, true};
      }
    }
  });
  return first;
}

} // namespace rrpcp::replay
