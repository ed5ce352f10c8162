#include "model/findings.h"

#include <algorithm>
#include <utility>

namespace rrpcp {

std::string Path::str() const {
  std::string text = parent_ != nullptr ? parent_->str() : std::string();
  if (index_ != kNoIndex) {
    return text + '[' + std::to_string(index_) + ']';
  }
  if (!text.empty()) {
    text += '.';
  }
  return text + name_;
}

void Findings::at(DiagnosticCode code, std::uint64_t offset, std::string message) {
  add(code, offset, {}, std::move(message));
}

void Findings::in(DiagnosticCode code, const Path& path, std::string message) {
  add(code, std::nullopt, has_room(code) ? path.str() : std::string(), std::move(message));
}

bool Findings::has_room(DiagnosticCode code) const {
  std::lock_guard lock(mutex_);
  return counts_[code.index()] < cap_;
}

bool Findings::any_errors() const {
  std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] != 0 && kDiagnostics[i].severity == Severity::kError) {
      return true;
    }
  }
  return false;
}

void Findings::add(DiagnosticCode code, std::optional<std::uint64_t> offset, std::string path,
                   std::string message) {
  std::lock_guard lock(mutex_);
  if (counts_[code.index()]++ >= cap_) {
    return;
  }
  const Diagnostic& diagnostic = code.diagnostic();
  Entry entry;
  entry.finding = finding_of(diagnostic, file_, std::move(message), std::move(path));
  entry.finding.offset = offset;
  entry.level = diagnostic.level;
  entries_.push_back(std::move(entry));
}

void Findings::finish(ValidationReport& report) {
  std::lock_guard lock(mutex_);
  // Findings about the manifest come in the order of the walk, those about bytes from several
  // threads: by offset.
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
    if (a.level != b.level) {
      return a.level < b.level;
    }
    if (a.finding.offset.has_value() != b.finding.offset.has_value()) {
      return a.finding.offset.has_value();
    }
    return a.finding.offset.value_or(0) < b.finding.offset.value_or(0);
  });
  for (Entry& entry : entries_) {
    report.findings.push_back(std::move(entry.finding));
  }
  entries_.clear();
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] > cap_) {
      report.suppressed[kDiagnostics[i].code] = counts_[i] - cap_;
    }
  }
}

} // namespace rrpcp
