#include "pcp-inspect/report_page.h"

#include "base/markup.h"
#include "common/console.h"
#include "common/text.h"

#include <algorithm>

namespace rrpcp::tools {
namespace {

// Colours of the sources tell each other apart in both schemes and for people who see red and green
// alike (lightness differs too).
constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--back:#fff;--text:#1c2024;--soft:#5d6670;--line:#d5dae0;--card:#f5f7f9;
--stored:#2563c9;--zero:#b9c2cc;--file:#17936a;--unstored:#d08700;--guard:#c2415b;--mark:#c2300f;--link:#1d4fa3}
@media (prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e7ea;--soft:#9aa5b0;--line:#363d45;--card:#1d2126;
--stored:#6ea4f8;--zero:#5a646f;--file:#4cc795;--unstored:#eeb04a;--guard:#ef8298;--mark:#ff8a66;--link:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1120px;margin:0 auto;padding:20px 16px 48px}
h1{font-size:1.5rem;margin:0 0 4px}h2{font-size:1.2rem;margin:32px 0 8px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:20px 0 6px}p{margin:4px 0 10px}
.soft{color:var(--soft)}.mono,td.n{font-family:ui-monospace,monospace;font-size:.87em}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem}th{text-align:left;color:var(--soft);font-weight:600}
th,td{padding:3px 14px 3px 0;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
td:last-child:not(.n){white-space:normal;min-width:15em;overflow-wrap:anywhere}
a{color:var(--link)}rect{shape-rendering:crispEdges}
.n{text-align:right;white-space:nowrap}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:6px 0}dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.bar{display:flex;height:18px;border-radius:3px;overflow:hidden;background:var(--card);margin:4px 0}
.bar i{display:block;min-width:1px}.stored{background:var(--stored);fill:var(--stored)}
.zero{background:var(--zero);fill:var(--zero)}.file{background:var(--file);fill:var(--file)}
.unstored{background:var(--unstored);fill:var(--unstored)}.guard{background:var(--guard);fill:var(--guard)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.87rem;margin:6px 0}
.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.region{display:grid;grid-template-columns:minmax(0,1fr);margin:10px 0}
.region svg{display:block;width:100%;height:26px;background:var(--card);border-radius:3px}
.region div{font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}
.lane{position:relative;height:14px;background:var(--card);border-radius:2px;margin:3px 0}
.lane i{position:absolute;top:0;bottom:0;min-width:2px;background:var(--file);border-radius:2px}
.lane b{position:absolute;top:-2px;bottom:-2px;width:2px;background:var(--mark)}
.time svg{display:block;width:100%;height:90px;background:var(--card);border-radius:3px}
.time .mark{stroke:var(--mark);stroke-width:2;vector-effect:non-scaling-stroke}
.ends{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft)}
details{margin:8px 0}summary{cursor:pointer;color:var(--link)}
pre{margin:4px 0 12px;overflow-x:auto;font-size:.84rem}
)";

} // namespace

std::string html(std::string_view text) {
  return escape_markup(printable(text));
}

ReportPage::ReportPage(const std::string& title) : title_(title) {
  heading(1, title);
}

void ReportPage::heading(int level, const std::string& text) {
  const std::string tag = "h" + std::to_string(level);
  body_ += "<" + tag + ">" + text + "</" + tag + ">\n";
}

void ReportPage::paragraph(const std::string& text) {
  body_ += "<p>" + text + "</p>\n";
}

void ReportPage::facts(const std::vector<std::pair<std::string, std::string>>& rows) {
  body_ += "<dl>";
  for (const auto& [name, value] : rows) {
    body_ += "<dt>" + name + "</dt><dd>" + value + "</dd>\n";
  }
  body_ += "</dl>\n";
}

void ReportPage::begin_table(const std::vector<std::string>& titles) {
  numbers_.clear();
  body_ += "<div class=\"scroll\"><table><tr>";
  for (const std::string& title : titles) {
    const bool number = title.starts_with('>');
    numbers_.push_back(number);
    body_ += number ? "<th class=\"n\">" + title.substr(1) + "</th>" : "<th>" + title + "</th>";
  }
  body_ += "</tr>\n";
}

void ReportPage::row(const std::vector<std::string>& cells) {
  body_ += "<tr>";
  for (std::size_t i = 0; i < cells.size(); ++i) {
    body_ +=
        (i < numbers_.size() && numbers_[i] ? "<td class=\"n\">" : "<td>") + cells[i] + "</td>";
  }
  body_ += "</tr>\n";
}

void ReportPage::end_table() {
  body_ += "</table></div>\n";
}

void ReportPage::bar(const std::vector<BarPart>& parts, std::uint64_t whole) {
  body_ += "<div class=\"bar\">";
  for (const BarPart& part : parts) {
    if (part.amount != 0) {
      body_ += format_text("<i class=\"%s\" style=\"width:%.3f%%\" title=\"", part.style,
                           100.0 * static_cast<double>(part.amount) /
                               static_cast<double>(std::max<std::uint64_t>(whole, 1))) +
               part.title + "\"></i>";
    }
  }
  body_ += "</div>\n";
}

void ReportPage::begin_details(const std::string& summary, bool open) {
  body_ +=
      std::string(open ? "<details open>" : "<details>") + "<summary>" + summary + "</summary>\n";
}

std::string ReportPage::finish() const {
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
         "style-src 'unsafe-inline'\">\n"
         "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>" +
         title_ + "</title>\n<style>" + kStyle + "</style></head>\n<body><main>\n" + body_ +
         "</main></body></html>\n";
}

} // namespace rrpcp::tools
