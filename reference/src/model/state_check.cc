#include "model/state_check.h"

#include "model/utf8.h"

#include <algorithm>
#include <cstring>

namespace rrpcp {

bool is_reverse_dns(capnp::Text::Reader id) {
  unsigned parts = 1;
  char previous = '.';
  for (char c : std::string_view(id.begin(), id.size())) {
    if (c == '.') {
      if (previous == '.') {
        return false;
      }
      ++parts;
    } else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
      return false;
    }
    previous = c;
  }
  return parts >= 2 && previous != '.';
}

bool ReferenceCounter::use(std::uint64_t index) {
  if (index >= used_.size()) {
    return false;
  }
  if (!used_[index]) {
    in_order_ = in_order_ && index == next_;
    ++next_;
    used_[index] = true;
  }
  return true;
}

void RangeSet::add(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) {
    return;
  }
  if (!ranges_.empty() && ranges_.back().second == begin) {
    ranges_.back().second = end;
    return;
  }
  if (ranges_.size() >= compact_at_) {
    joined();
    compact_at_ = std::max<std::size_t>(1u << 16, 2 * ranges_.size());
  }
  ranges_.emplace_back(begin, end);
}

const std::vector<std::pair<std::uint64_t, std::uint64_t>>& RangeSet::joined() {
  std::sort(ranges_.begin(), ranges_.end());
  std::size_t kept = 0;
  for (std::size_t i = 1; i < ranges_.size(); ++i) {
    if (ranges_[i].first <= ranges_[kept].second) {
      ranges_[kept].second = std::max(ranges_[kept].second, ranges_[i].second);
    } else {
      ranges_[++kept] = ranges_[i];
    }
  }
  if (!ranges_.empty()) {
    ranges_.resize(kept + 1);
  }
  return ranges_;
}

StateCheck::StateCheck(schema::Manifest::Reader manifest, const StateRules& rules,
                       Findings& findings)
    : manifest_(manifest), state_(manifest.getState()), rules_(rules), findings_(findings),
      machine_(state_.getMachine()), processes_("processes", state_.getProcesses().size()),
      spaces_("addressSpaces", state_.getAddressSpaces().size()),
      objects_("memoryObjects", state_.getMemoryObjects().size()),
      open_files_("openFiles", state_.getOpenFiles().size()),
      file_tables_("fileTables", state_.getFileTables().size()),
      contexts_("fileSystemContexts", state_.getFileSystemContexts().size()),
      handlers_("signalHandlerTables", state_.getSignalHandlerTables().size()),
      namespaces_("namespaceSets", state_.getNamespaceSets().size()), backing_(objects_.size()) {}

void StateCheck::text(const Path& path, capnp::Text::Reader value) {
  auto bytes = std::span(reinterpret_cast<const unsigned char*>(value.begin()), value.size());
  if (!is_utf8(bytes)) {
    findings_.in("value.text", path, "the text is not UTF-8");
  } else if (std::memchr(value.begin(), 0, value.size()) != nullptr) {
    findings_.in("value.text", path, "the text has a NUL byte");
  }
}

void StateCheck::no_nul(const Path& path, capnp::Data::Reader value) {
  if (value.size() != 0 && std::memchr(value.begin(), 0, value.size()) != nullptr) {
    findings_.in("value.nul", path, "there is a NUL byte in it");
  }
}

void StateCheck::not_negative(const Path& path, std::int64_t value) {
  if (value < 0) {
    findings_.in("value.negative", path, "it is " + std::to_string(value));
  }
}

void StateCheck::signal_number(const Path& path, std::int64_t value, bool zero_allowed) {
  if (value < (zero_allowed ? 0 : 1) || value > 64) {
    findings_.in("signal.number", path, std::to_string(value) + " is no signal");
  }
}

void StateCheck::refer(ReferenceCounter& counter, const Path& path, std::uint32_t index,
                       bool optional) {
  if (optional && index == schema::NO_INDEX) {
    return;
  }
  if (!counter.use(index)) {
    findings_.in("state.reference", path,
                 "there is no entry " + std::to_string(index) + " in state." + counter.list());
  }
}

std::uint16_t StateCheck::machine_of_space(std::uint32_t index) const {
  auto spaces = state_.getAddressSpaces();
  const std::uint16_t machine = index < spaces.size() ? spaces[index].getMachine() : 0;
  return machine != 0 ? machine : machine_;
}

void StateCheck::beyond(DiagnosticCode code, const Path& path, std::string message) {
  findings_.in(rules_.fully_known ? code : DiagnosticCode("value.newer"), path, std::move(message));
}

void StateCheck::unknown(const Path& path, const char* what, unsigned value) {
  std::string message = std::string(what) + " " + std::to_string(value) + " is not known";
  beyond("value.unknown", path, std::move(message));
}

} // namespace rrpcp
