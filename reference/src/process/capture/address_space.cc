#include "process/capture/address_space.h"

#include "process/capture/data_bytes.h"
#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <future>
#include <string_view>
#include <sys/mman.h>
#include <tuple>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

std::string describe(const ProcMapping& mapping) {
  char range[64];
  std::snprintf(range, sizeof range, "0x%llx-0x%llx",
                static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  return std::string(range) + (mapping.name.empty() ? "" : " (" + mapping.name + ")");
}

bool within(const ProcMapping& mapping, const AddressRange& range) {
  return range.start <= mapping.start && mapping.end <= range.end;
}

bool comes_before(const AddressRange& range, std::uint64_t address) {
  return range.end <= address;
}

bool is_same_mapping(const ProcMapping& a, const ProcMemoryArea& area) {
  const ProcMapping& b = area.mapping;
  return std::tie(a.start, a.end, a.protection, a.shared, a.offset, a.device, a.inode, a.name) ==
         std::tie(b.start, b.end, b.protection, b.shared, b.offset, b.device, b.inode, b.name);
}

// Whether the mapping is in one of the ranges, which are in order.
bool is_within(const ProcMapping& mapping, const std::vector<AddressRange>& ranges) {
  const auto found =
      std::lower_bound(ranges.begin(), ranges.end(), mapping.start + 1, comes_before);
  return found != ranges.end() && within(mapping, *found);
}

// Advice bits of spec/model.md, in their order.
constexpr std::array<std::string_view, 8> kAdviceFlags = {"dc", "wf", "dd", "hg",
                                                          "nh", "mg", "sr", "rr"};
// UFFDIO_REGISTER_MODE_MISSING, _WP and _MINOR (linux/userfaultfd.h), in their order.
constexpr std::array<std::string_view, 3> kUserFaultFlags = {"um", "uw", "ui"};

std::uint32_t advice_of(const ProcMemoryArea& memory) {
  std::uint32_t advice = 0;
  for (std::size_t bit = 0; bit < kAdviceFlags.size(); ++bit) {
    advice |= memory.has_flag(kAdviceFlags[bit]) ? 1u << bit : 0u;
  }
  return advice;
}

// Whether the runs say no more than "as the object", or "zeros" where there is none.
bool are_plain(const std::vector<PageRun>& runs, bool has_object) {
  schema::RunKind plain = has_object ? schema::RunKind::BACKING : schema::RunKind::ZERO;
  return std::all_of(runs.begin(), runs.end(),
                     [&](const PageRun& run) { return run.kind == plain; });
}

} // namespace

AddressSpaceCollector::AddressSpaceCollector(pid_t pid, ObjectTable& objects, Refusals& refusals,
                                             bool join)
    : pid_(pid), objects_(objects), refusals_(refusals), join_(join),
      page_size_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))) {}

void AddressSpaceCollector::collect_frozen() {
  mappings_ = read_mappings(pid_);
  for (const ProcMapping& mapping : mappings_) {
    if (mapping.shared && is_object(mapping_kind(mapping))) {
      objects_.add(pid_, mapping);
    }
  }
}

void AddressSpaceCollector::note_locked(const std::vector<ProcMemoryArea>& areas) {
  for (const ProcMemoryArea& area : areas) {
    if (area.has_flag("lo")) {
      locked_.push_back({area.mapping.start, area.mapping.end});
      if (area.has_flag("lf")) {
        locked_on_fault_.push_back(locked_.back());
      }
    }
  }
}

void AddressSpaceCollector::set_aside(AddressRange range, PageSpool& spool) {
  SavedArea saved{range, {}, {}};
  RemoteMemory memory(pid_);
  PageScanner scanner(pid_);
  std::vector<std::byte> buffer(256 << 10);
  scanner.scan(range.start, range.end, [&](const TouchedRange& touched) {
    if (touched.file) {
      return;
    }
    for (std::uint64_t at = touched.start; at < touched.end;) {
      auto piece =
          std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), touched.end - at));
      memory.read(at, piece);
      saved.pages.push_back({{at, piece.size()}, spool.append(piece)});
      at += piece.size();
    }
  });
  scanner.scan_guards(range.start, range.end, [&](const TouchedRange& guard) {
    saved.guards.push_back({guard.start, guard.end});
  });
  saved_.push_back(std::move(saved));
}

void AddressSpaceCollector::set_aside_missing(pid_t copy, PageSpool& spool) {
  // The sizes tell without reading the mappings once more.
  auto size_of = [](pid_t pid) {
    const std::string text = read_proc_file(proc_path(pid, "statm"));
    std::string_view rest = text;
    return parse_number(cut_word(rest), 10, "the size of a process");
  };
  if (size_of(pid_) == size_of(copy)) {
    return;
  }
  std::vector<ProcMapping> copied = read_mappings(copy);
  std::vector<ProcMemoryArea> areas = read_memory_areas(pid_);
  for (ProcMemoryArea& area : areas) {
    auto same = std::lower_bound(
        copied.begin(), copied.end(), area.mapping.start,
        [](const ProcMapping& mapping, std::uint64_t start) { return mapping.start < start; });
    const bool missing =
        same == copied.end() || same->start != area.mapping.start || same->end != area.mapping.end;
    if (missing && area.has_flag("dc")) {
      set_aside({area.mapping.start, area.mapping.end}, spool);
      missing_.push_back(std::move(area));
    }
  }
}

namespace {

// Adds a range behind the others, joined with the last one where they meet.
void add_range(std::vector<AddressRange>& ranges, std::uint64_t start, std::uint64_t end) {
  if (start >= end) {
    return;
  }
  if (!ranges.empty() && ranges.back().end >= start) {
    ranges.back().end = std::max(ranges.back().end, end);
  } else {
    ranges.push_back({start, end});
  }
}

// Calls `inside` for the parts of [start, end) that lie in one of the ranges, which are in order,
// and `outside` for the others.
template <typename Inside, typename Outside>
void cut(std::uint64_t start, std::uint64_t end, const std::vector<AddressRange>& ranges,
         Inside inside, Outside outside) {
  auto next = std::lower_bound(ranges.begin(), ranges.end(), start + 1, comes_before);
  while (start < end) {
    if (next == ranges.end() || next->start >= end) {
      outside(start, end);
      return;
    }
    if (next->start > start) {
      outside(start, next->start);
      start = next->start;
    }
    const std::uint64_t to = std::min(next->end, end);
    inside(start, to);
    start = to;
    ++next;
  }
}

} // namespace

void AddressSpaceCollector::note_written(std::uint64_t start, std::uint64_t end) {
  written_.push_back({start, end});
  written_bytes_ += end - start;
}

bool AddressSpaceCollector::find_written(const ProcMapping& mapping, const WrittenBefore& before,
                                         PageScanner& scanner) {
  // Rows that are protected one by one, rather than all pages being walked once more.
  constexpr std::size_t kMostAlone = 64;
  std::vector<AddressRange> gaps; // nothing can be read there
  std::vector<AddressRange> guards;
  std::vector<AddressRange> now;
  const auto look = [&] {
    gaps.clear();
    guards.clear();
    return scanner.scan_watched(mapping.start, mapping.end, [&](const WatchedRange& range) {
      if (range.absent || range.guard) {
        add_range(gaps, range.start, range.end);
      }
      if (range.guard) {
        add_range(guards, range.start, range.end);
      } else if (range.written) {
        now.push_back({range.start, range.end});
      }
    });
  };
  if (!look()) {
    return false;
  }
  // What is protected is read after that, so that nothing is missed which somebody writes
  // meanwhile: it would be seen the next time.
  const bool few = now.size() <= kMostAlone;
  const std::vector<AddressRange> alone =
      few ? now : std::vector<AddressRange>{{mapping.start, mapping.end}};
  const auto note = [&](const TouchedRange& range) { now.push_back({range.start, range.end}); };
  for (const AddressRange& range : alone) {
    if (!scanner.take_written(range.start, range.end, note)) {
      return false;
    }
  }
  if (!few && !look()) { // nothing is a gap that was protected as written
    return false;
  }
  cut(
      mapping.start, mapping.end, before.written,
      [&](std::uint64_t start, std::uint64_t end) {
        now.push_back({start, end});
      },
      [](std::uint64_t, std::uint64_t) {});
  std::sort(now.begin(), now.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.start < b.start; });
  std::vector<AddressRange> changed;
  for (const AddressRange& range : now) {
    add_range(changed, range.start, range.end);
  }
  const auto nothing = [](std::uint64_t, std::uint64_t) {};
  const auto written = [&](std::uint64_t start, std::uint64_t end) { note_written(start, end); };
  cut(mapping.start, mapping.end, gaps, nothing, [&](std::uint64_t start, std::uint64_t end) {
    cut(start, end, changed, written, [&](std::uint64_t from, std::uint64_t to) {
      // What the base does not have is read: that should not be.
      cut(
          from, to, before.known,
          [&](std::uint64_t a, std::uint64_t b) { add_range(unwritten_, a, b); }, written);
    });
  });
  guards_.insert(guards_.end(), guards.begin(), guards.end());
  return true;
}

void AddressSpaceCollector::note_unwritten(const WrittenBefore& before) {
  watched_ = before.watched;
  unwritten_.clear();
  written_.clear();
  guards_.clear();
  written_bytes_ = 0;
  PageScanner scanner(pid_);
  for (const ProcMapping& mapping : mappings_) {
    const MappingKind kind = mapping_kind(mapping);
    const auto note_guards = [&] {
      scanner.scan_guards(mapping.start, mapping.end, [&](const TouchedRange& guard) {
        guards_.push_back({guard.start, guard.end});
      });
    };
    if (mapping.shared && is_object(kind)) {
      note_guards();
    }
    if (mapping.shared || (kind != MappingKind::kPrivateAnonymous && kind != MappingKind::kFile)) {
      continue;
    }
    if (!is_within(mapping, watched_)) {
      scanner.scan(mapping.start, mapping.end, [&](const TouchedRange& touched) {
        if (!touched.file) {
          note_written(touched.start, touched.end);
        }
      });
      note_guards();
    } else if (!find_written(mapping, before, scanner)) {
      watched_.clear();
      unwritten_.clear();
      written_.clear();
      written_bytes_ = UINT64_MAX; // everything is compared
      return;
    }
  }
}

template <typename Read, typename Unchanged>
void AddressSpaceCollector::split(AddressRange range, Read read, Unchanged unchanged) const {
  auto next = std::lower_bound(unwritten_.begin(), unwritten_.end(), range.start + 1, comes_before);
  for (std::uint64_t at = range.start; at < range.end;) {
    if (next == unwritten_.end() || next->start >= range.end) {
      read(AddressRange{at, range.end});
      return;
    }
    if (next->start > at) {
      read(AddressRange{at, next->start});
      at = next->start;
    }
    const std::uint64_t end = std::min(next->end, range.end);
    unchanged(AddressRange{at, end});
    at = end;
    ++next;
  }
}

bool AddressSpaceCollector::examine_before(const MemoryReport& report) {
  const bool same = std::equal(mappings_.begin(), mappings_.end(), report.areas.begin(),
                               report.areas.end(), is_same_mapping);
  if (!same) {
    return false; // it has mapped something meanwhile
  }
  source_ = pid_;
  policies_ = report.policies;
  examine_areas(report.areas);
  touched_bytes_ = written_bytes_;
  if (std::any_of(areas_.begin(), areas_.end(),
                  [](const Area& area) { return area.kind == MappingKind::kOther; })) {
    return false; // files that cannot be opened are read through the process, whatever their size
  }
  return true;
}

void AddressSpaceCollector::plan_aside() {
  aside_ranges_.clear();
  next_aside_ = 0;
  std::uint64_t filled = 0;
  const auto add = [&](std::uint64_t start, std::uint64_t end) {
    aside_ranges_.push_back({{start, end - start}, filled});
    filled += end - start;
  };
  auto next = written_.begin();
  for (const ProcMapping& mapping : mappings_) {
    if (mapping_kind(mapping) == MappingKind::kVdso) {
      add(mapping.start, mapping.end);
    }
    for (; next != written_.end() && next->start < mapping.end; ++next) {
      add(next->start, next->end);
    }
  }
  aside_->reserve(filled, false);
}

void AddressSpaceCollector::read_aside() {
  constexpr std::size_t kPart = 128; // ranges
  static_assert(kPart <= IOV_MAX);
  RemoteMemory memory(pid_);
  std::vector<iovec> ranges;
  for (;;) {
    const std::size_t first = next_aside_.fetch_add(kPart);
    if (first >= aside_ranges_.size()) {
      return;
    }
    const std::size_t end = std::min(first + kPart, aside_ranges_.size());
    ranges.clear();
    for (std::size_t i = first; i < end; ++i) {
      ranges.push_back(
          {reinterpret_cast<void*>(aside_ranges_[i].range.offset), aside_ranges_[i].range.length});
    }
    const PlacedRange& last = aside_ranges_[end - 1];
    const std::uint64_t place = aside_ranges_[first].place;
    memory.read_ranges(ranges,
                       aside_->span().subspan(place, last.place + last.range.length - place));
  }
}

void AddressSpaceCollector::finish_aside(AddressRange ours) {
  RemoteMemory memory(pid_);
  const auto read_again = [&](std::uint64_t start, std::uint64_t end) {
    for (const PlacedRange& placed : aside_ranges_) {
      const std::uint64_t from = std::max(start, placed.range.offset);
      const std::uint64_t to = std::min(end, placed.range.offset + placed.range.length);
      if (from < to) {
        memory.read(from,
                    aside_->span().subspan(placed.place + (from - placed.range.offset), to - from));
      }
    }
  };
  read_again(ours.start, ours.end);
  for (const ProcMapping& mapping : mappings_) {
    if (mapping_kind(mapping) == MappingKind::kVdso) {
      read_again(mapping.start, mapping.end);
    }
  }
  saved_.clear();
  saved_.push_back({{0, UINT64_MAX}, aside_ranges_, guards_});
  set_aside_written_ = true;
}

const AddressSpaceCollector::SavedArea*
AddressSpaceCollector::find_saved(const ProcMapping& mapping) const {
  if (set_aside_written_) {
    return &saved_.front();
  }
  auto found = std::find_if(saved_.begin(), saved_.end(),
                            [&](const SavedArea& saved) { return within(mapping, saved.range); });
  return source_ != pid_ && found != saved_.end() ? &*found : nullptr;
}

void AddressSpaceCollector::note_policy(MemoryPolicy policy,
                                        const std::function<bool(std::uint64_t)>& has_own) {
  usual_policy_ = std::move(policy);
  if (usual_policy_.mode == 0) {
    return;
  }
  for (const auto& [start, shown] : read_memory_policies(pid_)) {
    if (shown == usual_policy_ && has_own(start)) {
      bound_alike_.insert(start);
    }
  }
}

std::vector<AddressRange> AddressSpaceCollector::examine(pid_t source) {
  source_ = source;
  // The kernel goes through all pages for each of the two. Policies mean nothing to a replay.
  std::future<std::map<std::uint64_t, MemoryPolicy>> policies;
  if (!join_) {
    policies = std::async(std::launch::async, [source] { return read_memory_policies(source); });
  }
  std::vector<ProcMemoryArea> memory = read_memory_areas(source);
  std::vector<AddressRange> wiped;
  for (const ProcMemoryArea& area : memory) {
    if (source != pid_ && area.has_flag("wf") && find_saved(area.mapping) == nullptr) {
      wiped.push_back({area.mapping.start, area.mapping.end});
    }
  }
  if (!wiped.empty()) {
    return wiped;
  }
  memory.insert(memory.end(), missing_.begin(), missing_.end());
  std::sort(memory.begin(), memory.end(), [](const ProcMemoryArea& a, const ProcMemoryArea& b) {
    return a.mapping.start < b.mapping.start;
  });
  if (policies.valid()) {
    policies_ = policies.get();
  }
  examine_areas(memory);
  return {};
}

void AddressSpaceCollector::examine_areas(const std::vector<ProcMemoryArea>& memory) {
  areas_.clear();
  touched_bytes_ = 0;
  if (!join_) {
    std::erase_if(policies_, [&](const auto& entry) {
      return entry.second == usual_policy_ && bound_alike_.count(entry.first) == 0;
    });
  }
  for (const ProcMemoryArea& area : memory) {
    add_area(area);
  }
  auxv_ = read_auxv(source_);
  stat_ = ProcStat::read(source_);
  executable_ = try_read_link(proc_path(source_, "exe")).value_or("");
  executable_object_ = objects_.add_executable(source_, executable_).value_or(schema::NO_INDEX);
}

void AddressSpaceCollector::visit_objects(const std::function<void(std::uint32_t&)>& visit) {
  for (Area& area : areas_) {
    if (area.object != schema::NO_INDEX) {
      visit(area.object);
    }
  }
  if (executable_object_ != schema::NO_INDEX) {
    visit(executable_object_);
  }
}

void AddressSpaceCollector::refuse(const ProcMemoryArea& memory) {
  const std::string where = describe(memory.mapping);
  if (memory.has_flag("ht")) {
    refusals_.refuse("memory of huge pages (hugetlbfs) at " + where);
  } else if (memory.mapping.name == "/[aio] (deleted)") {
    refusals_.refuse("asynchronous input and output (io_setup(2)) at " + where);
  } else {
    refusals_.refuse("a mapping of something that is neither memory nor a file at " + where);
  }
}

void AddressSpaceCollector::add_area(const ProcMemoryArea& memory) {
  Area area;
  area.mapping = memory.mapping;
  area.kind = mapping_kind(memory.mapping);
  area.protection_key = memory.protection_key;
  area.touched = memory.anonymous + memory.swapped;
  const bool kernel_page = area.kind == MappingKind::kVdso || area.kind == MappingKind::kVvar ||
                           area.kind == MappingKind::kVsyscall;
  const bool device = !kernel_page && (memory.has_flag("io") || memory.has_flag("pf"));
  if (area.kind == MappingKind::kOther || memory.has_flag("ht") || device) {
    refuse(memory);
    return;
  }
  area.flags = memory.mapping.shared ? MAP_SHARED : MAP_PRIVATE;
  if (is_object(area.kind)) {
    // Known already, unless it is mapped privately only.
    if (std::optional<std::uint32_t> object = memory.mapping.shared
                                                  ? objects_.find(memory.mapping)
                                                  : objects_.add(source_, memory.mapping)) {
      area.object = *object;
    } else if (memory.mapping.shared) {
      refuse(memory);
      return;
    } else {
      area.kind = MappingKind::kOther; // the memory is all that can be had: it is stored in full
      area.flags |= MAP_ANONYMOUS;
    }
  }
  if (area.kind == MappingKind::kPrivateAnonymous ||
      (area.kind == MappingKind::kSharedAnonymous && memory.mapping.shared)) {
    area.flags |= MAP_ANONYMOUS;
  }
  area.flags |= memory.has_flag("gd") ? MAP_GROWSDOWN : 0;
  area.flags |= memory.has_flag("nr") && !kernel_page ? MAP_NORESERVE : 0;
  const bool locked = memory.has_flag("lo") || was_locked(memory.mapping);
  area.flags |= locked && !kernel_page ? MAP_LOCKED : 0;
  if (!kernel_page) {
    area.advice = advice_of(memory);
    // Of a copy's memory nothing is locked, and nothing is watched by a program.
    area.locked_on_fault = locked && locked_on_fault(memory);
    area.droppable = memory.has_flag("dp");
    area.sealed = memory.has_flag("sl");
    for (std::size_t bit = 0; bit < kUserFaultFlags.size(); ++bit) {
      area.user_faults |= memory.has_flag(kUserFaultFlags[bit]) ? 1u << bit : 0u;
    }
    if (is_within(memory.mapping, enrolled_)) {
      area.user_faults = 0; // it is we who watch
    }
    if (auto policy = policies_.find(memory.mapping.start); policy != policies_.end()) {
      area.policy = policy->second;
    }
  }
  if (memory.mapping.shared) {
    area.maximum_protection = (memory.has_flag("mr") ? PROT_READ : 0) |
                              (memory.has_flag("mw") ? PROT_WRITE : 0) |
                              (memory.has_flag("me") ? PROT_EXEC : 0);
  }
  touched_bytes_ += memory.mapping.shared ? 0 : area.touched;
  if (!join_with_last(area)) {
    areas_.push_back(std::move(area));
  }
}

bool AddressSpaceCollector::locked_on_fault(const ProcMemoryArea& memory) const {
  return memory.has_flag("lf") ||
         std::any_of(locked_on_fault_.begin(), locked_on_fault_.end(),
                     [&](const AddressRange& range) { return within(memory.mapping, range); });
}

bool AddressSpaceCollector::was_locked(const ProcMapping& mapping) const {
  // They are in order and do not overlap.
  auto after = std::upper_bound(
      locked_.begin(), locked_.end(), mapping.start,
      [](std::uint64_t start, const AddressRange& range) { return start < range.start; });
  return after != locked_.begin() && within(mapping, *std::prev(after));
}

bool AddressSpaceCollector::join_with_last(const Area& area) {
  if (!join_ || areas_.empty()) {
    return false;
  }
  Area& last = areas_.back();
  auto named = [](const Area& of) {
    return !of.mapping.name.empty() && of.mapping.name != "[heap]";
  };
  if (area.kind != MappingKind::kPrivateAnonymous || last.kind != area.kind ||
      last.mapping.end != area.mapping.start ||
      last.mapping.protection != area.mapping.protection || last.flags != area.flags ||
      last.advice != area.advice || last.sealed != area.sealed ||
      last.droppable != area.droppable || last.policy != area.policy ||
      last.protection_key != area.protection_key || named(last) || named(area)) {
    return false;
  }
  last.mapping.end = area.mapping.end;
  last.touched += area.touched;
  if (!area.mapping.name.empty()) {
    last.mapping.name = area.mapping.name; // the kernel would say so of the two as one
  }
  return true;
}

std::optional<std::pair<std::uint64_t, std::uint64_t>>
AddressSpaceCollector::place_of(std::uint32_t object) const {
  for (const Area& area : areas_) {
    if (area.object == object && area.mapping.shared) {
      return std::pair(area.mapping.start, area.mapping.offset);
    }
  }
  return std::nullopt;
}

void AddressSpaceCollector::read_pages(const PageSpool& spool, PagePump& out,
                                       std::optional<std::uint32_t> base_space) {
  // Pages that a copy shares with the process are read without making it own them.
  const auto memory = std::make_shared<RemoteMemory>(
      source_, source_ == pid_ ? RemoteMemory::Pages::kOwn : RemoteMemory::Pages::kShared);
  PageScanner scanner(source_);
  for (Area& area : areas_) {
    read_area(area, memory, scanner, spool, out, base_space);
  }
  out.flush();
}

void AddressSpaceCollector::read_area(Area& area, const std::shared_ptr<RemoteMemory>& memory,
                                      PageScanner& scanner, const PageSpool& spool, PagePump& out,
                                      std::optional<std::uint32_t> base_space) {
  const ProcMapping& mapping = area.mapping;
  if (area.kind == MappingKind::kVvar || area.kind == MappingKind::kVsyscall) {
    out.begin(&area.runs);
    out.gap(schema::RunKind::UNKNOWN, mapping.length() / page_size_); // the kernel provides it
    return;
  }
  const SavedArea* saved = find_saved(mapping);
  std::vector<AddressRange> guards;
  if (saved != nullptr) {
    const auto first = std::lower_bound(saved->guards.begin(), saved->guards.end(),
                                        mapping.start + 1, comes_before);
    for (auto guard = first; guard != saved->guards.end() && guard->start < mapping.end; ++guard) {
      guards.push_back(*guard);
    }
  } else {
    scanner.scan_guards(mapping.start, mapping.end, [&](const TouchedRange& guard) {
      guards.push_back({guard.start, guard.end});
    });
  }
  if (mapping.shared && guards.empty()) {
    return;
  }
  std::optional<BaseArea> in_base;
  if (base_space) {
    in_base = BaseArea{false, *base_space, mapping.start, !is_within(mapping, watched_)};
  }
  out.begin(&area.runs, in_base);
  const bool has_object = area.object != schema::NO_INDEX;
  const schema::RunKind untouched = has_object ? schema::RunKind::BACKING : schema::RunKind::ZERO;
  std::uint64_t at = mapping.start;
  auto leave_untouched = [&](std::uint64_t address) {
    out.gap(untouched, (address - at) / page_size_);
    if (has_object && address > at) {
      objects_[area.object].used.push_back({mapping.offset + (at - mapping.start), address - at});
    }
    at = address;
  };
  std::size_t next_guard = 0;
  auto skip_to = [&](std::uint64_t address) {
    for (; next_guard < guards.size() && guards[next_guard].start < address; ++next_guard) {
      const AddressRange& guard = guards[next_guard];
      if (guard.start >= at && guard.end <= address) { // a saved range may be larger than the area
        leave_untouched(guard.start);
        out.gap(schema::RunKind::GUARD, (guard.end - guard.start) / page_size_);
        at = guard.end;
      }
    }
    leave_untouched(address);
  };
  const auto take_over = [&](AddressRange range) {
    skip_to(range.start);
    out.unchanged(range.end - range.start);
    at = range.end;
  };
  if (area.kind == MappingKind::kVdso && !set_aside_written_) {
    out.remote(memory, mapping.start, mapping.length());
    at = mapping.end;
  } else if (saved != nullptr) {
    auto unwritten =
        std::lower_bound(unwritten_.begin(), unwritten_.end(), mapping.start + 1, comes_before);
    // Those before an address. Neighbours of two mappings may have been joined.
    const auto take_over_before = [&](std::uint64_t address) {
      for (; unwritten != unwritten_.end() && unwritten->start < address; ++unwritten) {
        take_over({std::max(unwritten->start, mapping.start), std::min(unwritten->end, address)});
        if (unwritten->end > address) {
          break;
        }
      }
    };
    auto pages = std::lower_bound(saved->pages.begin(), saved->pages.end(), mapping.start,
                                  [](const PlacedRange& placed, std::uint64_t address) {
                                    return placed.range.offset < address;
                                  });
    for (; pages != saved->pages.end() && pages->range.offset < mapping.end; ++pages) {
      if (set_aside_written_) {
        take_over_before(pages->range.offset);
      }
      skip_to(pages->range.offset);
      if (set_aside_written_) {
        out.memory(aside_->span().subspan(pages->place, pages->range.length));
      } else {
        out.file(spool.fd(), pages->place, pages->range.length, "pages set aside");
      }
      at += pages->range.length;
    }
    if (set_aside_written_) {
      take_over_before(mapping.end);
    }
  } else if (area.kind == MappingKind::kOther) {
    std::vector<std::byte> page(page_size_);
    RemoteMemory alone(source_);
    for (std::uint64_t address = mapping.start; address < mapping.end; address += page_size_) {
      if (alone.read_some(address, page) == page_size_) { // there is nothing beyond the file's end
        skip_to(address);
        out.remote(memory, address, page_size_);
        at += page_size_;
      }
    }
  } else if (area.touched != 0 && !mapping.shared) {
    scanner.scan(mapping.start, mapping.end, [&](const TouchedRange& touched) {
      if (!touched.file) {
        split(
            {touched.start, touched.end},
            [&](AddressRange range) {
              skip_to(range.start);
              out.remote(memory, range.start, range.end - range.start);
              at = range.end;
            },
            take_over);
      }
    });
  }
  skip_to(mapping.end);
}

void AddressSpaceCollector::build(std::uint64_t brk, schema::AddressSpace::Builder space) const {
  auto mappings = space.initMappings(static_cast<unsigned>(areas_.size()));
  for (unsigned i = 0; i < mappings.size(); ++i) {
    const Area& area = areas_[i];
    schema::Mapping::Builder out = mappings[i];
    out.setStart(area.mapping.start);
    out.setEnd(area.mapping.end);
    out.setProtection(area.mapping.protection);
    out.setFlags(area.flags);
    out.setAdvice(area.advice);
    out.setPkey(area.protection_key);
    out.setMaximumProtection(area.maximum_protection);
    out.setLockedOnFault(area.locked_on_fault);
    out.setDroppable(area.droppable);
    out.setSealed(area.sealed);
    out.setUserFaults(area.user_faults);
    if (area.policy.mode != 0) {
      auto policy = out.initMemoryPolicy();
      policy.setMode(area.policy.mode);
      policy.setNodes(as_data(area.policy.nodes));
    }
    out.setObject(area.object);
    const bool has_object = area.object != schema::NO_INDEX;
    if (has_object) {
      out.setObjectOffset(area.mapping.offset);
    }
    out.setName(as_data(area.mapping.name));
    out.setDevice(area.mapping.device);
    out.setInode(area.mapping.inode);
    const bool plain = are_plain(area.runs, has_object);
    if (!plain) {
      set_runs(out.initRuns(static_cast<unsigned>(area.runs.size())), area.runs);
    }
    schema::MappingRole role = mapping_role(area.mapping, area.kind);
    if (role == schema::MappingRole::ORDINARY && area.kind == MappingKind::kPrivateAnonymous &&
        area.mapping.protection == PROT_NONE && plain) {
      role = schema::MappingRole::GUARD;
    }
    out.setRole(role);
  }
  auto layout = space.initLayout();
  layout.setStartCode(stat_.start_code);
  layout.setEndCode(stat_.end_code);
  layout.setStartData(stat_.start_data);
  layout.setEndData(stat_.end_data);
  layout.setStartBrk(stat_.start_brk);
  layout.setBrk(brk);
  layout.setStartStack(stat_.start_stack);
  layout.setArgStart(stat_.arg_start);
  layout.setArgEnd(stat_.arg_end);
  layout.setEnvStart(stat_.env_start);
  layout.setEnvEnd(stat_.env_end);
  auto auxv = space.initAuxv(static_cast<unsigned>(auxv_.size()));
  for (unsigned i = 0; i < auxv.size(); ++i) {
    auxv[i].setType(auxv_[i].type);
    auxv[i].setValue(auxv_[i].value);
  }
  space.setExecutable(executable_object_);
  space.setExecutablePath(as_data(executable_));
}

} // namespace rrpcp::process::capture
