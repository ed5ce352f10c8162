// Bytes and text of a manifest.
#pragma once

#include "common/text.h"

#include <capnp/blob.h>
#include <string>
#include <string_view>

namespace rrpcp::tools {

// The bytes as they are.
inline std::string bytes_of(capnp::Data::Reader data) {
  return std::string(data.asChars().begin(), data.size());
}

// For people: see printable().
inline std::string text_of(capnp::Data::Reader data) {
  return printable(bytes_of(data));
}
inline std::string text_of(capnp::Text::Reader text) {
  return printable(std::string_view(text.begin(), text.size()));
}

} // namespace rrpcp::tools
