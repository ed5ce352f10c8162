// SHA-256 (FIPS 180-4), by Nettle, or by own code where the library is built without.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rrpcp {

using Sha256Digest = std::array<std::uint8_t, 32>;

Sha256Digest sha256(std::span<const std::byte> bytes);

// Of bytes that come in pieces.
class Sha256Stream {
public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void update(std::span<const std::byte> bytes);
  // No call may follow.
  Sha256Digest digest();

private:
  void* context_;
};

} // namespace rrpcp
