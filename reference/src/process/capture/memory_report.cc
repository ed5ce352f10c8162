#include "process/capture/memory_report.h"

#include "process/capture/mapping_kind.h"

#include <algorithm>
#include <utility>

namespace rrpcp::process::capture {

MemoryReport read_memory_report(pid_t pid) {
  // Each goes through all pages of the process.
  std::future<std::map<std::uint64_t, MemoryPolicy>> policies =
      std::async(std::launch::async, [pid] { return read_memory_policies(pid); });
  MemoryReport report;
  report.areas = read_memory_areas(pid);
  report.policies = policies.get();
  return report;
}

void MemoryReporter::prepare() {
  if (!opening_.valid() && !source_) {
    opening_ = std::async(std::launch::async, &MappingWords::open);
  }
}

std::optional<std::vector<MappingWord>> MemoryReporter::read_words(pid_t pid) {
  if (opening_.valid()) {
    source_ = opening_.get();
  }
  return source_ ? source_->read(pid) : std::nullopt;
}

MemoryReport MemoryReporter::read(pid_t pid) {
  std::optional<std::vector<MappingWord>> words = read_words(pid);
  if (words) {
    if (std::optional<MemoryReport> report = from_words(read_mappings(pid), *words)) {
      if (std::any_of(words->begin(), words->end(),
                      [](const MappingWord& word) { return word.policy; })) {
        report->policies = read_memory_policies(pid);
      }
      return std::move(*report);
    }
  }
  MemoryReport report = read_memory_report(pid);
  // What has changed meanwhile may be of before or of after that.
  if (words && words == read_words(pid)) {
    learn(*words, report.areas);
    report.words = std::move(*words);
  }
  return report;
}

void MemoryReporter::learn(const std::vector<MappingWord>& words,
                           const std::vector<ProcMemoryArea>& areas) {
  auto word = words.begin();
  for (const ProcMemoryArea& area : areas) {
    const Words said{area.flags, area.protection_key};
    if (mapping_kind(area.mapping) == MappingKind::kVsyscall) {
      of_gate_ = said;
      continue;
    }
    while (word != words.end() && word->start < area.mapping.start) {
      ++word;
    }
    if (word != words.end() && word->start == area.mapping.start && word->end == area.mapping.end) {
      known_[word->flags] = said;
    }
  }
}

std::optional<MemoryReport> MemoryReporter::from_words(const std::vector<ProcMapping>& mappings,
                                                       std::vector<MappingWord> words) const {
  MemoryReport report;
  auto word = words.begin();
  for (const ProcMapping& mapping : mappings) {
    const Words* said = nullptr;
    if (mapping_kind(mapping) == MappingKind::kVsyscall) {
      said = of_gate_ ? &*of_gate_ : nullptr;
    } else if (word != words.end() && word->start == mapping.start && word->end == mapping.end) {
      const auto known = known_.find(word->flags);
      said = known == known_.end() ? nullptr : &known->second;
      ++word;
    }
    if (said == nullptr) {
      return std::nullopt;
    }
    ProcMemoryArea area;
    area.mapping = mapping;
    area.flags = said->flags;
    area.protection_key = said->protection_key;
    report.areas.push_back(std::move(area));
  }
  if (word != words.end()) {
    return std::nullopt;
  }
  report.words = std::move(words);
  return report;
}

bool MemoryReporter::renew(pid_t pid, const std::vector<ProcMapping>& mappings,
                           MemoryReport& report) {
  if (report.words.empty()) {
    return true;
  }
  std::optional<std::vector<MappingWord>> words = read_words(pid);
  if (!words) {
    return false;
  }
  if (*words == report.words) {
    return true;
  }
  std::optional<MemoryReport> now = from_words(mappings, std::move(*words));
  if (!now || std::any_of(now->words.begin(), now->words.end(),
                          [](const MappingWord& word) { return word.policy; })) {
    return false;
  }
  report = std::move(*now);
  return true;
}

} // namespace rrpcp::process::capture
