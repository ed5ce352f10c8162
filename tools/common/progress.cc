#include "common/progress.h"

#include "common/text.h"

#include <cstdio>
#include <unistd.h>
#include <utility>

namespace rrpcp::tools {

using namespace std::chrono_literals;

Progress::Progress(const Console& console, std::string label, Unit unit)
    : label_(std::move(label)), unit_(unit), enabled_(!console.quiet && ::isatty(2) == 1),
      start_(Clock::now()), next_(start_ + 200ms) {}

Progress::~Progress() {
  clear();
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  if (!enabled_) {
    return;
  }
  const Clock::time_point now = Clock::now();
  if (now < next_) {
    return;
  }
  next_ = now + 100ms;
  const auto show = [&](std::uint64_t value) {
    return unit_ == Unit::kBytes ? human_size(value) : std::to_string(value);
  };
  std::string line = label_ + ": ";
  if (total != 0) {
    const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
    line += format_text("%.0f %% (%s of %s)", percent, show(done).c_str(), show(total).c_str());
  } else {
    line += show(done);
  }
  const double seconds = std::chrono::duration<double>(now - start_).count();
  line += ", " + show(static_cast<std::uint64_t>(static_cast<double>(done) / seconds)) + "/s";
  std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) {
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
    shown_ = false;
  }
}

} // namespace rrpcp::tools
