// A progress line on a terminal.
#pragma once

#include "common/console.h"

#include <chrono>
#include <cstdint>
#include <string>

namespace rrpcp::tools {

// "Reading memory: 37 % (1.2 GiB of 3.3 GiB), 2.1 GiB/s" on one line of standard error, rewritten
// at most ten times a second and wiped at the end. Says nothing where standard error is no
// terminal, with --quiet, and in the first fifth of a second. One thread at a time.
class Progress {
public:
  enum class Unit { kBytes, kItems };

  Progress(const Console& console, std::string label, Unit unit = Unit::kBytes);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `total` 0: not known.
  void update(std::uint64_t done, std::uint64_t total);
  // Wipes the line; update() may follow.
  void clear();

private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  Unit unit_;
  bool enabled_;
  bool shown_ = false;
  Clock::time_point start_;
  Clock::time_point next_;
};

} // namespace rrpcp::tools
