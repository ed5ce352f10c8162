// Bytes as Cap'n Proto takes them.
#pragma once

#include <capnp/blob.h>
#include <cstddef>
#include <span>
#include <string_view>

namespace rrpcp::process::capture {

inline capnp::Data::Reader as_data(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()};
}

inline capnp::Data::Reader as_data(std::string_view bytes) {
  return {reinterpret_cast<const capnp::byte*>(bytes.data()), bytes.size()};
}

} // namespace rrpcp::process::capture
