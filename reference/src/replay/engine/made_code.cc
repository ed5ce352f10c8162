#include "replay/engine/made_code.h"

#include "base/page.h"

#include <algorithm>

namespace rrpcp::replay {

bool MadeCode::contains(std::uint64_t address) const {
  auto after = ranges_.upper_bound(address);
  return after != ranges_.begin() && std::prev(after)->second > address;
}

void MadeCode::add(std::uint64_t start, std::uint64_t end) {
  // What it overlaps or touches becomes a part of it.
  auto at = ranges_.upper_bound(start);
  if (at != ranges_.begin() && std::prev(at)->second >= start) {
    --at;
  }
  while (at != ranges_.end() && at->first <= end) {
    start = std::min(start, at->first);
    end = std::max(end, at->second);
    at = ranges_.erase(at);
  }
  ranges_.emplace(start, end);
}

void MadeCode::remove(std::uint64_t start, std::uint64_t end) {
  set_writable(start, end);
  for (const Range& part : within(start, end)) {
    auto at = std::prev(ranges_.upper_bound(part.first));
    const Range whole = *at;
    ranges_.erase(at);
    if (whole.first < part.first) {
      ranges_.emplace(whole.first, part.first);
    }
    if (part.second < whole.second) {
      ranges_.emplace(part.second, whole.second);
    }
  }
}

std::vector<MadeCode::Range> MadeCode::within(std::uint64_t start, std::uint64_t end) const {
  std::vector<Range> parts;
  auto at = ranges_.upper_bound(start);
  if (at != ranges_.begin()) {
    --at;
  }
  for (; at != ranges_.end() && at->first < end; ++at) {
    const Range part(std::max(at->first, start), std::min(at->second, end));
    if (part.first < part.second) {
      parts.push_back(part);
    }
  }
  return parts;
}

void MadeCode::set_writable(std::uint64_t start, std::uint64_t end) {
  executable_.erase(executable_.lower_bound(start), executable_.lower_bound(end));
}

bool MadeCode::executable_within(std::uint64_t start, std::uint64_t end) const {
  auto at = executable_.upper_bound(start);
  if (at != executable_.begin() && *std::prev(at) + kPage > start) {
    return true;
  }
  return at != executable_.end() && *at < end;
}

std::vector<MadeCode::Range> MadeCode::executable_ranges() const {
  std::vector<Range> joined;
  for (const std::uint64_t page : executable_) {
    if (!joined.empty() && joined.back().second == page) {
      joined.back().second += kPage;
    } else {
      joined.emplace_back(page, page + kPage);
    }
  }
  return joined;
}

} // namespace rrpcp::replay
