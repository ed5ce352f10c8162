// What the arguments of pcp-upgrade stand for.
#pragma once

#include "rrpcp/compat/legacy.h"

#include <deque>
#include <map>
#include <string>
#include <vector>

namespace rrpcp::tools {

// One checkpoint to upgrade: of an older generation, or a file of the current format.
struct WorkItem {
  // As the person named it or would: the checkpoint's directory, file, or *.pcp.
  std::string path;
  // Set for an older generation.
  const LegacyTrace* trace = nullptr;
  const LegacyEntry* entry = nullptr;
};

// Something that cannot be worked on.
struct WorkProblem {
  std::string path;
  Error error;
};

// Collects checkpoints from files, checkpoint directories, index files, whole traces and
// directories of *.pcp files. Each is taken once, however often it is named.
class Work {
public:
  // What cannot be understood becomes a problem; nothing is thrown for it.
  void add(const std::string& path);

  const std::vector<WorkItem>& items() const { return items_; }
  const std::vector<WorkProblem>& problems() const { return problems_; }
  // Traces that were opened.
  const std::deque<LegacyTrace>& traces() const { return traces_; }

private:
  void add_file(const std::string& path);
  void add_directory(const std::string& path);
  void add_trace(const std::string& path);
  void add_current(const std::string& path);
  // The entry of `trace` whose message or pages are `name`.
  void add_named(const std::string& trace, const std::string& name, const std::string& path);
  void add_entry(const LegacyTrace& trace, const LegacyEntry& entry);
  const LegacyTrace& open_trace(const std::string& path);

  std::deque<LegacyTrace> traces_;
  std::map<std::string, const LegacyTrace*> by_path_;
  std::vector<WorkItem> items_;
  std::vector<WorkProblem> problems_;
};

} // namespace rrpcp::tools
