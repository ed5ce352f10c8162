// What was measured, as a table and as JSON.
#pragma once

#include "common/console.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::bench {

enum class Unit {
  kNanoseconds, // less is better
  kBytes,       // less is better
};

// One measured figure beside what is physically possible on the same machine in the same minute.
struct Row {
  // What was done, as "save, raw".
  std::string what;
  // Size of the process or number of files, as "1.0 GiB"; empty where it does not matter.
  std::string size;
  Unit unit = Unit::kNanoseconds;
  std::uint64_t figure = 0;
  // Bytes that were worked on, for a speed; 0: a speed makes no sense.
  std::uint64_t bytes = 0;
  // What the figure is compared with, and its own figure.
  std::string baseline_name;
  std::uint64_t baseline = 0;
  // Target: baseline / figure at least this; 0: none.
  double least_ratio = 0;
  // Target: figure at most this; 0: none.
  std::uint64_t most = 0;

  double ratio() const;
  bool has_target() const { return least_ratio > 0 || most > 0; }
  bool met() const;
  std::string target_text() const;
};

class Report {
public:
  void add(Row row) { rows_.push_back(std::move(row)); }
  const std::vector<Row>& rows() const { return rows_; }
  void print(tools::Console& console) const;
  // {"machine": {…}, "rounds": N, "rows": [{"what", "size", "unit", "figure", …}]}
  void write_json(tools::Console& console, unsigned rounds) const;

private:
  std::vector<Row> rows_;
};

} // namespace rrpcp::bench
