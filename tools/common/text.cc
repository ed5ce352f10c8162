#include "common/text.h"

#include "common/command.h"
#include "common/console.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <limits>

namespace rrpcp::tools {
namespace {

bool is_continuation(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

// Bytes of the well-formed sequence at the start of `bytes`; 0 where there is none.
std::size_t sequence_length(std::string_view bytes) {
  const auto at = [&](std::size_t i) {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u;
  };
  const unsigned first = at(0);
  const unsigned second = at(1);
  if (first < 0x80) {
    return bytes.empty() ? 0 : 1;
  }
  if (first >= 0xc2 && first <= 0xdf) {
    return is_continuation(static_cast<unsigned char>(second)) ? 2 : 0;
  }
  const auto continued = [&](std::size_t i) {
    return is_continuation(static_cast<unsigned char>(at(i)));
  };
  if (first >= 0xe0 && first <= 0xef) {
    const bool shortest = first != 0xe0 || second >= 0xa0;
    const bool surrogate = first == 0xed && second >= 0xa0;
    return continued(1) && continued(2) && shortest && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool shortest = first != 0xf0 || second >= 0x90;
    const bool in_range = first != 0xf4 || second < 0x90;
    return continued(1) && continued(2) && continued(3) && shortest && in_range ? 4 : 0;
  }
  return 0;
}

std::string with_unit(double value, const char* unit) {
  return format_text(value < 10 ? "%.2f %s" : value < 100 ? "%.1f %s" : "%.0f %s", value, unit);
}

} // namespace

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t length = sequence_length(bytes);
    if (length == 0) {
      return false;
    }
    bytes.remove_prefix(length);
  }
  return true;
}

std::string printable(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const std::size_t length = sequence_length(bytes);
    const auto first = static_cast<unsigned char>(bytes[0]);
    // U+0080 to U+009F are control characters too, "\xc2\x80" to "\xc2\x9f".
    const bool control =
        first < 0x20 || first == 0x7f ||
        (length == 2 && first == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0);
    const std::size_t step = std::max<std::size_t>(length, 1);
    if (length == 0 || control) {
      for (std::size_t i = 0; i < step; ++i) {
        text += format_text("\\x%02x", static_cast<unsigned char>(bytes[i]));
      }
    } else if (first == '\\') {
      text += "\\\\";
    } else {
      text += bytes.substr(0, step);
    }
    bytes.remove_prefix(step);
  }
  return text;
}

std::string human_size(std::uint64_t bytes) {
  static constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) {
    return std::to_string(bytes) + " B";
  }
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.95 would be shown as "1024".
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return format_text(value < 99.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
}

std::string human_duration(std::uint64_t nanoseconds) {
  const double value = static_cast<double>(nanoseconds);
  if (nanoseconds < 1000) {
    return std::to_string(nanoseconds) + " ns";
  }
  if (nanoseconds < 1000000) {
    return with_unit(value / 1e3, "us");
  }
  if (nanoseconds < 1000000000) {
    return with_unit(value / 1e6, "ms");
  }
  const std::uint64_t seconds = nanoseconds / 1000000000;
  if (seconds < 120) {
    return with_unit(value / 1e9, "s");
  }
  if (seconds < 7200) {
    return format_text("%u min %u s", static_cast<unsigned>(seconds / 60),
                       static_cast<unsigned>(seconds % 60));
  }
  return format_text("%llu h %u min", static_cast<unsigned long long>(seconds / 3600),
                     static_cast<unsigned>(seconds / 60 % 60));
}

std::string human_percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) {
    return "-";
  }
  return format_text("%.1f %%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string human_time(std::int64_t nanoseconds_since_epoch) {
  if (nanoseconds_since_epoch == 0) {
    return "not recorded";
  }
  const std::int64_t below = nanoseconds_since_epoch % 1000000000 < 0 ? 1 : 0;
  const std::time_t seconds = nanoseconds_since_epoch / 1000000000 - below;
  std::tm parts{};
  if (::gmtime_r(&seconds, &parts) == nullptr) {
    return std::to_string(nanoseconds_since_epoch) + " ns after 1970";
  }
  std::array<char, 64> text{};
  const std::size_t length =
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return std::string(text.data(), length);
}

std::string human_count(std::uint64_t count, std::string_view singular, std::string_view plural) {
  return std::to_string(count) + " " + std::string(count == 1 ? singular : plural);
}

std::uint64_t parse_number(std::string_view text, std::string_view what, std::uint64_t maximum) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hexadecimal ? text.substr(2) : text;
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  const bool overflow = error == std::errc::result_out_of_range;
  if (digits.empty() || end != digits.data() + digits.size() ||
      (error != std::errc() && !overflow)) {
    throw UsageError(std::string(what) + " must be a decimal or 0x… number, not '" +
                     printable(text) + "'");
  }
  if (overflow || value > maximum) {
    throw UsageError(std::string(what) + " '" + printable(text) + "' is above " +
                     std::to_string(maximum));
  }
  return value;
}

std::uint64_t parse_size(std::string_view text, std::string_view what, std::uint64_t maximum) {
  std::string_view number = text;
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (number.ends_with("iB") && number.size() > 2) {
    number.remove_suffix(2);
  }
  unsigned shift = 0;
  if (!number.empty() && !hexadecimal) {
    static constexpr std::string_view kSuffixes = "KMGTPE";
    const char suffix = number.back();
    const auto upper = static_cast<char>(suffix >= 'a' && suffix <= 'z' ? suffix - 32 : suffix);
    const std::size_t index = kSuffixes.find(upper);
    if (index != std::string_view::npos) {
      shift = static_cast<unsigned>(index + 1) * 10;
      number.remove_suffix(1);
    }
  }
  if (shift == 0 && number.size() != text.size()) {
    number = text; // "12iB" is no size
  }
  const std::uint64_t value = parse_number(number, what);
  if (shift != 0 && value > (std::numeric_limits<std::uint64_t>::max() >> shift)) {
    throw UsageError(std::string(what) + " '" + printable(text) + "' is too large");
  }
  if (value << shift > maximum) {
    throw UsageError(std::string(what) + " '" + printable(text) + "' is above " +
                     std::to_string(maximum));
  }
  return value << shift;
}

std::vector<std::string> split_list(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) {
      parts.emplace_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string closest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // Levenshtein's distance, one row at a time.
    std::vector<std::size_t> row(candidate.size() + 1);
    for (std::size_t i = 0; i < row.size(); ++i) {
      row[i] = i;
    }
    for (std::size_t i = 1; i <= word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t above = row[j];
        row[j] =
            std::min({above + 1, row[j - 1] + 1, diagonal + (word[i - 1] != candidate[j - 1])});
        diagonal = above;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

} // namespace rrpcp::tools
