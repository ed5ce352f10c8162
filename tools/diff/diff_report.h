// The differences between two checkpoints, as they are found.
#pragma once

#include "common/console.h"
#include "rrpcp/interop/symbols.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace rrpcp::tools {

// Where in a state something is: in words, and as a path for programs.
struct Place {
  std::string words; // "task 1234"
  std::string path;  // "tasks[1234]"

  // A part of it: "task 1234 rseq", "tasks[1234].rseq". `words` may be empty.
  Place part(const std::string& part_words, const std::string& part_path) const;
};

// A row of bytes that differ, with rows of up to a few equal bytes in between.
struct ByteRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;       // one past the last
  std::uint64_t different = 0; // bytes in it that differ
  std::string a;               // the first bytes of the range in hexadecimal
  std::string b;
};

// Collects differences: tells them at once as text, or keeps them for one JSON document.
class DiffReport {
public:
  // Prints them on `console`, or keeps them where that writes JSON.
  explicit DiffReport(Console& console);
  // Passes each of them, and what could not be compared, to `tell`: a line without its end.
  explicit DiffReport(std::function<void(const std::string& line)> tell);

  // What memory at an address is called, where that is known; null: nothing is.
  using Names = std::function<std::optional<SymbolName>(std::uint64_t)>;
  void set_names(Names names) { names_ = std::move(names); }

  // Two values of the same thing. Without texts the JSON values are shown.
  void changed(const Place& place, const Json& a, const Json& b, std::string a_text = {},
               std::string b_text = {});
  // Something that only one side has; `what` describes it further and may be empty.
  void only_in_a(const Place& place, const std::string& what = {});
  void only_in_b(const Place& place, const std::string& what = {});
  // Bytes of memory.
  void memory(const Place& place, const ByteRange& range, const std::string& remark = {});
  // Ranges of a mapping beyond those that were shown.
  void more_memory(const Place& place, std::uint64_t ranges, std::uint64_t bytes);
  // Something that is different and has no pair of values.
  void remark(const Place& place, const std::string& text);
  // Something that could not be compared: it makes the answer unknown.
  void not_comparable(const Place& place, const std::string& why);

  std::uint64_t count() const { return count_; }
  bool incomplete() const { return incomplete_; }
  // The differences for --json.
  Json take() { return std::move(list_); }

private:
  void line(const Place& place, const std::string& text);
  void add(Json entry);

  bool keep_;
  std::function<void(const std::string&)> tell_;
  std::function<void(const std::string&)> warn_;
  Json list_ = Json::array();
  std::uint64_t count_ = 0;
  bool incomplete_ = false;
  Names names_;
};

} // namespace rrpcp::tools
