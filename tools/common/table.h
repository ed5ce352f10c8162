// Columns for people.
#pragma once

#include "common/console.h"

#include <string>
#include <vector>

namespace rrpcp::tools {

struct Column {
  std::string title;
  bool right = false; // numbers: aligned at the right
};

// A table with a title line and columns as wide as they need to be. Cells are shown as they are:
// pass foreign text through printable().
class Table {
public:
  explicit Table(std::vector<Column> columns);
  // As many cells as columns.
  void add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // Prints title and rows, two blanks between columns and none at the end of a line.
  void print(Console& console) const;

private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

} // namespace rrpcp::tools
