// The tables of diagnostics on the pages of the spec, made from the library's table:
//
//   diagnostic_tables SPEC --write     writes them into the pages
//   diagnostic_tables SPEC --check     fails where a page has not exactly what would be written
//   diagnostic_tables SPEC --selftest  fails where --check would not notice a change

#include "rrpcp/diagnostic.h"

#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace rrpcp {
namespace {

constexpr std::string_view kHead =
    "| code | severity | level | meaning | cure |\n|---|---|---|---|---|\n";

using Section = std::pair<std::string, std::string>; // page and title

std::map<Section, std::string> tables() {
  std::map<Section, std::string> all;
  for (const Diagnostic& diagnostic : diagnostics()) {
    std::string& table = all[{std::string(diagnostic.page), std::string(diagnostic.section)}];
    if (table.empty()) {
      table = kHead;
    }
    std::ostringstream row;
    row << "| `" << diagnostic.code << "` | " << severity_name(diagnostic.severity) << " | "
        << validation_level_name(diagnostic.level) << " | " << diagnostic.meaning << " | "
        << diagnostic.cure << " |\n";
    table += row.str();
  }
  return all;
}

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) {
    throw std::runtime_error("cannot read " + path);
  }
  return text.str();
}

// `text` with `table` in the place of the one below the heading `title`.
std::string with_table(const std::string& text, const std::string& title,
                       const std::string& table) {
  const std::string heading = "\n## " + title + "\n";
  const std::size_t section = text.find(heading);
  if (section == std::string::npos) {
    throw std::runtime_error("no section is called '" + title + "'");
  }
  const std::size_t next = text.find("\n## ", section + heading.size());
  const std::size_t begin = text.find(kHead, section);
  if (begin == std::string::npos || begin > next) {
    throw std::runtime_error("the section '" + title + "' has no table of diagnostics");
  }
  std::size_t end = begin;
  while (end < text.size() && text[end] == '|') {
    end = text.find('\n', end) + 1;
  }
  return text.substr(0, begin) + table + text.substr(end);
}

// The pages with the library's tables, by name.
std::map<std::string, std::string> pages(const std::string& spec) {
  std::map<std::string, std::string> result;
  for (const auto& [section, table] : tables()) {
    const auto& [page, title] = section;
    const auto found = result.try_emplace(page, "").first;
    if (found->second.empty()) {
      found->second = read(spec + "/" + page);
    }
    found->second = with_table(found->second, title, table);
  }
  return result;
}

// Tables on a page that belong to no section of the library's would be kept as they are.
std::size_t count(const std::string& text, std::string_view what) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) {
    ++found;
  }
  return found;
}

bool check(const std::map<std::string, std::string>& expected,
           const std::map<std::string, std::string>& found) {
  bool good = true;
  for (const auto& [page, text] : expected) {
    std::size_t sections = 0;
    for (const auto& [section, table] : tables()) {
      sections += section.first == page ? 1 : 0;
    }
    if (found.at(page) != text || count(text, kHead) != sections) {
      std::fprintf(stderr, "%s: the tables of diagnostics are not the library's; run --write\n",
                   page.c_str());
      good = false;
    }
  }
  return good;
}

int run(const std::string& spec, const std::string& mode) {
  const auto expected = pages(spec);
  std::map<std::string, std::string> found;
  for (const auto& [page, text] : expected) {
    found[page] = read(spec + "/" + page);
  }
  if (mode == "--write") {
    for (const auto& [page, text] : expected) {
      std::ofstream out(spec + "/" + page, std::ios::binary | std::ios::trunc);
      out << text;
      if (!out.flush()) {
        throw std::runtime_error("cannot write " + page);
      }
    }
    return 0;
  }
  if (mode == "--check") {
    return check(expected, found) ? 0 : 1;
  }
  if (mode == "--selftest") {
    for (auto& [page, text] : found) {
      const std::string original = text;
      const std::size_t row = text.find(kHead) + kHead.size();
      text[text.find(" | ", row) + 3] = 'x'; // a severity
      const bool notices_change = !check(expected, found);
      text = original;
      text.erase(row, text.find('\n', row) + 1 - row);
      if (!notices_change || check(expected, found)) {
        return 1;
      }
      text = original;
    }
    return 0;
  }
  throw std::runtime_error("say --write, --check or --selftest");
}

} // namespace
} // namespace rrpcp

int main(int argc, char** argv) {
  try {
    return rrpcp::run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "diagnostic_tables: %s\n", error.what());
    return 2;
  }
}
