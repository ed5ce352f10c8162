#include "process/restore/obstacles.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace rrpcp::process::restore {

namespace {

// Which code a list of several obstacles gets: the one least in the power of the user.
int rank(ErrorCode code) {
  switch (code) {
  case ErrorCode::kDamaged:
    return 0;
  case ErrorCode::kUnsupportedState:
    return 1;
  case ErrorCode::kBackingFile:
    return 2;
  case ErrorCode::kPermission:
    return 3;
  case ErrorCode::kIdInUse:
    return 4;
  default:
    return 5;
  }
}

} // namespace

void Obstacles::add(ErrorCode code, std::string what) {
  found_.push_back({code, std::move(what), {}});
}

bool Obstacles::add_unless_allowed(ErrorCode code, const std::string& allow_name, std::string what,
                                   const std::string& instead) {
  if (allowed(allow_name)) {
    warnings_.push_back(what + "; " + instead);
    return true;
  }
  found_.push_back({code, std::move(what), allow_name});
  return false;
}

void Obstacles::add(const std::vector<Judgement>& judged) {
  for (const Judgement& judgement : judged) {
    if (!judged_.insert(judgement.what).second) {
      continue;
    }
    if (judgement.told_only) {
      warn(judgement.what + "; " + judgement.instead);
    } else if (judgement.allow_name.empty()) {
      add(ErrorCode::kUnsupportedState, judgement.what);
    } else {
      add_unless_allowed(ErrorCode::kUnsupportedState, judgement.allow_name, judgement.what,
                         judgement.instead);
    }
  }
}

void Obstacles::add(const Error& error) {
  std::string text;
  if (!error.file().empty()) {
    text = error.file() + ": ";
  }
  text += error.message();
  if (error.errno_value() != 0) {
    text += std::string(": ") + std::strerror(error.errno_value());
  }
  found_.push_back({error.code(), std::move(text), {}});
}

void Obstacles::throw_if_any() const {
  if (found_.empty()) {
    return;
  }
  auto worst =
      std::min_element(found_.begin(), found_.end(), [](const Obstacle& a, const Obstacle& b) {
        return rank(a.code) < rank(b.code);
      });
  std::string text;
  if (found_.size() > 1) {
    text = std::to_string(found_.size()) + " things stand in the way: ";
  }
  std::set<std::string> names;
  bool all_allowable = true;
  for (const Obstacle& obstacle : found_) {
    if (&obstacle != &found_.front()) {
      text += "; ";
    }
    text += obstacle.what;
    if (obstacle.allow_name.empty()) {
      all_allowable = false;
    } else {
      names.insert(obstacle.allow_name);
    }
  }
  Error error = Error(worst->code, text).in_file(file_);
  if (!names.empty()) {
    std::string list;
    for (const std::string& name : names) {
      list += (list.empty() ? "" : ",") + name;
    }
    error = error.with_hint((all_allowable ? "to restore without, allow it by name (--allow "
                                           : "some of it can be allowed by name (--allow ") +
                            list + ")");
  }
  throw error;
}

} // namespace rrpcp::process::restore
