// The table of everything that a validator can say, made from diagnostics.def.
#pragma once

#include "rrpcp/diagnostic.h"

#include <array>
#include <cstddef>
#include <string>

namespace rrpcp {

namespace detail {

// What a line of the table becomes: a section, or a diagnostic of the section before it.
struct DiagnosticLine {
  bool is_section;
  Diagnostic diagnostic;
};

inline constexpr auto kDiagnosticLines = [] {
  using enum Severity;
  using enum ValidationLevel;
  using enum DiagnosticGroup;
#define RRPCP_CURE(name, text) constexpr std::string_view name = text;
#include "base/diagnostics.def"
  return std::to_array<DiagnosticLine>({
#define RRPCP_DIAGNOSTIC_SECTION(group, page, title)                                               \
  {true, {"", kInfo, kStructure, "", "", group, page, title}},
#define RRPCP_DIAGNOSTIC(code, severity, level, meaning, cure)                                     \
  {false, {code, severity, level, meaning, cure, kCheckpoint, "", ""}},
#include "base/diagnostics.def"
  });
}();

inline constexpr std::size_t kDiagnosticCount = [] {
  std::size_t count = 0;
  for (const DiagnosticLine& line : kDiagnosticLines) {
    count += line.is_section ? 0 : 1;
  }
  return count;
}();

} // namespace detail

inline constexpr auto kDiagnostics = [] {
  std::array<Diagnostic, detail::kDiagnosticCount> table{};
  Diagnostic section{};
  std::size_t count = 0;
  for (const detail::DiagnosticLine& line : detail::kDiagnosticLines) {
    if (line.is_section) {
      section = line.diagnostic;
      continue;
    }
    table[count] = line.diagnostic;
    table[count].group = section.group;
    table[count].page = section.page;
    table[count].section = section.section;
    ++count;
  }
  return table;
}();

// A diagnostic's code, checked when the program is compiled.
class DiagnosticCode {
public:
  consteval DiagnosticCode(const char* code) : index_(find(code)) {} // NOLINT: implicit on purpose

  constexpr const Diagnostic& diagnostic() const { return kDiagnostics[index_]; }
  constexpr std::size_t index() const { return index_; }

private:
  static consteval std::size_t find(std::string_view code) {
    for (std::size_t i = 0; i < kDiagnostics.size(); ++i) {
      if (kDiagnostics[i].code == code) {
        return i;
      }
    }
    throw "this diagnostic is not in the table";
  }

  std::size_t index_;
};

// A finding of the kind that `diagnostic` describes.
Finding finding_of(const Diagnostic& diagnostic, std::string file, std::string message,
                   std::string path = {});
// The same by the code's text. Throws Error(kInternal) for one that is not in the table.
Finding finding_of(std::string_view code, std::string file, std::string message,
                   std::string path = {});

} // namespace rrpcp
