#include "process/capture/refusals.h"

#include "base/hex.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <set>

namespace rrpcp {

const std::vector<std::string>& allowable_names() {
  static const std::vector<std::string> kNames = {
      "changed-file", "children",       "deleted-file", "device",      "landlock", "namespaces",
      "new-ids",      "other-fd",       "pipe",         "posix-timer", "seccomp",  "security-label",
      "segment",      "semaphore-undo", "socket",       "terminal"};
  return kNames;
}

namespace process::capture {

namespace {

// Name in State.omissions of what is never carried.
constexpr const char* kInspectOnly = "inspect-only";

// Paths may be any bytes; a text of the format is UTF-8 (spec/model.md).
std::string in_ascii(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += "\\x" + hex_byte(byte);
    }
  }
  return result;
}

} // namespace

bool Refusals::is_new(const std::string& name, const std::string& what) {
  return known_.emplace(name, what).second;
}

void Refusals::refuse(std::string what) {
  if (!is_new({}, what)) {
    return;
  }
  if (inspect_only_) {
    omitted_.emplace(kInspectOnly, in_ascii(what));
  } else {
    refused_.push_back({std::move(what), {}});
  }
}

void Refusals::add(const std::vector<process::Judgement>& judged) {
  for (const process::Judgement& judgement : judged) {
    if (judgement.told_only) {
      if (is_new({}, judgement.what)) {
        warn(judgement.what + "; " + judgement.instead);
      }
    } else if (judgement.allow_name.empty()) {
      refuse(judgement.what);
    } else {
      refuse_unless(judgement.allow_name, judgement.what, judgement.instead);
    }
  }
}

void Refusals::build(schema::State::Builder state) const {
  auto omissions = state.initOmissions(static_cast<unsigned>(omitted_.size()));
  unsigned i = 0;
  for (const auto& [name, what] : omitted_) {
    omissions[i].setName(name.c_str());
    omissions[i].setWhat(what.c_str());
    ++i;
  }
}

void Refusals::refuse_unless(const std::string& allow_name, std::string what,
                             const std::string& instead) {
  if (!is_new(allow_name, what)) {
    return;
  }
  if (allowed(allow_name)) {
    omitted_.emplace(allow_name, in_ascii(what + "; " + instead));
    if (!inspect_only_) {
      warnings_.push_back(std::move(what) + "; " + instead);
    }
  } else {
    refused_.push_back({std::move(what), allow_name});
  }
}

void Refusals::throw_if_any(pid_t pid) const {
  if (refused_.empty()) {
    return;
  }
  std::string text = "process " + std::to_string(pid) + " has what a checkpoint cannot carry: ";
  std::set<std::string> names;
  for (const Refused& refused : refused_) {
    if (&refused != &refused_.front()) {
      text += "; ";
    }
    text += refused.what;
    if (!refused.allow_name.empty()) {
      text += " [" + refused.allow_name + "]";
      names.insert(refused.allow_name);
    }
  }
  Error error(ErrorCode::kUnsupportedState, text);
  if (names.empty()) {
    throw error;
  }
  std::string list;
  for (const std::string& name : names) {
    list += (list.empty() ? "" : ",") + name;
  }
  bool all = std::all_of(refused_.begin(), refused_.end(),
                         [](const Refused& refused) { return !refused.allow_name.empty(); });
  throw error.with_hint((all ? "to capture without, allow it by name (--allow "
                             : "some of it can be allowed by name (--allow ") +
                        list + ")");
}

} // namespace process::capture
} // namespace rrpcp
