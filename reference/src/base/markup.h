// Text inside XML and HTML.
#pragma once

#include <string>
#include <string_view>

namespace rrpcp {

// `text` for between tags and inside quoted attributes: what markup gives a meaning to as character
// references, which are the same in XML and HTML. Control characters, which XML cannot carry, stay
// as they are.
inline std::string escape_markup(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
    }
  }
  return out;
}

} // namespace rrpcp
