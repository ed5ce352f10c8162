// Memory that a program has writable and executable at once, and what code it makes there.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace rrpcp::replay {

// Pages of an address space that the program may write and execute, of which the recorder lets it
// do either one or the other at a time: what it has written is looked through before it is
// executed. Addresses are bytes, ranges bounds of pages. Knows nothing of processes.
class MadeCode {
public:
  using Range = std::pair<std::uint64_t, std::uint64_t>; // [first, second)

  bool empty() const { return ranges_.empty(); }
  bool contains(std::uint64_t address) const;
  // Pages that are there already stay what they are; new ones are writable.
  void add(std::uint64_t start, std::uint64_t end);
  void remove(std::uint64_t start, std::uint64_t end);
  // The parts of [start, end) that are there.
  std::vector<Range> within(std::uint64_t start, std::uint64_t end) const;

  // Of the page that begins at `page`: it may be executed now, and not written.
  bool executable(std::uint64_t page) const { return executable_.count(page) != 0; }
  void set_executable(std::uint64_t page) { executable_.insert(page); }
  void set_writable(std::uint64_t start, std::uint64_t end);
  bool executable_within(std::uint64_t start, std::uint64_t end) const;
  // All of them, joined.
  std::vector<Range> executable_ranges() const;

  // What the recorder has in the program's memory for itself: no page of the program's.
  void set_hidden(std::uint64_t start, std::uint64_t end) { hidden_ = {start, end}; }
  bool hidden(std::uint64_t address) const {
    return address >= hidden_.first && address < hidden_.second;
  }

  // Addresses of instructions that were replaced and are not in the trace yet.
  std::set<std::uint64_t>& untold() { return untold_; }

private:
  std::map<std::uint64_t, std::uint64_t> ranges_; // start, end
  std::set<std::uint64_t> executable_;
  std::set<std::uint64_t> untold_;
  Range hidden_{0, 0};
};

} // namespace rrpcp::replay
