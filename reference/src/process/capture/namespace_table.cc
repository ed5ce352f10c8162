#include "process/capture/namespace_table.h"

#include "base/clock.h"
#include "process/capture/data_bytes.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <time.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

void build_id_map(std::string_view text, std::vector<std::array<std::uint32_t, 3>>& ranges) {
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    std::array<std::uint32_t, 3> range{};
    for (std::uint32_t& number : range) {
      number = static_cast<std::uint32_t>(parse_number(cut_word(line), 10, "a mapped id"));
    }
    // The whole of a namespace's ids is written with the one that means "none".
    range[2] = std::min(range[2], UINT32_MAX - std::max(range[0], range[1]));
    ranges.push_back(range);
  }
}

template <typename Init> void set_id_map(const std::string& text, Init init) {
  std::vector<std::array<std::uint32_t, 3>> ranges;
  build_id_map(text, ranges);
  if (ranges.empty()) {
    return;
  }
  auto out = init(static_cast<unsigned>(ranges.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setInside(ranges[i][0]);
    out[i].setOutside(ranges[i][1]);
    out[i].setCount(ranges[i][2]);
  }
}

} // namespace

std::uint32_t NamespaceTable::add(pid_t pid, pid_t tid) {
  const NamespaceIds ids = read_namespaces(pid, tid);
  auto known =
      std::find_if(sets_.begin(), sets_.end(), [&](const Set& set) { return set.ids == ids; });
  if (known != sets_.end()) {
    return static_cast<std::uint32_t>(known - sets_.begin());
  }
  sets_.push_back({pid, ids, read_clock_offsets(pid), {}, {}, {}, {}});
  const auto index = static_cast<std::uint32_t>(sets_.size() - 1);
  if (foreign(index, NamespaceKind::kUser)) {
    sets_.back().uid_map = read_proc_file(proc_path(pid, "uid_map"));
    sets_.back().gid_map = read_proc_file(proc_path(pid, "gid_map"));
  }
  return index;
}

bool NamespaceTable::foreign(std::uint32_t set, NamespaceKind kind) const {
  const auto i = static_cast<std::size_t>(kind);
  return sets_[set].ids[i] != own_[i];
}

void NamespaceTable::set_names(std::uint32_t set, std::string node, std::string domain) {
  sets_[set].node = std::move(node);
  sets_[set].domain = std::move(domain);
}

void NamespaceTable::build(schema::State::Builder state) const {
  auto out = state.initNamespaceSets(static_cast<unsigned>(sets_.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    const Set& set = sets_[i];
    schema::NamespaceSet::Builder target = out[i];
    auto describe = [&](NamespaceKind kind, auto init) {
      const NamespaceId& id = set.ids[static_cast<std::size_t>(kind)];
      if (id.inode == 0) {
        return;
      }
      schema::Namespace::Builder space = init();
      space.setDevice(id.device);
      space.setInode(id.inode);
      space.setForeign(foreign(i, kind));
    };
    describe(NamespaceKind::kUser, [&] { return target.initUser(); });
    describe(NamespaceKind::kMount, [&] { return target.initMount(); });
    describe(NamespaceKind::kPid, [&] { return target.initPid(); });
    describe(NamespaceKind::kPidForChildren, [&] { return target.initPidForChildren(); });
    describe(NamespaceKind::kTime, [&] { return target.initTime(); });
    describe(NamespaceKind::kTimeForChildren, [&] { return target.initTimeForChildren(); });
    describe(NamespaceKind::kInterProcess, [&] { return target.initInterProcess(); });
    describe(NamespaceKind::kNetwork, [&] { return target.initNetwork(); });
    describe(NamespaceKind::kHostName, [&] { return target.initHostName(); });
    describe(NamespaceKind::kControlGroup, [&] { return target.initControlGroup(); });
    set_id_map(set.uid_map, [&](unsigned count) { return target.initUidMap(count); });
    set_id_map(set.gid_map, [&](unsigned count) { return target.initGidMap(count); });
    target.setMonotonicOffset(set.offsets.monotonic);
    target.setBoottimeOffset(set.offsets.boottime);
    target.setNodeName(as_data(set.node));
    target.setDomainName(as_data(set.domain));
  }
  if (sets_.empty()) {
    return;
  }
  const ClockOffsets own = read_clock_offsets(0);
  const ClockOffsets& theirs = sets_.front().offsets;
  auto clocks = state.initClocks();
  clocks.setRealtime(read_clock(CLOCK_REALTIME));
  clocks.setMonotonic(read_clock(CLOCK_MONOTONIC) - own.monotonic + theirs.monotonic);
  clocks.setBoottime(read_clock(CLOCK_BOOTTIME) - own.boottime + theirs.boottime);
  clocks.setBootId(as_data(read_boot_id()));
}

} // namespace rrpcp::process::capture
