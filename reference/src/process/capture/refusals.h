// What cannot be carried, collected so that all of it can be told at once.
#pragma once

#include "process/carried.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/schema/state.capnp.h"

#include <set>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace rrpcp::process::capture {

class Refusals {
public:
  // `allow`: names that the caller lets pass. `inspect_only`: nothing is refused, because nobody
  // will restore the process; what would be is noted.
  explicit Refusals(const AllowList& allow, bool inspect_only = false)
      : allow_(allow), inspect_only_(inspect_only) {}

  // Something that is never carried: "memory of huge pages at 0x…".
  void refuse(std::string what);
  // Something that is refused unless `allow_name` is allowed; then it becomes a warning that says
  // what is done `instead`.
  void refuse_unless(const std::string& allow_name, std::string what, const std::string& instead);
  // The same for everything that was judged. What was refused, allowed or told before is not again.
  void add(const std::vector<Judgement>& judged);
  void warn(std::string what) { warnings_.push_back(std::move(what)); }

  bool allowed(const std::string& name) const { return inspect_only_ || allow_.count(name) != 0; }
  // Throws Error(kUnsupportedState) that lists everything refused, if there is anything.
  bool empty() const { return refused_.empty(); }
  void throw_if_any(pid_t pid) const;
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Sets State.omissions: what was allowed.
  void build(schema::State::Builder state) const;

private:
  struct Refused {
    std::string what;
    std::string allow_name; // empty: cannot be allowed
  };

  bool is_new(const std::string& name, const std::string& what);

  AllowList allow_;
  bool inspect_only_;
  std::set<std::pair<std::string, std::string>> known_;
  std::set<std::pair<std::string, std::string>> omitted_; // name and sentence
  std::vector<Refused> refused_;
  std::vector<std::string> warnings_;
};

} // namespace rrpcp::process::capture
