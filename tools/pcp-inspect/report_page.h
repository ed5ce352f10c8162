// A page of HTML that needs nothing else: no script, no network.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rrpcp::tools {

// Text from outside, for between tags and inside quoted attributes: control characters and bytes
// that are no UTF-8 as \xNN, and what HTML gives a meaning to as character references.
std::string html(std::string_view text);

// A number of bytes of something, as a part of a bar.
struct BarPart {
  const char* style; // a class of the page's style sheet
  std::uint64_t amount;
  std::string title; // already escaped
};

class ReportPage {
public:
  // `title` and all other texts of this class are taken as HTML: pass foreign ones through html().
  explicit ReportPage(const std::string& title);

  void raw(std::string_view text) { body_ += text; }
  void heading(int level, const std::string& text);
  void paragraph(const std::string& text);
  // Rows of two cells.
  void facts(const std::vector<std::pair<std::string, std::string>>& rows);
  // A table that scrolls sideways where it is too wide. Titles that begin with '>' are of numbers.
  void begin_table(const std::vector<std::string>& titles);
  void row(const std::vector<std::string>& cells);
  void end_table();
  // A bar of parts as wide as their amounts, of `whole` in all (at least 1).
  void bar(const std::vector<BarPart>& parts, std::uint64_t whole);
  // What is hidden until it is asked for.
  void begin_details(const std::string& summary, bool open);
  void end_details() { body_ += "</details>\n"; }

  // The whole document.
  std::string finish() const;

private:
  std::string title_;
  std::string body_;
  std::vector<bool> numbers_;
};

} // namespace rrpcp::tools
