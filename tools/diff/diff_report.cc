#include "diff/diff_report.h"

#include "common/text.h"
#include "diff/symbol_json.h"

#include <utility>

namespace rrpcp::tools {
namespace {

std::string value_text(const Json& value) {
  if (value.is_null()) {
    return "none";
  }
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    return text.empty() ? "''" : printable(text);
  }
  return value.dump();
}

std::string range_text(const ByteRange& range) {
  return format_text("0x%llx-0x%llx", static_cast<unsigned long long>(range.start),
                     static_cast<unsigned long long>(range.end));
}

} // namespace

Place Place::part(const std::string& part_words, const std::string& part_path) const {
  Place result = *this;
  if (!part_words.empty()) {
    result.words += (words.empty()                          ? ""
                     : words.find(':') == std::string::npos ? ": "
                                                            : " ") +
                    part_words;
  }
  const bool index = part_path.starts_with('[');
  result.path += (path.empty() || index ? "" : ".") + part_path;
  return result;
}

DiffReport::DiffReport(Console& console)
    : keep_(console.json),
      tell_([&console](const std::string& line) { console.write(line + "\n"); }),
      warn_([&console](const std::string& text) { console.warn(text); }) {}

DiffReport::DiffReport(std::function<void(const std::string&)> tell)
    : keep_(false), tell_(std::move(tell)), warn_(tell_) {}

void DiffReport::line(const Place& place, const std::string& text) {
  if (!keep_) {
    tell_(place.words + (text.starts_with(' ') ? "" : " ") + text);
  }
}

void DiffReport::add(Json entry) {
  ++count_;
  if (keep_) {
    list_.push_back(std::move(entry));
  }
}

void DiffReport::changed(const Place& place, const Json& a, const Json& b, std::string a_text,
                         std::string b_text) {
  add({{"kind", "changed"}, {"path", place.path}, {"a", a}, {"b", b}});
  line(place, (a_text.empty() ? value_text(a) : a_text) + " vs " +
                  (b_text.empty() ? value_text(b) : b_text));
}

void DiffReport::only_in_a(const Place& place, const std::string& what) {
  add({{"kind", "onlyInA"}, {"path", place.path}, {"what", what}});
  line(place, (what.empty() ? "" : what + " ") + "only in A");
}

void DiffReport::only_in_b(const Place& place, const std::string& what) {
  add({{"kind", "onlyInB"}, {"path", place.path}, {"what", what}});
  line(place, (what.empty() ? "" : what + " ") + "only in B");
}

void DiffReport::memory(const Place& place, const ByteRange& range,
                        const std::string& remark_text) {
  const auto symbol = names_ ? names_(range.start) : std::nullopt;
  add({{"kind", "memory"},
       {"path", place.path},
       {"start", range.start},
       {"end", range.end},
       {"differentBytes", range.different},
       {"a", range.a},
       {"b", range.b},
       {"symbol", symbol_json(symbol)}});
  const std::uint64_t size = range.end - range.start;
  const std::string counted = human_count(range.different, "byte differs", "bytes differ");
  const std::string amount =
      range.different == size ? counted : counted + " of " + std::to_string(size);
  const std::string more = size * 2 > range.a.size() ? "..." : "";
  line(place, range_text(range) + remark_text + (symbol ? " " + printable(symbol->text()) : "") +
                  ": " + amount + ": " + range.a + more + " vs " + range.b + more);
}

void DiffReport::more_memory(const Place& place, std::uint64_t ranges, std::uint64_t bytes) {
  add({{"kind", "moreMemory"},
       {"path", place.path},
       {"ranges", ranges},
       {"differentBytes", bytes}});
  line(place, "and " + human_count(ranges, "more range", "more ranges") + ", in all " +
                  human_count(bytes, "byte", "bytes") + " that differ there");
}

void DiffReport::remark(const Place& place, const std::string& text) {
  add({{"kind", "remark"}, {"path", place.path}, {"text", text}});
  line(place, text);
}

void DiffReport::not_comparable(const Place& place, const std::string& why) {
  incomplete_ = true;
  if (keep_) {
    list_.push_back({{"kind", "notComparable"}, {"path", place.path}, {"text", why}});
  }
  warn_(place.words + " could not be compared: " + why);
}

} // namespace rrpcp::tools
