// Text that is UTF-8.
#pragma once

#include <span>
#include <string_view>

namespace rrpcp {

// Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::span<const unsigned char> text);
inline bool is_utf8(std::string_view text) {
  return is_utf8(std::span(reinterpret_cast<const unsigned char*>(text.data()), text.size()));
}

} // namespace rrpcp
