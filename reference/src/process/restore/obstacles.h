// Everything that stands in the way of a restore, collected so that it can be told at once.
#pragma once

#include "process/carried.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"

#include <set>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

class Obstacles {
public:
  // `allow`: names that the caller lets pass.
  Obstacles(const AllowList& allow, std::string file) : allow_(allow), file_(std::move(file)) {}

  // Notes that `what` stands in the way: "descriptor 5 is a socket (tcp)".
  void add(ErrorCode code, std::string what);
  // The same for what the name `allow_name` lets pass. Returns true where the caller has allowed
  // it; then it is a warning, with what is done instead: "…; it is replaced by /dev/null".
  bool add_unless_allowed(ErrorCode code, const std::string& allow_name, std::string what,
                          const std::string& instead);
  // The same for all that was judged, each once.
  void add(const std::vector<Judgement>& judged);
  // The same for an error that was caught.
  void add(const Error& error);

  bool allowed(const std::string& name) const { return allow_.count(name) != 0; }
  void warn(std::string what) { warnings_.push_back(std::move(what)); }

  bool empty() const { return found_.empty(); }
  // Throws one Error that lists all, if there is any.
  void throw_if_any() const;
  const std::vector<std::string>& warnings() const { return warnings_; }

private:
  struct Obstacle {
    ErrorCode code;
    std::string what;
    std::string allow_name;
  };

  AllowList allow_;
  std::string file_;
  std::vector<Obstacle> found_;
  std::set<std::string> judged_;
  std::vector<std::string> warnings_;
};

} // namespace rrpcp::process::restore
